/** The whole agent, wired as in the product, between a real manager service and a real Docker Engine. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { removeFromEngine } from '../../src/controlplane/agent/agent.js';
import type { Agent } from '../../src/controlplane/agent/agent.js';
import type { Store } from '../../src/controlplane/store/store.js';
import type { TaskId } from '../../src/model/ids.js';
import { node, service, storeOf } from '../support/cluster-objects.js';
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
  dockerd = await startDockerd();
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
  for await (const line of manager.readLogs([task.id], options, new AbortController().signal))
    said.push(line.data.toString());
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

test('leaving removes what runs', async () => {
  const task = makeTask({});
  await store.update((tx) => tx.create('task', task));
  await expect.poll(() => status(task.id)?.state, soon).toBe('running');
  await agent.close();
  await removeFromEngine({ nodeId, engine: dockerd.engine, log });
  expect(await dockerd.engine.listContainers({})).toEqual([]);
});
