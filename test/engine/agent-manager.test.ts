/** The whole agent, wired as in the product, between a real manager service and a real Docker Engine. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { removeFromEngine } from '../../src/controlplane/agent/agent.js';
import type { Agent } from '../../src/controlplane/agent/agent.js';
import type { Store } from '../../src/controlplane/store/store.js';
import { applyPlanner } from '../../src/controlplane/plan.js';
import { planScheduling } from '../../src/controlplane/scheduler/scheduler.js';
import type { TaskId } from '../../src/model/ids.js';
import type { Task } from '../../src/model/objects.js';
import { systemClock } from '../../src/runtime/clock.js';
import { node, service, storeOf } from '../support/cluster-objects.js';
import { unpacked } from '../support/log-lines.js';
import { startDockerd } from './agent-dockerd.js';
import type { TestDockerd } from './agent-dockerd.js';
import { TestManager } from './agent-manager.js';
import { log, makeTask, nodeId } from './agent-worker.js';

const soon = { timeout: 10_000, interval: 20 };

let dockerd: TestDockerd;
let store: Store;
let manager: TestManager;
let agent: Agent;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-agent-'));
  dockerd = await startDockerd([
    ...['--bridge=none', '--iptables=false'],
    ...['gpu=UUID1', 'gpu=UUID2', 'ssd=3'].map((one) => `--node-generic-resource=${one}`),
  ]);
  store = await storeOf({ node: [node(nodeId)], service: [service('web')] });
  manager = await TestManager.start(store);
  agent = manager.startAgent(dockerd, directory);
  await agent.ready;
});
afterAll(async () => {
  await agent.close();
  await rm(directory, { recursive: true, force: true });
  await manager[Symbol.asyncDispose]();
  await dockerd[Symbol.asyncDispose]();
});

const status = (id: TaskId) => store.view().get('task', id)?.status;

test('a task runs, speaks, is adopted by the next agent, is told to stop, and leaves nothing', async () => {
  const task = makeTask({
    args: ['sh', '-c', 'trap "exit 0" TERM; echo hello; while :; do sleep 0.1; done'],
  });
  await store.update((tx) => tx.create('task', task));
  await expect.poll(() => status(task.id)?.state, soon).toBe('running');
  const first = status(task.id)?.container;
  expect(first?.pid).toBeGreaterThan(0);

  const said: string[] = [];
  const options = { stdout: true, stderr: true, follow: false, tail: -1, since: '' };
  for await (const lines of manager.readLogs({ taskId: task.id }, options, new AbortController().signal))
    said.push(...lines.flatMap(({ packed }) => unpacked(packed).map(({ text }) => text)));
  expect(said).toEqual(['hello\n']);

  await agent.close();
  agent = manager.startAgent(dockerd, directory);
  await agent.ready;
  await store.update((tx) => tx.update('task', { ...tx.get('task', task.id)!, desiredState: 'remove' }));
  await expect.poll(() => status(task.id)?.state, soon).toBe('shutdown');
  expect(status(task.id)?.container).toEqual({ ...first, pid: 0, exitCode: 0 });
  await store.update((tx) => tx.delete('task', task.id));
  await expect.poll(() => dockerd.engine.listContainers({}), soon).toEqual([]);
});

test('what the engine says it has is claimed by tasks, in their environment, and free again after them', async () => {
  const known = (): unknown => store.view().get('node', nodeId)?.description?.resources.genericResources;
  await expect.poll(known, soon).toEqual([
    { kind: 'gpu', name: 'UUID1' },
    { kind: 'gpu', name: 'UUID2' },
    { kind: 'ssd', count: 3 },
  ]);
  const greedy = (): Task => {
    const { nodeId: _, ...task } = makeTask({
      args: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.1; done'],
    });
    const genericResources = [
      { kind: 'gpu', count: 2 },
      { kind: 'ssd', count: 1 },
    ];
    return {
      ...task,
      status: { ...task.status, state: 'pending' },
      spec: {
        ...task.spec,
        resources: { reservations: { nanoCpus: 0, memoryBytes: 0, genericResources } },
      },
    };
  };
  const [first, second] = [greedy(), greedy()];
  const place = (): Promise<unknown> => applyPlanner(store, planScheduling, () => systemClock.nowMs());
  await store.update((tx) => tx.create('task', first));
  await place();
  await store.update((tx) => tx.create('task', second));
  await place();
  expect(status(second.id)?.err).toBe('no suitable node (insufficient resources on 1 node)');
  await expect.poll(() => status(first.id)?.state, soon).toBe('running');
  const containerId = status(first.id)?.container?.containerId ?? '';
  const env = await dockerd.docker('inspect', '--format', '{{json .Config.Env}}', containerId);
  const said = JSON.parse(env) as string[];
  expect(said).toContain('DOCKER_RESOURCE_GPU=UUID1,UUID2');
  expect(said).toContain('DOCKER_RESOURCE_SSD=1');
  const end = async ({ id }: Task): Promise<void> => {
    await store.update((tx) => tx.update('task', { ...tx.get('task', id)!, desiredState: 'remove' }));
    await expect.poll(() => status(id)?.state, soon).toBe('shutdown');
    await store.update((tx) => tx.delete('task', id));
  };
  await end(first);
  await place();
  await expect.poll(() => status(second.id)?.state, soon).toBe('running');
  await end(second);
  await expect.poll(() => dockerd.engine.listContainers({}), soon).toEqual([]);
});

test('leaving removes what runs', async () => {
  const task = makeTask({});
  await store.update((tx) => tx.create('task', task));
  await expect.poll(() => status(task.id)?.state, soon).toBe('running');
  await agent.close();
  await removeFromEngine({ nodeId, engine: dockerd.engine, tasksDir: dockerd.tasksDir, log });
  expect(await dockerd.engine.listContainers({})).toEqual([]);
});
