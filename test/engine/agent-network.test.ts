/** Tasks with networks on a real Docker Engine: what the container sees, the order of things, and what is left behind. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { NodeNetwork } from '../../src/controlplane/agent/node-network.js';
import type { Assignment } from '../../src/controlplane/rpc/assignment.js';
import { applyChanges } from '../../src/controlplane/rpc/assignment.js';
import type { NodeNetworkState } from '../../src/dataplane/state.js';
import type { Ip, Mac } from '../../src/model/addresses.js';
import type { NetworkId, TaskId } from '../../src/model/ids.js';
import type { Task } from '../../src/model/objects.js';
import { taskName } from '../../src/model/objects.js';
import { systemClock } from '../../src/runtime/clock.js';
import { Waiters } from '../../src/runtime/waiters.js';
import { assignedMac, endpointAssignment } from '../support/assignment-items.js';
import { nodeAssignment, overlayAssignment } from '../support/assignment-items.js';
import { startDockerd } from './agent-dockerd.js';
import type { TestDockerd } from './agent-dockerd.js';
import { startPlugin } from './agent-plugin.js';
import type { TestPlugin } from './agent-plugin.js';
import { log, makeTask, nodeId, RunningWorker } from './agent-worker.js';

let dockerd: TestDockerd;
let plugin: TestPlugin;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  dockerd = await startDockerd();
  plugin = await startPlugin(dockerd);
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
afterAll(async () => {
  await dockerd[Symbol.asyncDispose]();
  await plugin[Symbol.asyncDispose]();
});

const mac = assignedMac as Mac;
const subnets: Record<string, string> = { ingress: '10.200.0', mynet: '10.200.1', other: '10.200.2' };
const overlay = (id: string): Assignment =>
  overlayAssignment(id, subnets[id] ?? '', { ingress: id === 'ingress' });
const endpoint = (overlayId: string, task: Task, serving: boolean): Assignment =>
  endpointAssignment({
    ...{ overlayId, taskId: task.id, serviceId: task.serviceId, nodeId, name: taskName(task) },
    ...{ address: '', serving },
  });
const self = nodeAssignment(nodeId);

const networked = (networks: readonly string[], host: number): Task =>
  makeTask(
    { stopGracePeriodNs: 0 },
    {
      networks: networks.map((networkId) => ({
        networkId: networkId as NetworkId,
        address: `${subnets[networkId]}.${host}` as Ip,
        prefixLength: 24,
        mac,
        aliases: [],
      })),
    },
  );

/** A worker whose network programs everything at once and writes down what it was asked. */
function start() {
  const asked: string[] = [];
  const held = new Set<TaskId>();
  const waiters = new Waiters();
  const states: NodeNetworkState[] = [];
  const network = new NodeNetwork({
    dataplane: {
      setState: async (state) => void states.push(state),
      waitProgrammed: async ({ taskId }: { revision: number; taskId?: TaskId }) => {
        asked.push(taskId ? 'sandbox' : 'node');
      },
    },
    barrier: {
      wait: async (taskId, drained, signal) => {
        asked.push(drained ? 'drained' : 'all nodes');
        await waiters.until(() => !held.has(taskId), signal);
      },
    },
    hasEsp: () => true,
    clock: systemClock,
    log,
  });
  const stop = new AbortController();
  const running = network.run(stop.signal);
  const agent = new RunningWorker(dockerd.engine, network);
  cleanups.push(async () => {
    await agent.stop();
    stop.abort(new Error('test over'));
    await running;
  });
  let revision = 0;
  const set = (...assignments: Assignment[]): void => {
    const changes = assignments.map((assignment) => ({ remove: false, assignment }));
    network.set(applyChanges(new Map(), changes), ++revision);
  };
  const hold = (task: Task): unknown => held.add(task.id);
  const release = (task: Task): void => {
    held.delete(task.id);
    waiters.check();
  };
  return { agent, set, asked, states, hold, release };
}

/** A running task of a worker of its own, on ingress and on another network. */
async function startPublished(host: number) {
  const { agent, set, asked } = start();
  const networks = ['ingress', 'mynet'];
  const task = networked(networks, host);
  set(self, ...networks.map(overlay), ...networks.map((network) => endpoint(network, task, false)));
  agent.worker.assign([task], true);
  await agent.until(task.id, 'running');
  return { agent, task, asked };
}

/** Once nobody wants it any more, its container and its networks go. */
async function expectNothingLeft(agent: RunningWorker, task: Task): Promise<void> {
  agent.worker.assign([], false);
  await expect.poll(() => dockerd.engine.container(taskName(task)), { timeout: 10_000 }).toBeUndefined();
  await expectNoNetworks();
}

const expectNoNetworks = (): Promise<void> =>
  expect.poll(() => dockerd.engine.listNetworks('skep.network.id'), { timeout: 10_000 }).toEqual([]);

const interfaces = async (task: Task): Promise<Record<string, string>> => {
  const text = await dockerd.docker('exec', taskName(task), 'ip', '-o', '-4', 'addr');
  return Object.fromEntries(
    text.split('\n').map((line) => {
      const [, name = '', , address = ''] = line.split(/\s+/);
      return [name, address] as const;
    }),
  );
};

test('the overlay is eth0, docker_gwbridge eth1, ingress last; all of it goes with the task', async () => {
  const { agent, task, asked } = await startPublished(5);
  expect(await interfaces(task)).toMatchObject({
    eth0: '10.200.1.5/24',
    eth1: expect.stringMatching(/^172\./) as string,
    eth2: '10.200.0.5/24',
  });
  const route = await dockerd.docker('exec', taskName(task), 'ip', 'route', 'show', 'default');
  expect(route).toMatch(/^default via 172\..* dev eth1/);
  const resolver = JSON.parse(
    await dockerd.docker('inspect', '-f', '{{json .HostConfig.Dns}}', taskName(task)),
  ) as string[];
  expect(resolver).toEqual(['10.200.1.2', '10.200.0.2']);
  // The node's kernel and all others' before the process, the sandbox before `running`.
  expect(asked).toEqual(['node', 'all nodes', 'sandbox']);

  agent.worker.assign([{ ...task, desiredState: 'remove' }], false);
  await agent.until(task.id, 'shutdown');
  await expectNothingLeft(agent, task);
});

test('a task waits for its endpoint to be known before its process starts', async () => {
  const { agent, set } = start();
  const task = networked(['mynet'], 6);
  agent.worker.assign([task], true);
  await agent.until(task.id, 'preparing');
  set(self, overlay('mynet'));
  await agent.until(task.id, 'starting');
  expect((await dockerd.engine.container(taskName(task)))?.status).toBe('created');
  set(self, overlay('mynet'), endpoint('mynet', task, false));
  await agent.until(task.id, 'running');
});

test('a process is started and stopped only when all nodes know', async () => {
  const { agent, set, asked, hold, release } = start();
  const task = networked(['mynet'], 7);
  const status = async (): Promise<string | undefined> =>
    (await dockerd.engine.container(taskName(task)))?.status;
  set(self, overlay('mynet'), endpoint('mynet', task, false));
  hold(task);
  agent.worker.assign([task], true);
  await agent.until(task.id, 'starting');
  await expect.poll(() => asked).toEqual(['node', 'all nodes']);
  expect(await status()).toBe('created');
  release(task);
  await agent.until(task.id, 'running');
  hold(task);
  agent.worker.assign([{ ...task, desiredState: 'shutdown' }], false);
  await expect.poll(() => asked.at(-1)).toBe('drained');
  await delay(1_000);
  expect(await status()).toBe('running');
  release(task);
  await agent.until(task.id, 'shutdown');
});

test('a task whose process is killed is sent nothing, before the engine says what became of it', async () => {
  const { agent, set, states } = start();
  const task = networked(['mynet'], 12);
  set(self, overlay('mynet'), endpoint('mynet', task, false));
  agent.worker.assign([task], true);
  await agent.until(task.id, 'running');
  const serving = (): boolean | undefined => [...(states.at(-1)?.overlays[0]?.endpoints ?? [])][0]?.serving;
  set(self, overlay('mynet'), endpoint('mynet', task, true));
  await expect.poll(serving).toBe(true);
  const { pid } = (await dockerd.engine.container(taskName(task))) ?? expect.fail();
  process.kill(pid, 'SIGKILL');
  const { report } = await agent.until(task.id, 'failed');
  expect(report.err).toBe('task: non-zero exit (137)');
  const [before] = agent.reports.slice(-2);
  expect(before?.report).toMatchObject({ state: 'running', draining: true, container: { pid } });
  expect(serving()).toBe(false);
  await expectNothingLeft(agent, task);
});

test('a container that is not connected is disconnected already', async () => {
  const apart = await dockerd.docker('network', 'create', 'apart');
  const task = networked([], 8);
  const { agent } = start();
  try {
    agent.worker.assign([task], true);
    await agent.until(task.id, 'running');
    const { id } = (await dockerd.engine.container(taskName(task))) ?? expect.fail();
    await dockerd.engine.disconnectNetwork(apart, id);
    await dockerd.engine.disconnectNetwork('no-such-network', id);
    agent.worker.assign([{ ...task, desiredState: 'shutdown' }], false);
    await agent.until(task.id, 'shutdown');
    await dockerd.engine.disconnectNetwork(apart, id);
  } finally {
    await dockerd.docker('network', 'rm', 'apart');
  }
});

test('two tasks prepared at once share one local network', async () => {
  const { agent, set } = start();
  const tasks = [networked(['other'], 9), networked(['other'], 10), networked(['other'], 11)];
  set(self, overlay('other'), ...tasks.map((task) => endpoint('other', task, false)));
  agent.worker.assign(tasks, true);
  await Promise.all(tasks.map((task) => agent.until(task.id, 'running')));
  const networks = await dockerd.engine.listNetworks('skep.network.id');
  expect(networks.filter(({ name }) => name === 'other')).toHaveLength(1);
});

test('a container that somebody disconnects by hand is connected again, while its task runs and no longer', async () => {
  const { agent, task } = await startPublished(20);
  const addresses = async (): Promise<string[]> =>
    Object.values(await interfaces(task))
      .filter((address) => address.startsWith('10.200.'))
      .sort();
  const both = ['10.200.0.20/24', '10.200.1.20/24'];
  expect(await addresses()).toEqual(both);
  for (const words of [['ingress'], ['mynet'], ['ingress', 'mynet'], ['-f', 'mynet']]) {
    const options = words.filter((word) => word.startsWith('-'));
    for (const network of words.filter((word) => !word.startsWith('-')))
      await dockerd.docker('network', 'disconnect', ...options, network, taskName(task));
    await expect.poll(addresses, { timeout: 5_000 }).toEqual(both);
  }
  // One that ends by itself, or is being stopped, is not; its networks go with it.
  agent.worker.assign([{ ...task, desiredState: 'remove' }], false);
  await agent.until(task.id, 'shutdown');
  expect(agent.states(task.id)).toEqual([
    'accepted',
    'preparing',
    'ready',
    'starting',
    'running',
    'shutdown',
  ]);
  await expectNothingLeft(agent, task);
});

test('a container that cannot be connected again fails with the reason, and its networks go', async () => {
  const { agent, set } = start();
  const task = networked(['mynet'], 22);
  set(self, overlay('mynet'), endpoint('mynet', task, false));
  agent.worker.assign([task], true);
  await agent.until(task.id, 'running');
  plugin.refuse('no place here');
  try {
    await dockerd.docker('network', 'disconnect', 'mynet', taskName(task));
    const { report } = await agent.until(task.id, 'failed');
    expect(report.err).toMatch(
      /container was disconnected from network mynet and cannot be connected again: .*no place here/,
    );
    expect((await dockerd.engine.container(taskName(task)))?.status).toBe('exited');
    await expectNoNetworks();
  } finally {
    plugin.refuse(null);
  }
});

test('a container that one agent cannot connect again, and that the engine lists as connected, is connected by the next', async () => {
  const [first, second] = [start(), start()];
  const task = networked(['mynet'], 23);
  const all = [self, overlay('mynet'), endpoint('mynet', task, false)];
  first.set(...all);
  first.agent.worker.assign([task], true);
  await first.agent.until(task.id, 'running');
  const before = plugin.refusals;
  plugin.refuse('no place here');
  try {
    await dockerd.docker('network', 'disconnect', 'mynet', taskName(task));
    await expect.poll(() => plugin.refusals, { timeout: 5_000 }).toBeGreaterThan(before);
    await first.agent.stop();
  } finally {
    plugin.refuse(null);
  }
  expect((await dockerd.engine.container(taskName(task)))?.networks, 'or nothing is shown').toContain(
    'mynet',
  );
  const addresses = async (): Promise<string[]> => Object.values(await interfaces(task));
  expect(await addresses()).not.toContain('10.200.1.23/24');

  second.set(...all);
  const status = { timestampMs: 0, appliedAtMs: 0, state: 'running', message: 'started' } as const;
  second.agent.worker.assign([{ ...task, status }], true);
  await expect.poll(addresses, { timeout: 5_000 }).toContain('10.200.1.23/24');
  second.agent.worker.assign([], false);
  await expect.poll(() => dockerd.engine.container(taskName(task)), { timeout: 10_000 }).toBeUndefined();
});
