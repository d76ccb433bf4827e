/** The container that asks, and what it asks for. */
import type { ManagedLab } from '../../test/support/managed-lab.js';
import { containerOf, createTask, inNetworkOf } from '../harness/tasks.js';
import type { RunCommand } from '../harness/wrk.js';
import { zone } from './upstream.js';

const node = 'node1';
const network = 'names';
const image = 'skep/nginx:lab';
const service = 'web';
const replicas = 3;
const deadlineMs = 120_000;
/** Names of the world that a container asks for over and over. */
const knownNames = 20;
/** More than any of them answers in the time of a load. */
const newNames = 400_000;

/** Shell words that print questions as dnsperf reads them. @param turn makes new names new */
type Questions = (turn: string) => string;

export const kinds: Readonly<Record<string, Questions>> = {
  'a service': () => `echo ${service} A`,
  'tasks of a service': () => `echo tasks.${service} A`,
  'the world, asked before': () => `seq -f 'known%g.${zone} A' ${knownNames}`,
  'the world, new': (turn) => `seq -f '${turn}-%.0f.${zone} A' ${newNames}`,
};

/** Makes the container and a service beside it. @returns what runs commands with its network */
export async function prepare(lab: ManagedLab): Promise<RunCommand> {
  await lab.must(node, `network create -d overlay ${network}`);
  const create = `service create -d --no-resolve-image --network ${network}`;
  await lab.must(node, `${create} --name ${service} --replicas ${replicas} ${image}`);
  await lab.until(
    node,
    `service ls --filter name=${service} --format {{.Replicas}}`,
    (output) => output === `${replicas}/${replicas}`,
    deadlineMs,
  );
  await createTask(lab, 'client', node, `--network ${network} ${image}`);
  return inNetworkOf(lab, node, await containerOf(lab, 'client', node));
}
