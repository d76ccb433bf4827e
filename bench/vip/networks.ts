/**
 * Two networks, one with a single service beside the client's and one with many, and the calls that a container on both makes
 * there. Most of the many have a VIP and no task: what a call must be told apart from is there, containers are not.
 */
import type { Kernel } from '../../src/lab/kernels.js';
import type { ManagedLab } from '../../test/support/managed-lab.js';
import type { Run } from '../harness/bench.js';
import { runningTasks } from '../harness/running.js';
import { site } from '../harness/site.js';
import { addressOn, containerOf, createTask, inNetworkOf, untilAnswered, vipOf } from '../harness/tasks.js';
import type { WebWay } from '../harness/web-loads.js';

/** How many services the larger network has. Emulated, a manager takes the better part of a second to create one. */
export const manyOf: Readonly<Record<Kernel, number>> = { host: 1000, uml: 1000, qemu: 100 };
/** How many of the other services have a task, and none is called. */
const withTask = 10;
/** Room for a VIP each, and for the tasks. */
const subnet = '10.77.0.0/20';
const places = { here: 'node1', elsewhere: 'node2' } as const;
const clientNode = places.here;
const manager = 'node1';
const creationMs = 900_000;
const others = 'other';
/** On the manager: why the API refused, where it did. */
const answers = '/tmp/bench-answers';

type Place = keyof typeof places;

const networkOf = (size: number): string => `services-${size}`;

/** Who calls tasks directly, too: with another engine of Skep's that is the same way. */
const directs: Readonly<Record<string, string>> = { skep: 'direct', swarm: 'swarm, direct' };

export const caseOf = (place: Place, size: number): string =>
  `task ${place}, ${size === 1 ? 'one service' : `${size} services`}`;

/**
 * Makes all of it. @returns the calls: to the task's own address, and through the VIP
 */
export async function prepare(lab: ManagedLab, { kernel, progress }: Run): Promise<readonly WebWay[]> {
  const sizes = [1, manyOf[kernel]] as const;
  for (const size of sizes)
    await lab.must(
      manager,
      `network create -d overlay ${size === 1 ? '' : `--subnet ${subnet} `}${networkOf(size)}`,
    );
  const both = sizes.map((size) => `--network ${networkOf(size)}`).join(' ');
  await createTask(lab, 'client', clientNode, `${both} ${site.image}`);
  const run = await inNetworkOf(lab, clientNode, await containerOf(lab, 'client', clientNode));
  const direct = directs[lab.title];
  const calls: WebWay[] = [];
  // What is compared is measured one after the other.
  for (const [place, node] of Object.entries(places) as [Place, string][])
    for (const size of sizes) {
      const network = networkOf(size);
      const name = `${network}-${place}`;
      await createTask(lab, name, node, `--network ${network} ${site.image}`);
      const address = await addressOn(lab, node, await containerOf(lab, name, node), network);
      const call = { case: caseOf(place, size), run };
      if (direct !== undefined) calls.push({ ...call, contender: direct, url: `http://${address}` });
      calls.push({ ...call, contender: lab.title, url: `http://${await vipOf(lab, name)}` });
    }
  const count = manyOf[kernel] - Object.keys(places).length;
  progress(`${lab.title}: ${count} more services`);
  const tasks = withTask + 1 + sizes.length * Object.keys(places).length;
  await createOthers(lab, networkOf(manyOf[kernel]), count, tasks);
  // Through the last one's VIP: then the node that is called from has them all.
  await untilAnswered(run, `http://${await vipOf(lab, `${others}-${count}`)}`);
  return calls;
}

/**
 * By the API, which is what the CLI takes a second for: services without a task, then those with one. By one curl, for in a guest to
 * start one takes longer than its request.
 */
async function createOthers(lab: ManagedLab, network: string, count: number, tasks: number): Promise<void> {
  const id = await lab.must(manager, `network inspect -f {{.Id}} ${network}`);
  const request = (replicas: number): string => {
    const body = JSON.stringify({
      Name: `${others}-%s`,
      TaskTemplate: { ContainerSpec: { Image: site.image }, Networks: [{ Target: id }] },
      Mode: { Replicated: { Replicas: replicas } },
    });
    // As a file of curl's own, of which printf takes the backslashes once.
    return [
      `unix-socket = "${lab.socket}"`,
      `fail-with-body\\noutput = "${answers}"\\nheader = "Content-Type: application/json"`,
      `data = "${body.replaceAll('"', '\\\\"')}"`,
      'url = "http://d/v1.41/services/create"\\nnext\\n',
    ].join('\\n');
  };
  const requests = (first: number, last: number, replicas: number): string =>
    `for number in $(seq ${first} ${last}); do printf '${request(replicas)}' $number; done`;
  const all = `${requests(1, count - withTask, 0)}; ${requests(count - withTask + 1, count, 1)}`;
  await lab.sh(
    manager,
    // Behind the last `next` there is nothing.
    `{ ${all}; } | sed '$d' | curl -sS -Z --no-progress-meter --parallel-max 4 --fail-early -K - || { cat ${answers} >&2; exit 1; }; ` +
      runningTasks(lab, tasks),
    creationMs,
  );
}
