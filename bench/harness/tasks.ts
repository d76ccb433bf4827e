/** Services of a bench, and the containers of their tasks. */
import type { ManagedLab } from '../../test/support/managed-lab.js';
import type { RunCommand } from './wrk.js';

const manager = 'node1';
const deadlineMs = 180_000;

/** Has one task run on that node. @param options words for `docker service create`, the image last */
export async function createTask(
  lab: ManagedLab,
  name: string,
  node: string,
  options: string,
): Promise<void> {
  const words = `service create -d --no-resolve-image --name ${name} --constraint node.hostname==${node}`;
  await lab.must(manager, `${words} ${options}`);
  await lab.until(
    manager,
    `service ls --filter name=${name} --format {{.Replicas}}`,
    (output) => output === '1/1',
    deadlineMs,
  );
}

/** The container of the service's task on that node, of which there is one. */
export async function containerOf(lab: ManagedLab, name: string, node: string): Promise<string> {
  const label = `label=com.docker.swarm.service.name=${name}`;
  const ids = await lab.engine(node, ['ps', '-q', '--filter', label]);
  if (!/^\w+$/.test(ids)) throw new Error(`${lab.by}, ${node}: not one container of ${name}: ${ids}`);
  return ids;
}

/** The node's programs with the network of a container. */
export async function inNetworkOf(lab: ManagedLab, node: string, container: string): Promise<RunCommand> {
  const pid = await lab.engine(node, ['inspect', '-f', '{{.State.Pid}}', container]);
  return (argv, commandMs) => lab.run(node, ['nsenter', `--net=/proc/${pid}/ns/net`, ...argv], commandMs);
}

/** Its address on a network. */
export const addressOn = (
  lab: ManagedLab,
  node: string,
  container: string,
  network: string,
): Promise<string> =>
  lab.engine(node, [
    'inspect',
    '-f',
    `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`,
    container,
  ]);

/** The service's VIP on the one network that it is on. */
export async function vipOf(lab: ManagedLab, name: string): Promise<string> {
  const format = '{{(index .Endpoint.VirtualIPs 0).Addr}}';
  const [address = ''] = (await lab.must(manager, ['service', 'inspect', '-f', format, name])).split('/');
  return address;
}

/** Waits until somebody answers there: a task runs before every node balances to it. Rejects when nobody has within {@link deadlineMs}. */
export async function untilAnswered(run: RunCommand, url: string): Promise<void> {
  const retry = '--retry 60 --retry-all-errors --retry-delay 1 -m 2'.split(' ');
  await run(['curl', '-sS', ...retry, '-o', '/dev/null', url], deadlineMs);
}
