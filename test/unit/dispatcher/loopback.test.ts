/**
 * Manager and agent over real gRPC with the cluster's own TLS, on the loopback: joining, sessions, assignments,
 * reports, logs. The store is the one in memory, the worker a recorder; all that is between them is the product's.
 */
import { randomBytes } from 'node:crypto';
import type { Server } from '@grpc/grpc-js';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { AgentSession } from '../../../src/controlplane/agent/session.js';
import { LogPublisher } from '../../../src/controlplane/agent/log-publisher.js';
import type { TaskLogs } from '../../../src/controlplane/agent/log-publisher.js';
import { TaskBarrier } from '../../../src/controlplane/agent/task-barrier.js';
import { StatusReporter } from '../../../src/controlplane/agent/status-reporter.js';
import { allocateLeg } from '../../../src/controlplane/allocator/leg.js';
import {
  createCsr,
  csrForKey,
  createRootCa,
  issueNodeCertificate,
} from '../../../src/controlplane/ca/certificates.js';
import {
  joiningClientSecurity,
  nodeClientSecurity,
  NodeServerCredentials,
} from '../../../src/controlplane/ca/credentials.js';
import { ClusterCa } from '../../../src/controlplane/ca/cluster-ca.js';
import { identityFromPem } from '../../../src/controlplane/ca/node-identity.js';
import { requestRenewal } from '../../../src/controlplane/node/certificate-request.js';
import { createManagerServices } from '../../../src/controlplane/dispatcher/manager-services.js';
import type { ManagerServices } from '../../../src/controlplane/dispatcher/manager-services.js';
import type { Assignment } from '../../../src/controlplane/rpc/assignment.js';
import { logsRequest, readLogReplies } from '../../../src/controlplane/managers/managers-service.js';
import { DispatcherClient, ManagersClient, NodeCaClient } from '../../../src/controlplane/rpc/clients.js';
import type { WireNodeDescription } from '../../../src/controlplane/rpc/messages.js';
import type { Store } from '../../../src/controlplane/store/store.js';
import type { ReadLogs } from '../../../src/controlplane/task-logs.js';
import type { Cidr, Ip, Mac } from '../../../src/model/addresses.js';
import { isAttachment } from '../../../src/model/attachments.js';
import { leaderId } from '../../../src/model/ids.js';
import type { ClusterId, NetworkId, NodeId, TaskId, Vni } from '../../../src/model/ids.js';
import type { Node, NodeRole, Task } from '../../../src/model/objects.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { createLog } from '../../../src/runtime/log.js';
import { Waiters } from '../../../src/runtime/waiters.js';
import { cluster, network, node, service, storeOf, task } from '../../support/cluster-objects.js';
import { packed, unpacked } from '../../support/log-lines.js';
import { createRpcServer, listen } from '../../../src/controlplane/rpc/server.js';

const log = createLog('test');
log.level = process.env['SKEP_LOG'] ?? 'silent';
const random = (size: number): Uint8Array => randomBytes(size);
const web = service('web');
const mac = '02:00:00:00:00:01' as Mac;
const overlay = {
  ...network('net'),
  allocation: { vni: 4097 as Vni, subnet: '10.0.0.0/24' as Cidr, gateway: '10.0.0.1' as Ip },
};
const description: WireNodeDescription = {
  hostname: 'host-1',
  architecture: 'x86_64',
  os: 'linux',
  nanoCpus: 2e9,
  memoryBytes: 2 ** 33,
  engineVersion: '20.10.24',
  engineLabels: { a: 'b' },
  plugins: [{ type: 'Volume', name: 'local' }],
  genericResources: [
    { kind: 'gpu', name: 'UUID1' },
    { kind: 'ssd', count: 3 },
  ],
  routes: [{ destination: '192.0.2.0/24', device: 'eth0' }],
  espEpoch: 5,
  tlsInfo: null,
};

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

type Served = ManagerServices['services'];

/**
 * A cluster with a manager that listens; `restart` replaces the manager by another at the same address.
 * @param served what of its services it serves
 */
async function makeCluster(
  nodes: readonly Node[] = [],
  tasks: readonly Task[] = [],
  served = (services: Served): Served => services,
) {
  const rootCa = await createRootCa(Date.now());
  const clusterId = 'c1' as ClusterId;
  const store = await storeOf({
    cluster: [
      cluster({ id: clusterId, rootCa, joinTokens: { worker: 'SWMTKN-worker', manager: 'SWMTKN-manager' } }),
    ],
    node: nodes,
    service: [web],
    task: tasks,
  });
  const identity = async (nodeId: string, role: NodeRole, of = clusterId, validMs = 3_600_000) => {
    const { csrPem, keyPem } = await createCsr();
    const request = { rootCa, csrPem, nodeId: nodeId as NodeId, role, clusterId: of };
    const certPem = await issueNodeCertificate({ ...request, nowMs: Date.now(), validMs });
    return { certPem, keyPem, rootPem: rootCa.certPem };
  };
  const serverIdentity = await identity('manager-1', 'manager');
  const ca = new ClusterCa({ clock: systemClock });
  let manager: { services: ManagerServices; server: Server; resign: () => Promise<void> } | undefined;
  let address = '127.0.0.1:0';
  /** A manager that nobody has made the leader, at an address. */
  const open = async (at: string) => {
    const services = createManagerServices({
      store,
      clock: systemClock,
      random,
      log,
      ...ca,
      allocateLeg,
    });
    const server = createRpcServer(served(services.services), log);
    const port = await listen(server, at, new NodeServerCredentials(serverIdentity));
    return { services, server, addr: `127.0.0.1:${port}` };
  };
  const start = async (): Promise<void> => {
    const { services, server, addr } = await open(address);
    address = addr;
    const term = new AbortController();
    const leading = services.lead(store, term.signal);
    const resign = (): Promise<void> => {
      term.abort();
      return leading;
    };
    manager = { services, server, resign };
  };
  const stop = async (): Promise<void> => {
    await manager?.resign();
    manager?.server.forceShutdown();
    manager = undefined;
  };
  await start();
  cleanups.push(stop);
  return {
    store: store as Store,
    rootCa,
    identity,
    get address() {
      return address;
    },
    get readLogs() {
      return manager?.services.readLogs() ?? expect.fail('no manager');
    },
    stop,
    start,
    /** @returns its address */
    listenWithoutOffice: async () => {
      const { server, addr } = await open('127.0.0.1:0');
      cleanups.push(() => server.forceShutdown());
      return addr;
    },
  };
}
type Cluster = Awaited<ReturnType<typeof makeCluster>>;

/** How often each method was called, of a manager that has none of `without`. */
const counting = (without: readonly string[] = []) => {
  const calls = new Map<string, number>();
  const count =
    (name: string, handle: unknown) =>
    (...args: unknown[]): void => {
      calls.set(name, (calls.get(name) ?? 0) + 1);
      (handle as (...args: unknown[]) => void)(...args);
    };
  const served = (services: Served): Served =>
    services.map(({ definition, implementation }) => ({
      definition: Object.fromEntries(Object.entries(definition).filter(([name]) => !without.includes(name))),
      implementation: Object.fromEntries(
        Object.entries(implementation).map(([name, handle]) => [name, count(name, handle) as never]),
      ),
    }));
  return { calls, served };
};

/** An agent's session with a worker that only records. */
async function startAgentSession(
  of: Cluster,
  nodeId: string,
  taskLogs: TaskLogs = noLogs,
  managerAddress = of.address,
  describeHost = async () => description,
) {
  const { credentials, options } = nodeClientSecurity(await of.identity(nodeId, 'worker'));
  const tasks: { readonly ids: string[]; readonly complete: boolean }[] = [];
  const networks: { readonly keys: string[]; readonly revision: number }[] = [];
  const attachments: string[][] = [];
  const reporter = new StatusReporter({ clock: systemClock, log });
  const dataplane = new Dataplane();
  const programmedPast = dataplane.programmedPast.bind(dataplane);
  const barrier = new TaskBarrier({ programmedPast, clock: systemClock, log });
  const session = new AgentSession({
    credentials: () => credentials,
    channelOptions: options,
    managers: [{ nodeId: '', addr: managerAddress }],
    dataPathAddr: '192.0.2.7',
    describe: describeHost,
    network: {
      set: (assignments: ReadonlyMap<string, Assignment>, revision) => {
        networks.push({ keys: [...assignments.keys()], revision });
        dataplane.desire(revision);
      },
    },
    barrier,
    worker: {
      assign: (assigned, complete) => tasks.push({ ids: assigned.map(({ id }) => id), complete }),
    },
    attachments: {
      set: (all) => attachments.push(all.filter(isAttachment).map(({ id }) => id)),
      run: (_calls, over) => new Promise((resolve) => over.addEventListener('abort', () => resolve())),
    },
    payloads: { set: () => undefined },
    reporter,
    silence: { nodes: null, subscribe: () => ({ [Symbol.dispose]: () => undefined }) },
    logs: new LogPublisher({ taskLogs, clock: systemClock, log }),
    tunnels: {
      run: (_client, _connect, _id, over) =>
        new Promise((resolve) => over.addEventListener('abort', () => resolve())),
    },
    clock: systemClock,
    random,
    log,
  });
  const stop = new AbortController();
  const running = session.run(stop.signal);
  const end = async (): Promise<void> => {
    stop.abort(new Error('test over'));
    await running;
  };
  cleanups.push(end);
  return { session, reporter, tasks, networks, attachments, barrier, dataplane, end };
}

/** Programs what it is told at once, unless it is held. */
class Dataplane {
  readonly #waiters = new Waiters();
  #desired = -1;
  #programmed = -1;
  held = false;

  desire(revision: number): void {
    this.#desired = revision;
    this.work();
  }

  work(): void {
    if (!this.held) this.#programmed = this.#desired;
    this.#waiters.check();
  }

  async programmedPast(revision: number, signal: AbortSignal): Promise<number> {
    await this.#waiters.until(() => this.#programmed > revision, signal);
    return this.#programmed;
  }
}

// eslint-disable-next-line require-yield
const noLogs: TaskLogs = async function* () {
  return;
};
const soon = { timeout: 5_000, interval: 10 };

describe('joining', () => {
  const join = async (of: Cluster, token: string, rootPem = of.rootCa.certPem) => {
    const { credentials, options } = joiningClientSecurity(rootPem);
    const client = new NodeCaClient(of.address, credentials, options);
    cleanups.push(() => client.close());
    const { csrPem } = await createCsr();
    return client.issueNodeCertificate({
      csrPem,
      token,
      availability: 'active',
      address: '',
      certificatePem: '',
    });
  };

  test('the worker token makes a worker', async () => {
    const of = await makeCluster();
    const reply = await join(of, 'SWMTKN-worker');
    expect(reply.role).toBe('worker');
    expect(of.store.view().get('node', reply.nodeId as NodeId)).toMatchObject({
      role: 'worker',
      spec: { role: 'worker' },
    });
  });

  test('the manager token makes a manager', async () => {
    const of = await makeCluster();
    const reply = await join(of, 'SWMTKN-manager');
    expect(reply.role).toBe('manager');
    expect(of.store.view().get('node', reply.nodeId as NodeId)).toMatchObject({
      role: 'manager',
      spec: { role: 'manager' },
    });
  });

  test.each(['', 'SWMTKN-1', 'SWMTKN-worker '])(
    'a token that is not current is refused: "%s"',
    async (token) => {
      const of = await makeCluster();
      await expect(join(of, token)).rejects.toMatchObject({
        kind: 'invalidArgument',
        message: 'A valid join token is necessary to join this cluster',
      });
      expect(of.store.view().list('node')).toEqual([]);
    },
  );

  test('a malformed request leaves no node behind', async () => {
    const of = await makeCluster();
    const { credentials, options } = joiningClientSecurity(of.rootCa.certPem);
    const client = new NodeCaClient(of.address, credentials, options);
    cleanups.push(() => client.close());
    const request = {
      csrPem: 'no csr',
      token: 'SWMTKN-worker',
      availability: 'active',
      address: '',
      certificatePem: '',
    };
    await expect(client.issueNodeCertificate(request)).rejects.toMatchObject({ kind: 'invalidArgument' });
    expect(of.store.view().list('node')).toEqual([]);
  });

  test('a certificate is renewed for the role the node has now', async () => {
    const of = await makeCluster([{ ...node('n1'), role: 'manager' }]);
    const { credentials, options } = nodeClientSecurity(await of.identity('n1', 'worker'), 'swarm-ca');
    const client = new NodeCaClient(of.address, credentials, options);
    cleanups.push(() => client.close());
    const { csrPem } = await createCsr();
    const request = { csrPem, token: '', availability: '', address: '', certificatePem: '' };
    const reply = await client.issueNodeCertificate(request);
    expect(reply).toMatchObject({ nodeId: 'n1', role: 'manager', trustPem: of.rootCa.certPem });
  });

  describe('the key that managers seal theirs with', () => {
    const unlockKey = `SWMKEY-1-${'A'.repeat(43)}`;
    const lock = { version: 1, unlockKey };
    const autolocked = async (nodes: readonly Node[]): Promise<Cluster> => {
      const of = await makeCluster(nodes);
      await of.store.update((tx) => tx.update('cluster', { ...tx.cluster(), managersLock: lock }));
      return of;
    };
    const manager = { ...node('n1'), role: 'manager' as const };
    const renewed = async (of: Cluster, nodeId: string, role: NodeRole) => {
      const { certPem, keyPem, rootPem } = await of.identity(nodeId, role);
      return requestRenewal(identityFromPem(certPem, keyPem, rootPem), [of.address], '');
    };

    test('comes with a manager’s certificate, not with a worker’s', async () => {
      const of = await autolocked([manager, node('n2')]);
      const of1 = await renewed(of, 'n1', 'manager');
      expect(of1.lock).toEqual({ version: 1, key: Buffer.alloc(32) });
      const of2 = await renewed(of, 'n2', 'worker');
      expect([of2.identity.role, of2.lock]).toEqual(['worker', undefined]);
    });

    test('comes with a token’s, not to who shows an expired certificate that the connection does not prove', async () => {
      const of = await autolocked([manager]);
      const { credentials, options } = joiningClientSecurity(of.rootCa.certPem);
      const client = new NodeCaClient(of.address, credentials, options);
      cleanups.push(() => client.close());
      const ask = (csrPem: string, token: string, certificatePem = '') =>
        client.issueNodeCertificate({ csrPem, certificatePem, token, availability: '', address: '' });
      expect((await ask((await createCsr()).csrPem, 'SWMTKN-manager')).lock).toEqual(lock);
      expect((await ask((await createCsr()).csrPem, 'SWMTKN-worker')).lock).toBeNull();
      const expired = await of.identity('n1', 'manager', undefined, -60_000);
      const reply = await ask(await csrForKey(expired.keyPem), '', expired.certPem);
      expect([reply.role, reply.lock]).toEqual(['manager', null]);
    });
  });

  describe('an expired certificate', () => {
    const expired = async (of: Cluster, nodeId = 'n1') => {
      const { certPem, keyPem, rootPem } = await of.identity(nodeId, 'worker', undefined, -60_000);
      return identityFromPem(certPem, keyPem, rootPem);
    };

    test('is renewed, while its node is one of the cluster', async () => {
      const of = await makeCluster([node('n1')]);
      const { identity: renewed } = await requestRenewal(await expired(of), [of.address], '');
      expect(renewed.nodeId).toBe('n1');
      const { credentials, options } = nodeClientSecurity(renewed);
      const client = new DispatcherClient(of.address, credentials, options);
      cleanups.push(() => client.close());
      await expect(client.heartbeat({ sessionId: 'none', silent: null })).rejects.toMatchObject({
        kind: 'notFound',
      });
    });

    test('of a node that was removed is not', async () => {
      const of = await makeCluster([node('n1')]);
      await expect(requestRenewal(await expired(of, 'gone'), [of.address], '')).rejects.toMatchObject({
        kind: 'permissionDenied',
        message: 'Permission denied: node gone was removed from swarm',
      });
    });

    test('is nothing without its key, or of another root', async () => {
      const of = await makeCluster([node('n1')]);
      const { credentials, options } = joiningClientSecurity(of.rootCa.certPem);
      const client = new NodeCaClient(of.address, credentials, options);
      cleanups.push(() => client.close());
      const { certPem } = await expired(of);
      const foreign = await makeCluster([node('n1')]);
      const theirs = await expired(foreign);
      const ask = (csrPem: string, certificatePem: string) =>
        client.issueNodeCertificate({ csrPem, certificatePem, token: '', availability: '', address: '' });
      const refused = { kind: 'unauthenticated' };
      await expect(ask((await createCsr()).csrPem, certPem)).rejects.toMatchObject(refused);
      await expect(ask(await csrForKey(theirs.keyPem), theirs.certPem)).rejects.toMatchObject(refused);
      await expect(ask(await csrForKey(theirs.keyPem), 'no certificate')).rejects.toMatchObject(refused);
    });
  });
});

describe('a session', () => {
  test('registers the node with what it says of itself', async () => {
    const of = await makeCluster([{ ...node('n1'), status: { state: 'unknown', message: '', addr: '' } }]);
    const { session } = await startAgentSession(of, 'n1');
    await session.ready;
    expect(of.store.view().get('node', 'n1' as NodeId)).toMatchObject({
      status: { state: 'ready', message: '', addr: '127.0.0.1' },
      dataPathAddr: '192.0.2.7',
      description: {
        hostname: 'host-1',
        resources: {
          nanoCpus: 2e9,
          memoryBytes: 2 ** 33,
          genericResources: [
            { kind: 'gpu', name: 'UUID1' },
            { kind: 'ssd', count: 3 },
          ],
        },
      },
    });
  });

  test.each([
    ['in the session that it has', [], { sessions: 1, sets: 1 }],
    ['in another session to a manager that is not upgraded yet', ['DescribeNode'], { sessions: 2, sets: 2 }],
  ])('describes the host again soon where its dataplane had not answered, %s', async (_, without, expected) => {
    const { calls, served } = counting(without);
    const of = await makeCluster([node('n1')], [task('t1', web, 'assigned', { node: 'n1' })], served);
    const unknown = { ...description, engineLabels: {}, espEpoch: 0 };
    const hosts = [unknown, unknown];
    const { session, tasks } = await startAgentSession(
      of,
      'n1',
      noLogs,
      of.address,
      async () => hosts.shift() ?? description,
    );
    const labels = () => of.store.view().get('node', 'n1' as NodeId)?.description?.engine.labels;
    await session.ready;
    expect(labels()).toEqual({});
    await expect.poll(labels, { ...soon, timeout: 8_000 }).toEqual({ a: 'b' });
    await expect.poll(() => tasks, soon).toHaveLength(expected.sets);
    expect(calls.get('session')).toBe(expected.sessions);
    expect(of.store.view().get('node', 'n1' as NodeId)).toMatchObject({ espEpoch: 5, dataPathAddr: '192.0.2.7', status: { state: 'ready' } });
  }, 12_000); // prettier-ignore

  test('brings a complete set, then what changes; reports go back', async () => {
    const of = await makeCluster(
      [node('n1')],
      [task('t1', web, 'assigned', { node: 'n1' }), task('other', web, 'assigned', { node: 'n2' })],
    );
    const { session, reporter, tasks, networks } = await startAgentSession(of, 'n1');
    await session.ready;
    await expect.poll(() => tasks, soon).toEqual([{ ids: ['t1'], complete: true }]);
    reporter.put('t1' as TaskId, { state: 'running', message: 'started', timestampMs: 1 });
    await expect.poll(() => of.store.view().get('task', 't1' as TaskId)?.status.state, soon).toBe('running');
    await of.store.update((tx) => tx.create('task', task('t2', web, 'assigned', { node: 'n1' })));
    await expect.poll(() => tasks.at(-1), soon).toEqual({ ids: ['t1', 't2'], complete: false });
    expect(tasks).toHaveLength(2); // the report did not come back
    await of.store.update((tx) => tx.delete('task', 't1'));
    await expect.poll(() => tasks.at(-1), soon).toEqual({ ids: ['t2'], complete: false });
    expect(networks.at(-1)?.revision).toBe(of.store.view().revision);
  });

  test('an overlay that comes after the task on it is told with the tasks again: what a reboot needs is both', async () => {
    const of = await makeCluster([node('n1')], [task('t1', web, 'assigned', { node: 'n1' })]);
    await of.store.update((tx) => tx.create('network', overlay));
    const { session, tasks, networks } = await startAgentSession(of, 'n1');
    await session.ready;
    await expect.poll(() => tasks, soon).toEqual([{ ids: ['t1'], complete: true }]);
    expect(networks.at(-1)?.keys).not.toContain('overlay/net');
    const leg = { networkId: overlay.id, address: '10.0.0.2' as Ip, mac };
    await of.store.update((tx) =>
      tx.update('node', { ...tx.get('node', 'n1' as NodeId)!, attachments: [leg] }),
    );
    await expect.poll(() => tasks.at(-1), soon).toEqual({ ids: ['t1'], complete: false });
    expect(networks.at(-1)?.keys).toContain('overlay/net');
  });

  test('outlives the manager: the agent comes back, reports that waited arrive', async () => {
    const of = await makeCluster([node('n1')], [task('t1', web, 'running', { node: 'n1' })]);
    const { session, reporter, tasks } = await startAgentSession(of, 'n1');
    await session.ready;
    await expect.poll(() => tasks.length, soon).toBe(1);
    await of.stop();
    reporter.put('t1' as TaskId, {
      state: 'failed',
      message: 'started',
      err: 'task: non-zero exit (1)',
      timestampMs: 1,
    });
    await of.start();
    await expect
      .poll(() => of.store.view().get('task', 't1' as TaskId)?.status, { ...soon, timeout: 10_000 })
      .toMatchObject({ state: 'failed', err: 'task: non-zero exit (1)' });
    expect(tasks.at(-1)).toEqual({ ids: ['t1'], complete: true });
    await expect.poll(() => of.store.view().get('node', 'n1' as NodeId)?.status.state, soon).toBe('ready');
  }, 15_000);

  test('is refused by a manager that does not lead, which names the one that does', async () => {
    const of = await makeCluster([node('node-1')]);
    const follower = await of.listenWithoutOffice();
    await of.store.update((tx) => {
      tx.create('manager', { id: 'manager-1' as NodeId, addr: of.address });
      tx.create('leader', { id: leaderId, nodeId: 'manager-1' as NodeId, raftTerm: 1 });
    });
    const agent = await startAgentSession(of, 'node-1', noLogs, follower);
    await agent.session.ready;
    expect(of.store.view().get('node', 'node-1' as NodeId)?.status.state).toBe('ready');
  });

  test('takes over the address of a node that was there before: a host may leave and join again', async () => {
    const former = { ...node('former'), dataPathAddr: '192.0.2.7' as Ip };
    const another = { ...node('another'), dataPathAddr: '192.0.2.8' as Ip };
    const of = await makeCluster([former, another, node('n1')]);
    const { session } = await startAgentSession(of, 'n1');
    await session.ready;
    const addressOf = (id: string) => of.store.view().get('node', id as NodeId)?.dataPathAddr;
    expect(['former', 'another', 'n1'].map(addressOf)).toEqual([undefined, '192.0.2.8', '192.0.2.7']);
  });

  test('ends when the node is removed, and the next one is refused', async () => {
    const of = await makeCluster([node('n1')]);
    const { session, tasks } = await startAgentSession(of, 'n1');
    await session.ready;
    await expect.poll(() => tasks.length, soon).toBe(1);
    await of.store.update((tx) => tx.delete('node', 'n1'));
    const again = await startAgentSession(of, 'n1');
    await expect(again.session.ready).rejects.toMatchObject({
      message: 'Permission denied: node n1 was removed from swarm',
    });
  });

  test('the newer session of a node wins, and registering too often is refused', async () => {
    const of = await makeCluster([node('n1')]);
    const { credentials, options } = nodeClientSecurity(await of.identity('n1', 'worker'));
    const open = async () => {
      const client = new DispatcherClient(of.address, credentials, options);
      cleanups.push(() => client.close());
      const messages = client.session({ description, dataPathAddr: '' }, new AbortController().signal);
      const iterator = messages[Symbol.asyncIterator]() as AsyncIterator<{ sessionId: string }>;
      const first = await iterator.next();
      return { client, iterator, sessionId: (first.value as { sessionId: string }).sessionId };
    };
    const first = await open();
    const second = await open();
    await expect(first.iterator.next()).rejects.toMatchObject({ details: 'session invalid' });
    await expect(first.client.heartbeat({ sessionId: first.sessionId, silent: null })).rejects.toMatchObject({
      kind: 'invalidArgument',
      message: 'session invalid',
    });
    const { periodMs } = await second.client.heartbeat({ sessionId: second.sessionId, silent: null });
    expect(Math.abs(periodMs - 5_000)).toBeLessThanOrEqual(500);
    await open();
    await expect(open()).rejects.toMatchObject({
      details: 'node n1 exceeded rate limit count of registrations',
    });
  });
});

describe('attachments', () => {
  const request = {
    attachmentId: 'a'.repeat(25),
    network: 'open',
    containerId: '',
    containerName: 'box',
    aliases: ['db'],
    address: '',
    nameservers: [],
  };
  const clientOf = async (of: Cluster, nodeId: string) => {
    const { credentials, options } = nodeClientSecurity(await of.identity(nodeId, 'worker'));
    const client = new DispatcherClient(of.address, credentials, options);
    cleanups.push(() => client.close());
    const messages = client.session({ description, dataPathAddr: '' }, new AbortController().signal);
    const iterator = messages[Symbol.asyncIterator]() as AsyncIterator<{ sessionId: string }>;
    const { sessionId } = (await iterator.next()).value as { sessionId: string };
    return { client, sessionId };
  };

  test('a node attaches and detaches its own containers, within its session only', async () => {
    const of = await makeCluster([node('n1'), node('n2')]);
    await of.store.update((tx) =>
      tx.create('network', {
        ...network('open', { attachable: true }),
        allocation: { vni: 4097 as Vni, subnet: '10.5.0.0/24' as Cidr, gateway: '10.5.0.1' as Ip },
      }),
    );
    const [one, two] = [await clientOf(of, 'n1'), await clientOf(of, 'n2')];
    const reply = await one.client.attachNetwork({ ...request, sessionId: one.sessionId });
    expect(reply).toMatchObject({ networkName: 'open', address: '10.5.0.2' });
    expect(of.store.view().get('task', request.attachmentId as TaskId)).toMatchObject({
      nodeId: 'n1',
      networks: [{ aliases: ['db'] }],
    });
    const detach = ({ client }: typeof one, sessionId: string) =>
      client.detachNetworks({ sessionId, attachmentIds: [request.attachmentId] });
    await expect(detach(two, two.sessionId)).rejects.toMatchObject({ kind: 'permissionDenied' });
    await expect(detach(two, one.sessionId)).rejects.toMatchObject({ message: 'session invalid' });
    await detach(one, one.sessionId);
    expect(of.store.view().list('task')).toEqual([]);
  });
});

describe('the barrier of a task', () => {
  const attached = (id: string): Node => ({
    ...node(id),
    attachments: [{ networkId: 'net' as NetworkId, address: '10.0.0.2' as Ip, mac: mac }],
  });
  const attachedTask = (id: string, nodeId: string, over: Partial<Task> = {}): Task =>
    task(id, web, 'running', {
      node: nodeId,
      networks: [
        { networkId: 'net' as NetworkId, address: '10.0.0.9' as Ip, prefixLength: 24, mac, aliases: [] },
      ],
      ...over,
    });
  const waiting = (of: Promise<unknown>) => {
    const state = { over: false };
    void of.then(() => (state.over = true));
    return state;
  };
  const signal = new AbortController().signal;

  test('opens when every node has programmed that the task drains', async () => {
    const of = await makeCluster([attached('n1'), attached('n2')], [attachedTask('t1', 'n1')]);
    await of.store.update((tx) => tx.create('network', overlay));
    const [one, two] = [await startAgentSession(of, 'n1'), await startAgentSession(of, 'n2')];
    await Promise.all([one.session.ready, two.session.ready]);
    await one.barrier.wait('t1' as TaskId, false, signal); // it is known everywhere
    two.dataplane.held = true;
    const drained = one.barrier.wait('t1' as TaskId, true, signal);
    const state = waiting(drained);
    await of.store.update((tx) => {
      const found = tx.get('task', 't1' as TaskId) ?? expect.fail();
      tx.update('task', { ...found, desiredState: 'shutdown' });
    });
    await expect.poll(() => two.networks.at(-1)?.revision, soon).toBe(of.store.view().revision);
    await delay(300);
    expect(state.over).toBe(false);
    two.dataplane.held = false;
    two.dataplane.work();
    await drained;
  });

  test('an unhealthy task is reported as draining, and that opens it', async () => {
    const of = await makeCluster([attached('n1')], [attachedTask('t1', 'n1')]);
    await of.store.update((tx) => tx.create('network', overlay));
    const { session, barrier, reporter } = await startAgentSession(of, 'n1');
    await session.ready;
    const drained = barrier.wait('t1' as TaskId, true, signal);
    const state = waiting(drained);
    await delay(300);
    expect(state.over).toBe(false);
    reporter.put('t1' as TaskId, { state: 'running', message: 'started', timestampMs: 1, draining: true });
    await drained;
  });

  test('a node may not ask about another node’s task', async () => {
    const of = await makeCluster([attached('n1'), attached('n2')], [attachedTask('t1', 'n1')]);
    const { credentials, options } = nodeClientSecurity(await of.identity('n2', 'worker'));
    const client = new DispatcherClient(of.address, credentials, options);
    cleanups.push(() => client.close());
    const messages = client.session({ description, dataPathAddr: '' }, signal);
    const first = await messages[Symbol.asyncIterator]().next();
    const { sessionId } = first.value as { sessionId: string };
    const asked = client.awaitAcknowledged({ sessionId, taskId: 't1', drained: true });
    await expect(asked).rejects.toMatchObject({
      kind: 'permissionDenied',
      message: 'cannot wait for a task not assigned this node',
    });
    const other = client.acknowledgeRevision({ sessionId: 'x', revision: 1 });
    await expect(other).rejects.toMatchObject({ kind: 'invalidArgument', message: 'session invalid' });
    messages.cancel();
  });

  test.each([
    ['in one call, however many there are', [], { acknowledgeRevisions: 1 }],
    [
      'one by one to a manager that is not upgraded yet',
      ['AcknowledgeRevisions'],
      { acknowledgeRevision: expect.any(Number) as number },
    ],
  ])('revisions are acknowledged %s', async (_, without, expected) => {
    const { calls, served } = counting(without);
    const of = await makeCluster([attached('n1')], [attachedTask('t1', 'n1')], served);
    await of.store.update((tx) => tx.create('network', overlay));
    const { session, barrier, networks } = await startAgentSession(of, 'n1');
    await session.ready;
    await barrier.wait('t1' as TaskId, false, signal);
    for (const desiredState of ['shutdown', 'running', 'shutdown'] as const) {
      await of.store.update((tx) =>
        tx.update('task', { ...(tx.get('task', 't1' as TaskId) ?? expect.fail()), desiredState }),
      );
      await expect.poll(() => networks.at(-1)?.revision, soon).toBe(of.store.view().revision);
      await barrier.wait('t1' as TaskId, desiredState === 'shutdown', signal);
    }
    expect(Object.fromEntries([...calls].filter(([name]) => name.startsWith('acknowledge')))).toEqual(
      expected,
    );
    expect(calls.get('session')).toBe(1);
  });

  test('a call of acknowledgements ends with its session, and none begins in another’s', async () => {
    const of = await makeCluster([attached('n1'), attached('n2')]);
    const register = async (id: string) => {
      const { credentials, options } = nodeClientSecurity(await of.identity(id, 'worker'));
      const client = new DispatcherClient(of.address, credentials, options);
      cleanups.push(() => client.close());
      const messages = client.session({ description, dataPathAddr: '' }, signal);
      messages.on('error', () => undefined);
      const sessionId = await new Promise<string>((resolve) =>
        messages.on('data', (message: { sessionId: string }) => resolve(message.sessionId)),
      );
      const acknowledge = (ofSession: string) => {
        const { stream, done } = client.acknowledgeRevisions(signal);
        stream.on('error', () => undefined);
        stream.write({ sessionId: ofSession, revision: 1 });
        return done;
      };
      return { sessionId, acknowledge };
    };
    const [one, two] = [await register('n1'), await register('n2')];
    const invalid = { kind: 'invalidArgument', message: 'session invalid' };
    await expect(two.acknowledge(one.sessionId)).rejects.toMatchObject(invalid);
    const first = one.acknowledge(one.sessionId);
    const state = waiting(first.catch(() => undefined));
    await two.acknowledge('x').catch(() => undefined);
    expect(state.over).toBe(false);
    const next = await register('n1');
    await expect(first).rejects.toMatchObject(invalid);
    await expect(next.acknowledge(one.sessionId)).rejects.toMatchObject(invalid);
  });

  test('outlives the manager: the question is asked again in the next session', async () => {
    const of = await makeCluster([attached('n1')], [attachedTask('t1', 'n1')]);
    const { session, barrier, dataplane } = await startAgentSession(of, 'n1');
    await session.ready;
    dataplane.held = true;
    const known = barrier.wait('t1' as TaskId, false, signal);
    await of.stop();
    await of.start();
    dataplane.held = false;
    dataplane.work();
    const startedMs = Date.now();
    await known;
    expect(Date.now() - startedMs).toBeLessThan(4_000);
  });
});

describe('logs', () => {
  const options = { stdout: true, stderr: true, follow: false, tail: -1, since: '' };
  const read = async (of: Cluster, over: Partial<typeof options> = {}, limit = Infinity) => {
    const lines: { taskId: string; nodeId: string; stream: number; text: string }[] = [];
    const stop = new AbortController();
    const wanted = { ...options, ...over };
    for await (const some of of.readLogs({ serviceId: web.id }, wanted, stop.signal)) {
      for (const { packed: each, ...whose } of some)
        lines.push(...unpacked(each).map((line) => ({ ...whose, ...line })));
      if (lines.length >= limit) stop.abort();
    }
    return lines.slice(0, limit);
  };
  const numbered = (count: number): TaskLogs =>
    async function* (_, __, signal) {
      for (let i = 0; i < count && !signal.aborted; i++) yield packed({ text: `${i}\n` });
    };
  /** An agent that listens already. */
  const listening = async (of: Cluster, taskLogs: TaskLogs) => {
    const agent = await startAgentSession(of, 'n1', taskLogs);
    await agent.session.ready;
    // Its streams are opened together: one that answered says nothing of the other, so ask until it is heard.
    await expect
      .poll(
        () =>
          read(of, { tail: 1 }, 1).then(
            (lines) => lines.length,
            () => 0,
          ),
        soon,
      )
      .toBe(1);
  };
  const running = task('t1', web, 'running', { node: 'n1' });

  test('come from the node, in order, and end', async () => {
    const of = await makeCluster([node('n1')], [running]);
    await listening(of, numbered(500));
    const lines = await read(of);
    expect(lines.map(({ text }) => text)).toEqual(Array.from({ length: 500 }, (_, i) => `${i}\n`));
    expect(lines[0]).toMatchObject({ taskId: 't1', nodeId: 'n1', stream: 1 });
  });

  test('a reader that stops early stops the node', async () => {
    const of = await makeCluster([node('n1')], [running]);
    let produced = 0;
    let ended = false;
    const endless: TaskLogs = async function* (taskId, selection, signal) {
      ended = false;
      try {
        for await (const lines of numbered(Infinity)(taskId, selection, signal)) {
          produced += 1;
          yield lines;
        }
      } finally {
        ended = true;
      }
    };
    await listening(of, endless);
    await expect.poll(() => ended, soon).toBe(true);
    expect(await read(of, { follow: true }, 10)).toHaveLength(10);
    await expect.poll(() => ended, soon).toBe(true);
    expect(produced).toBeGreaterThan(10);
  });

  /** As a manager reads that does not lead, and asks the one that does. */
  const throughAnother = async (of: Cluster): Promise<ReadLogs> => {
    const { credentials, options: named } = nodeClientSecurity(await of.identity('m2', 'manager'));
    const client = new ManagersClient(of.address, credentials, named);
    cleanups.push(() => client.close());
    return (subject, wanted, signal) => readLogReplies(client.readLogs(logsRequest(subject, wanted), signal));
  };

  test.each<[reader: string, readLogsOf: (of: Cluster) => Promise<ReadLogs>]>([
    ['a reader', async (of) => of.readLogs],
    ['a reader at another manager', throughAnother],
  ])(
    'fifty thousand lines come whole and in order, and %s that waits holds the node up',
    async (_, readLogsOf) => {
      const of = await makeCluster([node('n1'), { ...node('m2'), role: 'manager' }], [running]);
      const total = 50_000;
      const text = 'x'.repeat(1_000);
      let produced = 0;
      const many: TaskLogs = async function* (__, { tail }) {
        if (tail === 1) yield packed({ text: 'ready\n' });
        else
          while (produced < total)
            yield packed(...Array.from({ length: 100 }, () => ({ text: `${produced++} ${text}\n` })));
      };
      await listening(of, many);
      const seen: number[] = [];
      const startedMs = performance.now();
      const readLogs = await readLogsOf(of);
      for await (const lines of readLogs({ serviceId: web.id }, options, new AbortController().signal)) {
        for (const { packed: some } of lines)
          seen.push(...unpacked(some).map((line) => Number.parseInt(line.text)));
        if (seen.length > 2_000) continue;
        // It has stopped when it is at the same place twice.
        for (let before = -1; before < produced; await delay(200)) before = produced;
        expect(produced * text.length, 'bytes under way').toBeLessThan(24 * 1024 * 1024);
      }
      const seconds = (performance.now() - startedMs) / 1_000;
      expect(seen).toEqual(Array.from({ length: total }, (_, i) => i));
      expect(total / seconds).toBeGreaterThan(2_000);
    },
    40_000,
  );

  test('what cannot be read is said at the end', async () => {
    const of = await makeCluster(
      [node('n1')],
      [running, task('away', web, 'running', { node: 'n2' }), task('new', web, 'pending')],
    );
    await listening(of, numbered(3));
    await expect(read(of)).rejects.toMatchObject({
      message:
        'warning: incomplete log stream. some logs could not be retrieved for the following reasons: task new has not been scheduled, node n2 is not available',
    });
  });
});
