/**
 * Users' own containers on a network of the swarm, on a worker: the stock CLI, the API front, the agent and a real Docker Engine,
 * with the manager's half and the control loops on a store in memory.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SwarmEvents } from '../../src/controlplane/api/swarm-events.js';
import { removeFromEngine } from '../../src/controlplane/agent/agent.js';
import type { Agent } from '../../src/controlplane/agent/agent.js';
import { ClusterCa } from '../../src/controlplane/ca/cluster-ca.js';
import { createApiServer } from '../../src/controlplane/api/server.js';
import type { ApiServer } from '../../src/controlplane/api/server.js';
import { runControlLoops } from '../../src/controlplane/loops.js';
import type { MemoryStore } from '../../src/controlplane/store/memory.js';
import { isAttachment } from '../../src/model/attachments.js';
import type { Task } from '../../src/model/objects.js';
import { systemClock } from '../../src/runtime/clock.js';
import { network, node, storeOf } from '../support/cluster-objects.js';
import { FakeControl, description } from '../unit/api/harness.js';
import { startDockerd } from './agent-dockerd.js';
import type { TestDockerd } from './agent-dockerd.js';
import { random, TestManager } from './agent-manager.js';
import { startPlugin } from './agent-plugin.js';
import type { TestPlugin } from './agent-plugin.js';
import { log, nodeId } from './agent-worker.js';

const soon = { timeout: 10_000, interval: 50 };
const stop = new AbortController();

let directory: string;
let dockerd: TestDockerd;
let plugin: TestPlugin;
let store: MemoryStore;
let loops: Promise<void>;
let manager: TestManager;
let agent: Agent;
let api: ApiServer;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-attach-'));
  dockerd = await startDockerd();
  plugin = await startPlugin(dockerd);
  store = await storeOf({
    node: [node(nodeId)],
    network: [
      network('ingress', { ingress: true }),
      network('open', { attachable: true, subnet: '10.201.0.0/24' }),
    ],
  });
  loops = runControlLoops({ store, clock: systemClock, random, log }, stop.signal);
  manager = await TestManager.start(store);
  agent = manager.startAgent(dockerd, directory);
  await agent.ready;
  const control = new FakeControl(store);
  control.state = {
    localNodeState: 'active',
    isManager: false,
    nodeId,
    nodeAddr: '',
    error: '',
    remoteManagers: [],
  };
  control.attachments = () => agent.attachments;
  api = createApiServer({
    control,
    engineSocket: dockerd.address.slice('unix://'.length),
    readLogs: () => expect.fail('no logs here'),
    openTunnel: () => expect.fail('no other node here'),
    balancer: async () => undefined,
    swarmEvents: new SwarmEvents(systemClock),
    log,
    clock: systemClock,
    random,
    tlsInfoOf: () => description.tlsInfo,
    changeRoots: new ClusterCa({ clock: systemClock }).changeRoots,
    rotateToken: (token) => token,
  });
  await api.listen(join(directory, 'docker.sock'));
});
afterAll(async () => {
  await api?.close();
  await agent?.close();
  await manager?.[Symbol.asyncDispose]();
  stop.abort(new Error('test over'));
  await loops;
  await dockerd?.[Symbol.asyncDispose]();
  await plugin?.[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const run = promisify(execFile);
/** The stock CLI through the API front. */
const docker = async (...args: string[]): Promise<string> =>
  (await run('docker', ['-H', `unix://${directory}/docker.sock`, ...args])).stdout.trim();
const attached = (): readonly Task[] => store.view().list('task').filter(isAttachment);
const addresses = (): string[] => attached().map(({ networks: [leg] }) => leg?.address ?? '');
const inspect = (format: string, container = 'box'): Promise<string> =>
  docker('inspect', '-f', format, container);

test('run: the allocated address, our DNS, the container known by id, name and alias; the engine restarts it alone', async () => {
  const options = ['--network', 'open', '--network-alias', 'db', '--stop-timeout', '0'];
  const id = await docker('run', '-d', '--name', 'box', ...options, 'busybox:test', 'sleep', '600');
  const [task] = attached();
  const [leg] = task?.networks ?? [];
  expect(task?.spec.networkAttachment).toEqual({ containerId: id, containerName: 'box', nameservers: [] });
  expect(leg?.aliases).toEqual(['db']);
  const own = store
    .view()
    .get('node', nodeId)
    ?.attachments.find(({ networkId }) => networkId === 'open');
  expect(await inspect('{{.NetworkSettings.Networks.open.IPAddress}} {{.HostConfig.Dns}}')).toBe(
    `${leg?.address} [${own?.address}]`,
  );
  expect(await docker('exec', 'box', 'ip', '-4', '-o', 'addr', 'show', 'eth0')).toContain(
    `${leg?.address}/24`,
  );
  await docker('restart', '-t', '0', 'box');
  expect(await inspect('{{.NetworkSettings.Networks.open.IPAddress}}')).toBe(leg?.address);
  expect(attached()).toHaveLength(1);
});

test('a container that does not run keeps its place and its network, whoever else leaves', async () => {
  await docker('create', '--name', 'later', '--network', 'open', 'busybox:test', 'sleep', '600');
  await docker('rm', '-f', 'box');
  await expect
    .poll(() => attached().map(({ spec }) => spec.networkAttachment?.containerName), soon)
    .toEqual(['later']);
  await docker('start', 'later');
  expect([await inspect('{{.NetworkSettings.Networks.open.IPAddress}}', 'later')]).toEqual(addresses());
});

test('an attachment that was lost is taken again with address and aliases; one whose container went meanwhile is given up', async () => {
  await docker(
    'create',
    '--name',
    'kept',
    '--network',
    'open',
    '--network-alias',
    'db',
    'busybox:test',
    'true',
  );
  const before = attached().find(({ spec }) => spec.networkAttachment?.containerName === 'kept');
  await agent.close();
  await dockerd.engine.removeContainer('later');
  await store.update((tx) => tx.delete('task', before?.id ?? ''));
  agent = manager.startAgent(dockerd, directory);
  await agent.ready;
  await expect.poll(addresses, soon).toEqual([before?.networks[0]?.address]);
  expect(attached()[0]?.networks[0]?.aliases).toEqual(['db']);
  await docker('rm', 'kept');
  await expect.poll(attached, soon).toEqual([]);
});

test('what the engine refuses, and what the managers refuse, leaves nothing', async () => {
  await expect(docker('create', '--network', 'open', 'nosuch:image', 'true')).rejects.toThrow();
  await expect(docker('run', '--network', 'ingress', 'busybox:test', 'true')).rejects.toThrow(
    'Could not attach to network ingress: rpc error: code = PermissionDenied desc = network ingress not manually attachable',
  );
  await expect(
    docker('run', '--name', 'nowhere', '--network', 'nosuch', 'busybox:test', 'true'),
  ).rejects.toThrow(
    'Could not attach to network nosuch: rpc error: code = NotFound desc = network nosuch not found',
  );
  await docker('rm', 'nowhere');
  await expect.poll(addresses, soon).toEqual([]);
});

test('leaving the swarm: the container loses its place there and runs on', async () => {
  await docker('run', '-d', '--name', 'stays', '--network', 'open', 'busybox:test', 'sleep', '600');
  await agent.close();
  await removeFromEngine({ nodeId, engine: dockerd.engine, tasksDir: dockerd.tasksDir, log });
  expect(await inspect('{{.State.Running}} {{len .NetworkSettings.Networks}}', 'stays')).toBe('true 0');
  expect(await dockerd.engine.listNetworks('skep.network.id')).toEqual([]);
});
