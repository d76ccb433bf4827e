/** The whole agent, wired as in the product, between a real manager service and a real Docker Engine. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { credentials, Server, ServerCredentials } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startAgent } from '../../src/controlplane/agent/agent.js';
import type { Agent } from '../../src/controlplane/agent/agent.js';
import { allocateLeg } from '../../src/controlplane/allocator/leg.js';
import { createManagerServices } from '../../src/controlplane/dispatcher/manager-services.js';
import type { ManagerServices } from '../../src/controlplane/dispatcher/manager-services.js';
import type { Store } from '../../src/controlplane/store/store.js';
import type { TaskId } from '../../src/model/ids.js';
import { systemClock } from '../../src/runtime/clock.js';
import { node, service, storeOf } from '../support/cluster-objects.js';
import { startDockerd } from './agent-dockerd.js';
import type { TestDockerd } from './agent-dockerd.js';
import { log, makeTask, nodeId } from './agent-worker.js';

const random = (size: number): Uint8Array => randomBytes(size);
const soon = { timeout: 10_000, interval: 20 };

let dockerd: TestDockerd;
let store: Store;
let manager: ManagerServices;
let server: Server;
let address: string;
let agent: Agent;
let swarmDir: string;

const newAgent = (): Agent =>
  startAgent({
    facts: async () => undefined,
    nodeId,
    engine: dockerd.engine,
    dataplane: { setState: async () => undefined, waitProgrammed: async () => undefined },
    credentials: () => credentials.createInsecure(),
    managers: [{ nodeId: '', addr: address }],
    dataPathAddr: '192.0.2.1',
    swarmDir,
    bootId: 'boot1',
    clock: systemClock,
    random,
    log,
  });

beforeAll(async () => {
  swarmDir = await mkdtemp(join(tmpdir(), 'skep-agent-'));
  dockerd = await startDockerd();
  store = await storeOf({ node: [node(nodeId)], service: [service('web')] });
  manager = createManagerServices({
    store,
    clock: systemClock,
    random,
    log,
    peerOf: () => ({ nodeId, role: 'worker', clusterId: store.view().cluster().id }),
    issueCertificate: () => expect.fail('nobody joins here'),
    allocateLeg,
    tlsInfoOf: () => ({ trustRoot: '', certIssuerSubject: '', certIssuerPublicKey: '' }),
  });
  server = new Server();
  for (const { definition, implementation } of manager.services)
    server.addService(definition, implementation);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (err, bound) =>
      err ? reject(err) : resolve(bound),
    ),
  );
  address = `127.0.0.1:${port}`;
  agent = newAgent();
  await agent.ready;
});
afterAll(async () => {
  await agent.close();
  await rm(swarmDir, { recursive: true, force: true });
  await manager.close();
  server.forceShutdown();
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
  agent = newAgent();
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
  await agent.removeAll();
  expect(await dockerd.engine.listContainers({})).toEqual([]);
});
