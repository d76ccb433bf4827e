/**
 * A node that is rebooted again and again while no manager can be reached: each time the published port of its own task answers
 * within ten seconds of the start of its daemons, the kernel equals the state, and names are what they were. SKEP_REBOOTS sets
 * how often.
 */
import { beforeAll, expect, test } from 'vitest';
import { initSwarm } from '../../src/lab/swarm.js';
import { observeTasks } from '../../src/lab/tasks.js';
import { TestLab, eventually } from '../support/lab.js';

const reboots = Number(process.env['SKEP_REBOOTS'] ?? 5);
const answerMsMax = 10_000;
const port = 8080;
const cluster = new TestLab({ name: 'cold', nodes: 2 });

/** The name of the container that answers the client at node2; '' when nobody does. */
const answer = async (): Promise<string> => {
  const { stdout } = await cluster.lab.client(['curl', '-s', '-m', '1', `http://192.168.60.2:${port}/`]);
  return stdout.split(' ')[0] ?? '';
};

/** Addresses that names have in the container, as its resolver tells them. */
async function namesIn(container: string): Promise<string[]> {
  const look = 'for name in web tasks.web; do nslookup -type=a $name | grep -A1 ^Name: | grep ^Address; done';
  const { stdout } = await cluster.lab.exec('node2', [
    ...'docker -H unix:///run/docker.sock exec'.split(' '),
    container,
    ...['sh', '-c', look],
  ]);
  return stdout.trim().split('\n');
}

/**
 * What the daemons of node2 had to do once more, as their logs say. Seconds come of it: an engine that does not find its network driver
 * asks for it again after 1, 2, 4 and 8 s.
 */
async function triedAgain(): Promise<string> {
  const script = "grep -h -e 'retrying in' -e 'starts again' /run/lab/log/*.log | tail -n 20";
  return (await cluster.lab.exec('node2', ['sh', '-c', script])).stdout;
}

beforeAll(async () => {
  await initSwarm(cluster.lab, 1, () => undefined);
  await cluster.docker('node1', 'network create -d overlay mynet');
  const create = `service create --detach --name web --network mynet --constraint node.hostname==node2 --replicas 1 -p ${port}:80 skep/whoami:lab`;
  await cluster.docker('node1', create);
  const [task] = await eventually(
    'web runs',
    60_000,
    () => observeTasks(cluster.lab, 'node1', 'web'),
    (tasks) => expect(tasks).toHaveLength(1),
  );
  await eventually('web answers', 10_000, answer, (name) => expect(task?.containerId).toContain(name || '-'));
}, 180_000);

test(`${reboots} reboots in a row with every manager out of reach`, async () => {
  const before = await answer();
  const names = await namesIn(before);
  expect(names).toHaveLength(2);
  await cluster.lab.kill('node1');
  const took: number[] = [];
  for (let reboot = 1; reboot <= reboots; reboot++) {
    await cluster.lab.kill('node2');
    const startedMs = Date.now();
    const started = cluster.lab.start('node2');
    // The container of before the first reboot: its task goes on.
    let name = '';
    while (name === '' && Date.now() < startedMs + 2 * answerMsMax) name = await answer();
    took.push(Date.now() - startedMs);
    await started;
    const isSlow = Math.max(...took) > answerMsMax;
    const slow = isSlow ? `too slow: ${await triedAgain()}` : '';
    expect({ reboot, name, took, slow }).toEqual({ reboot, name: before, took, slow: '' });
    expect(await namesIn(before)).toEqual(names);
    const verified = await eventually(
      'the kernel equals the state',
      5_000,
      () => cluster.lab.exec('node2', ['skep', 'verify', '--json']),
      ({ exitCode, stdout, stderr }) => expect({ exitCode, said: exitCode === 0 ? '' : stdout + stderr }).toEqual({ exitCode: 0, said: '' }), // prettier-ignore
    );
    expect(JSON.parse(verified.stdout)).toMatchObject({ equal: true, differences: [], repaired: 0 });
  }
  console.log(`answered after ${took.join(', ')} ms`);
}, 600_000);

test('a manager that is back takes the task for the one it knows', async () => {
  const before = await answer();
  await cluster.lab.start('node1');
  const [task] = await eventually(
    'web runs',
    60_000,
    () => observeTasks(cluster.lab, 'node1', 'web'),
    (tasks) => expect(tasks).toHaveLength(1),
  );
  expect(task?.containerId).toContain(before);
}, 120_000);
