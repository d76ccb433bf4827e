/** `/swarm`, `/nodes`, `/info`, `/_ping` and what a node that is no manager answers. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { StoreState } from '../../../src/controlplane/upkeep/store-state.js';
import { Harness, description, filters, nodeId } from './harness.js';

let api: Harness;
beforeEach(async () => {
  api = await Harness.start();
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

const roomy: StoreState = {
  revision: 1,
  databaseBytes: 1e6,
  usedBytes: 1e6,
  quotaBytes: 2048 * 1024 * 1024,
  diskFreeBytes: 1e12,
  isFull: false,
  isCorrupt: false,
  hasDirectory: true,
};
const notManager =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';
const worker =
  "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.";

describe('a node that is no manager', () => {
  const routes = [
    ['GET', '/swarm'],
    ['GET', '/swarm/unlockkey'],
    ['GET', '/nodes'],
    ['GET', '/nodes/x'],
    ['GET', '/services'],
    ['GET', '/tasks'],
    ['GET', '/secrets'],
    ['GET', '/configs/x'],
    ['DELETE', '/services/x'],
    ['GET', '/services/x/logs?stdout=1'],
  ] as const;
  test.each(routes)('%s %s is refused with 503', async (method, path) => {
    api.leaveSwarm();
    expect(await api.call(method, path)).toMatchObject({ status: 503, json: { message: notManager } });
    api.leaveSwarm({ localNodeState: 'active', nodeId });
    expect(await api.call(method, path)).toMatchObject({ status: 503, json: { message: worker } });
    api.leaveSwarm({ localNodeState: 'locked' });
    expect((await api.call(method, path)).text).toContain('Swarm is encrypted and needs to be unlocked');
  });

  test('a bad body is refused before', async () => {
    api.leaveSwarm();
    expect((await api.call('POST', '/services/create', '{"Name":5}')).status).toBe(400);
  });
});

describe('versions and headers', () => {
  test.each<[path: string, status: number, message: string]>([
    ['/v1.42/nodes', 400, 'client version 1.42 is too new. Maximum supported API version is 1.41'],
    ['/swarm/xyz', 404, 'page not found'],
    ['/v1.41/swarm/xyz', 404, 'page not found'],
  ])('%s', async (path, status, message) => {
    expect(await api.call('GET', path)).toMatchObject({ status, json: { message } });
  });

  // As recorded of dockerd 20.10.24, whose oldest version is 1.12.
  test.each<[path: string, status: number, text: string, isVersionServed: boolean]>([
    [
      '/v1.11/nodes',
      400,
      'client version 1.11 is too old. Minimum supported API version is 1.12, please upgrade your client to a newer version\n',
      false,
    ],
    ['/v1.23/nodes/nobody', 404, 'node nobody not found\n', true],
    ['/v1.20/swarm/xyz', 404, 'page not found\n', false],
  ])(
    'a client that reads no errors as JSON has them as text: %s',
    async (path, status, text, isVersionServed) => {
      const reply = await api.call('GET', path);
      expect(reply).toMatchObject({
        status,
        text,
        headers: { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' },
      });
      expect('docker-experimental' in reply.headers).toBe(isVersionServed);
    },
  );

  test('a version older than the swarm’s own API is served while the engine has it', async () => {
    expect(await api.call('GET', '/v1.12/nodes')).toMatchObject({
      status: 200,
      json: [{ ID: nodeId }],
      headers: { 'docker-experimental': 'false' },
    });
  });

  test('a wrong method never reaches the engine’s own swarm mode', async () => {
    let reached = 0;
    api.behaviour = (_, reply) => reply.end(String((reached += 1)));
    expect((await api.call('PUT', '/v1.41/services')).status).toBe(404);
    expect(reached).toBe(0);
  });

  test('ping says what the engine is and where the node stands', async () => {
    const head = await api.call('HEAD', '/_ping');
    expect(head).toMatchObject({
      status: 200,
      text: '',
      headers: {
        'api-version': '1.41',
        ostype: 'linux',
        server: 'Docker/20.10.24 (linux)',
        'docker-experimental': 'false',
        swarm: 'active/manager',
        'cache-control': 'no-cache, no-store, must-revalidate',
        pragma: 'no-cache',
        'content-length': '0',
      },
    });
    expect((await api.call('GET', '/v1.41/_ping')).text).toBe('OK');
    api.leaveSwarm({ localNodeState: 'active' });
    expect((await api.call('GET', '/_ping')).headers['swarm']).toBe('active/worker');
    api.leaveSwarm({ localNodeState: 'pending' });
    expect((await api.call('GET', '/_ping')).headers['swarm']).toBe('pending');
  });

  test('ping answers while the engine is away, with what it last was', async () => {
    await api.stopEngine();
    expect(await api.call('GET', '/_ping')).toMatchObject({
      status: 200,
      headers: { server: 'Docker/20.10.24 (linux)' },
    });
  });

  test('an upgraded engine is noticed at the next ping', async () => {
    api.engineVersion = { ...api.engineVersion, ApiVersion: '1.48' };
    expect((await api.call('GET', '/_ping')).headers['api-version']).toBe('1.48');
    expect((await api.call('GET', '/v1.48/nodes')).status).toBe(200);
  });
});

describe('/swarm', () => {
  test('shows the cluster and its tokens, never its key', async () => {
    const reply = await api.call('GET', '/swarm');
    expect(reply.json).toMatchObject({
      ID: 'clusteraaaaaaaaaaaaaaaaaa',
      Spec: {
        Name: 'default',
        Labels: {},
        Orchestration: { TaskHistoryRetentionLimit: 5 },
        Raft: {
          SnapshotInterval: 10000,
          KeepOldSnapshots: 0,
          LogEntriesForSlowFollowers: 500,
          ElectionTick: 10,
          HeartbeatTick: 1,
        },
        Dispatcher: { HeartbeatPeriod: 5000000000 },
        CAConfig: { NodeCertExpiry: 7776000000000000 },
        TaskDefaults: {},
        EncryptionConfig: { AutoLockManagers: false },
      },
      TLSInfo: { TrustRoot: 'ROOT', CertIssuerSubject: 'c3Vi', CertIssuerPublicKey: 'a2V5' },
      RootRotationInProgress: false,
      DefaultAddrPool: ['10.0.0.0/8'],
      SubnetSize: 24,
      DataPathPort: 4789,
      JoinTokens: { Worker: 'SWMTKN-1-digest-worker', Manager: 'SWMTKN-1-digest-manager' },
    });
    expect(reply.text).not.toContain('THE-ROOT-KEY');
  });

  const version = (): number => api.store.view().cluster().version;

  test.each<[query: string, body: unknown, status: number, message: string]>([
    ['', { Name: 'default' }, 400, `invalid swarm version '': strconv.ParseUint: parsing "": invalid syntax`],
    ['version=V&rotateWorkerToken=zz', { Name: 'default' }, 400, 'invalid value for rotateWorkerToken: zz'],
    ['version=V', '', 400, 'got EOF while reading request body'],
    ['version=999', { Name: 'default' }, 500, 'rpc error: code = Unknown desc = update out of sequence'],
    ['version=V', { Name: 'x' }, 400, 'swarm spec must be named "default"'],
    [
      'version=V',
      { Name: 'default', CAConfig: { NodeCertExpiry: 1 } },
      400,
      'rpc error: code = InvalidArgument desc = minimum certificate expiry time is: 1h0m0s',
    ],
    [
      'version=V',
      { Name: 'default', Dispatcher: { HeartbeatPeriod: -1 } },
      400,
      'rpc error: code = InvalidArgument desc = heartbeat time period cannot be a negative duration',
    ],
    [
      'version=V',
      { Name: 'default', CAConfig: { SigningCAKey: 'x' } },
      400,
      'rpc error: code = InvalidArgument desc = if a signing CA key is provided, the signing CA cert must also be provided',
    ],
    [
      'version=V',
      { Name: 'default', CAConfig: { ExternalCAs: [{ Protocol: 'acme', URL: 'https://ca' }] } },
      400,
      'invalid protocol: "acme"',
    ],
  ])('update refuses %s %j', async (query, body, status, message) => {
    const reply = await api.call('POST', `/swarm/update?${query.replace('V', String(version()))}`, body);
    expect([reply.status, reply.json]).toEqual([status, { message }]);
  });

  test('update replaces the spec and rotates what it is told to', async () => {
    const flags = 'rotateManagerToken=false&rotateManagerUnlockKey=false&rotateWorkerToken=true';
    const reply = await api.call('POST', `/swarm/update?${flags}&version=${version()}`, { Name: 'default' });
    expect([reply.status, reply.text]).toEqual([200, '']);
    const cluster = api.store.view().cluster();
    expect(cluster.joinTokens).toEqual({
      worker: 'SWMTKN-1-digest-rotated',
      manager: 'SWMTKN-1-digest-manager',
    });
    expect(cluster.spec.taskHistoryRetentionLimit).toBe(0);
    expect(cluster.rootCa.keyPem).toBe('THE-ROOT-KEY');
  });

  test('an update without a name is of the one that there is, as Docker’s SDK for Python asks for it', async () => {
    const body = { Labels: { a: 'b' } };
    expect((await api.call('POST', `/swarm/update?version=${version()}`, body)).status).toBe(200);
    expect(api.store.view().cluster().spec).toMatchObject({ name: 'default', labels: { a: 'b' } });
  });

  test('init, join and leave hand their requests over', async () => {
    const init = await api.call('POST', '/swarm/init', {
      ListenAddr: '0.0.0.0:2377',
      AdvertiseAddr: 'eth0',
      DefaultAddrPool: ['10.20.0.0/16'],
      SubnetSize: 25,
      Availability: 'drain',
      Spec: { Orchestration: { TaskHistoryRetentionLimit: 3 } },
    });
    expect([init.status, init.text]).toEqual([200, `"${nodeId}"\n`]);
    expect(api.control.calls[0]).toMatchObject([
      'init',
      {
        listenAddr: '0.0.0.0:2377',
        advertiseAddr: 'eth0',
        availability: 'drain',
        subnetSize: 25,
        defaultAddrPool: ['10.20.0.0/16'],
        spec: { taskHistoryRetentionLimit: 3 },
      },
    ]);
    const join = await api.call('POST', '/swarm/join', { RemoteAddrs: ['10.0.0.1:2377'], JoinToken: 't' });
    expect([join.status, join.json]).toEqual([503, { message: 'Timeout was reached before node joined.' }]);
    expect((await api.call('POST', '/swarm/leave?force=1')).status).toBe(200);
    expect(api.control.calls.at(-1)).toEqual(['leave', true]);
    expect((await api.call('POST', '/swarm/init', { Availability: 7 })).json).toEqual({
      message:
        'json: cannot unmarshal number into Go struct field InitRequest.Availability of type swarm.NodeAvailability',
    });
  });

  test('init without a spec (scripts/provision.sh) is init with the empty one that the CLI sends', async () => {
    const addresses = { ListenAddr: '0.0.0.0:2377', AdvertiseAddr: '10.0.0.1' };
    const empty = {
      ...{ Labels: null, Orchestration: {}, Dispatcher: {}, CAConfig: {}, TaskDefaults: {} },
      ...{ Raft: { ElectionTick: 0, HeartbeatTick: 0 }, EncryptionConfig: { AutoLockManagers: false } },
    };
    for (const body of [addresses, { ...addresses, Spec: empty }])
      expect((await api.call('POST', '/swarm/init', body)).status).toBe(200);
    const [short, long] = api.control.calls;
    expect(short).toEqual(long);
  });

  test('autolock is turned on, its key shown, rotated and gone', async () => {
    const key = async (): Promise<string> =>
      ((await api.call('GET', '/swarm/unlockkey')).json as { UnlockKey: string }).UnlockKey;
    const update = async (isOn: boolean, flags = ''): Promise<void> => {
      const body = { Name: 'default', EncryptionConfig: { AutoLockManagers: isOn } };
      expect((await api.call('POST', `/swarm/update?version=${version()}${flags}`, body)).status).toBe(200);
    };
    expect(await key()).toBe('');
    await update(false, '&rotateManagerUnlockKey=true');
    expect(await key()).toBe('');
    await update(true);
    const first = await key();
    expect(first).toMatch(/^SWMKEY-1-[A-Za-z0-9+/]{43}$/);
    await update(true);
    expect(await key()).toBe(first);
    await update(true, '&rotateManagerUnlockKey=true');
    const second = await key();
    expect(second).toMatch(/^SWMKEY-1-/);
    expect(second).not.toBe(first);
    for (const path of ['/swarm', '/info']) {
      api.behaviour = (_, reply) => reply.end('{}');
      const { text } = await api.call('GET', path);
      expect(text).toContain('"AutoLockManagers":true');
      expect(text).not.toMatch(/SWMKEY|nlockKey|anagersLock/);
    }
    await update(false);
    expect(await key()).toBe('');
    expect(api.store.view().cluster().managersLock).toEqual({ version: 3 });
  });

  const locked =
    'Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.';
  const wrong = 'swarm could not be unlocked: invalid key provided';
  test.each<[state: string, key: unknown, status: number, message: string]>([
    ['active', 'x', 409, 'swarm is not locked'],
    ['worker', 'x', 503, worker],
    ['inactive', 'x', 503, notManager],
    ['locked', 'x', 400, 'invalid key string'],
    ['locked', 'SWMKEY-1-a', 400, 'invalid key string'],
    ['locked', 'SWMKEY-1-', 401, wrong],
    ['locked', `SWMKEY-1-${'A'.repeat(43)}`, 401, wrong],
    [
      'locked',
      7,
      400,
      'json: cannot unmarshal number into Go struct field UnlockRequest.UnlockKey of type string',
    ],
  ])('unlocking a node that is %s with the key %s', async (state, key, status, message) => {
    if (state === 'worker') api.leaveSwarm({ localNodeState: 'active', nodeId });
    else if (state !== 'active') api.leaveSwarm({ localNodeState: state as 'locked' });
    const unlock = await api.call('POST', '/swarm/unlock', { UnlockKey: key });
    expect([unlock.status, unlock.json]).toEqual([status, { message }]);
    expect(api.control.calls).toEqual([]);
  });

  test('a locked node says so, and is unlocked', async () => {
    api.leaveSwarm({ localNodeState: 'locked', isManager: true, nodeAddr: '10.99.0.1', error: locked });
    api.behaviour = (_, reply) => reply.end('{}');
    // As dockerd 20.10 answers.
    expect((await api.call('GET', '/info')).json).toMatchObject({
      Swarm: {
        NodeID: '',
        NodeAddr: '10.99.0.1',
        LocalNodeState: 'locked',
        ControlAvailable: false,
        Error: locked,
        RemoteManagers: null,
      },
    });
    for (const [method, path] of [
      ['GET', '/swarm/unlockkey'],
      ['POST', '/swarm/update?version=1'],
      ['DELETE', '/services/x'],
      ['GET', '/nodes'],
    ] as const) {
      const body = method === 'POST' ? { Name: 'default' } : undefined;
      expect(await api.call(method, path, body)).toMatchObject({ status: 503, json: { message: locked } });
    }
    api.control.unlockKey = Buffer.alloc(32);
    const unlock = await api.call('POST', '/swarm/unlock', { UnlockKey: `SWMKEY-1-${'A'.repeat(43)}` });
    expect([unlock.status, unlock.text]).toEqual([200, '']);
    expect(api.control.calls).toEqual([['unlock']]);
  });
});

describe('/nodes', () => {
  const version = (): number => api.store.view().get('node', nodeId)?.version ?? 0;

  test('shows the node as dockerd does', async () => {
    expect((await api.call('GET', '/nodes')).json).toMatchObject([
      {
        ID: nodeId,
        Spec: { Labels: { rack: '1' }, Role: 'manager', Availability: 'active' },
        Description: {
          Hostname: 'node1',
          Platform: { Architecture: 'x86_64', OS: 'linux' },
          Resources: {
            NanoCPUs: 2e9,
            MemoryBytes: 4e9,
            GenericResources: [
              { NamedResourceSpec: { Kind: 'gpu', Value: 'UUID1' } },
              { DiscreteResourceSpec: { Kind: 'ssd', Value: 3 } },
            ],
          },
          Engine: {
            EngineVersion: '20.10.24',
            Labels: { zone: 'a' },
            Plugins: [{ Type: 'Network', Name: 'overlay' }],
          },
          TLSInfo: { TrustRoot: 'ROOT', CertIssuerSubject: 'c3Vi', CertIssuerPublicKey: 'a2V5' },
        },
        Status: { State: 'ready', Addr: '10.99.0.1' },
        ManagerStatus: { Leader: true, Reachability: 'reachable', Addr: '10.99.0.1:2377' },
      },
    ]);
    expect((await api.call('GET', '/nodes/node1')).json).toMatchObject({ ID: nodeId });
  });

  test.each<[query: object, count: number | string]>([
    [{ role: ['manager'] }, 1],
    [{ role: ['worker'] }, 0],
    [{ role: ['zz'] }, "Invalid role filter: 'zz'"],
    [{ membership: ['zz'] }, "Invalid membership filter: 'zz'"],
    [{ name: ['nod'] }, 1],
    [{ label: ['zone=a'] }, 1],
    [{ 'node.label': ['rack'] }, 1],
    [{ 'node.label': ['rack=2'] }, 0],
  ])('filter %j', async (query, expected) => {
    const reply = await api.call('GET', `/nodes?${filters(query)}`);
    if (typeof expected === 'string')
      expect([reply.status, reply.json]).toEqual([500, { message: expected }]);
    else expect(reply.json).toHaveLength(expected);
  });

  test.each<[method: string, path: string, body: object | undefined, status: number, message: string]>([
    ['POST', '/update', {}, 400, `invalid node version '': strconv.ParseUint: parsing "": invalid syntax`],
    ['POST', '/update?version=1', {}, 400, 'invalid Role: ""'],
    ['POST', '/update?version=1', { Role: 'manager', Availability: 'zz' }, 400, 'invalid Availability: "zz"'],
    [
      'POST',
      '/update?version=999',
      { Role: 'manager', Availability: 'active' },
      500,
      'rpc error: code = Unknown desc = update out of sequence',
    ],
    [
      'POST',
      '/update?version=999',
      { Role: 'worker', Availability: 'active' },
      400,
      'rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm',
    ],
    [
      'DELETE',
      '',
      undefined,
      400,
      `rpc error: code = FailedPrecondition desc = node ${nodeId} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal`,
    ],
  ])('%s %s %j', async (method, path, body, status, message) => {
    const reply = await api.call(method, `/nodes/${nodeId}${path}`, body);
    expect([reply.status, reply.json]).toEqual([status, { message }]);
  });

  test('of two managers one stays, though the other one that goes still is one', async () => {
    const other = 'manager2' as never;
    await api.store.update((tx) => tx.create('node', { ...tx.get('node', nodeId)!, id: other }));
    const demote = (id: string) =>
      api.call('POST', `/nodes/${id}/update?version=${api.store.view().get('node', id as never)!.version}`, {
        Role: 'worker',
        Availability: 'active',
      });
    const presence = { addr: '10.99.0.2:2377' };
    await api.store.update((tx) => tx.create('manager', { id: other, ...presence }));
    await api.store.update((tx) => tx.create('manager', { id: nodeId, ...presence }));
    expect((await demote(other)).status).toBe(200);
    expect(api.store.view().get('node', other)?.role).toBe('manager');
    expect(await demote(nodeId)).toMatchObject({
      status: 400,
      json: {
        message:
          'rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm',
      },
    });
  });

  test('a weight that is none is refused, but one of old is not in the way of a drain', async () => {
    const update = (body: object) =>
      api.call('POST', `/nodes/node1/update?version=${version()}`, { Role: 'manager', ...body });
    const bad = { 'skep.lb.weight': '0' };
    expect(await update({ Availability: 'active', Labels: bad })).toMatchObject({
      status: 400,
      json: {
        message:
          'rpc error: code = InvalidArgument desc = invalid label skep.lb.weight="0": must be a whole number from 1 to 1000',
      },
    });
    await api.store.update((tx) => {
      const node = tx.get('node', nodeId)!;
      tx.update('node', { ...node, spec: { ...node.spec, labels: bad } });
    });
    expect((await update({ Availability: 'drain', Labels: bad })).status).toBe(200);
    expect((await update({ Availability: 'active', Labels: { 'skep.lb.weight': '10' } })).status).toBe(200);
  });

  test('update and remove', async () => {
    const reply = await api.call('POST', `/nodes/node1/update?version=${version()}`, {
      Role: 'manager',
      Availability: 'drain',
      Labels: { a: 'b' },
    });
    expect([reply.status, reply.text]).toEqual([200, '']);
    expect(api.store.view().get('node', nodeId)?.spec).toEqual({
      name: '',
      labels: { a: 'b' },
      role: 'manager',
      availability: 'drain',
    });
    await api.store.update((tx) => {
      const { managerStatus: _, ...rest } = tx.get('node', nodeId)!;
      tx.create('node', { ...rest, id: 'worker1' as never });
    });
    expect((await api.call('DELETE', '/nodes/worker1')).json).toEqual({
      message: "rpc error: code = FailedPrecondition desc = node worker1 is not down and can't be removed",
    });
    expect((await api.call('DELETE', '/nodes/worker1?force=1')).status).toBe(200);
    expect(api.store.view().list('node')).toHaveLength(1);
  });
});

describe('/info', () => {
  test('is the engine’s with the swarm’s section', async () => {
    api.behaviour = (_, reply) =>
      reply.end(
        '{"ID":"E","Plugins":{"Network":["null","bridge"],"Volume":["local"]},"Swarm":{"LocalNodeState":"inactive"},"Warnings":null}',
      );
    const manager = (await api.call('GET', '/v1.41/info')).json;
    expect(manager).toMatchObject({
      ID: 'E',
      Plugins: { Network: ['bridge', 'null', 'overlay'], Volume: ['local'] },
      Swarm: {
        NodeID: nodeId,
        NodeAddr: '10.99.0.1',
        LocalNodeState: 'active',
        ControlAvailable: true,
        Error: '',
        RemoteManagers: [{ NodeID: nodeId, Addr: '10.99.0.1:2377' }],
        Nodes: 1,
        Managers: 1,
        Cluster: { ID: 'clusteraaaaaaaaaaaaaaaaaa', TLSInfo: { TrustRoot: description.tlsInfo.trustRoot } },
      },
      Warnings: null,
    });
    expect(JSON.stringify(manager)).not.toContain('JoinTokens');
    api.leaveSwarm();
    expect((await api.call('GET', '/info')).json).toMatchObject({
      Swarm: {
        NodeID: '',
        NodeAddr: '',
        LocalNodeState: 'inactive',
        ControlAvailable: false,
        Error: '',
        RemoteManagers: null,
      },
    });
  });

  test('warns of a store that is nearly full, and nothing is created there then', async () => {
    api.behaviour = (_, reply) => reply.end('{"ID":"E","Warnings":["its own"]}');
    const storeState = { ...roomy, usedBytes: 0.9 * roomy.quotaBytes };
    api.control.state = { ...api.control.state, storeState };
    const warning = expect.stringContaining('docker swarm update --task-history-limit') as string;
    expect((await api.call('GET', '/info')).json).toMatchObject({
      Swarm: { Warnings: [warning] },
      Warnings: ['its own', warning],
    });
    const spec = { Name: 'web', TaskTemplate: { ContainerSpec: { Image: 'web' } } };
    for (const [path, body] of [
      ['/services/create', spec],
      ['/networks/create', { Name: 'more', Driver: 'overlay' }],
    ] as const)
      expect(await api.call('POST', path, body), path).toMatchObject({
        status: 503,
        json: { message: expect.stringContaining('of at most 2048 MiB') as string },
      });
    api.control.state = { ...api.control.state, storeState: roomy };
    expect((await api.call('POST', '/services/create', spec)).status).toBe(201);
  });

  test.each<[labels: string, balancer: string | undefined, shown: unknown]>([
    ['["zone=a"]', 'ebpf', ['zone=a', 'skep.balancer=ebpf']],
    ['null', 'ipvs', ['skep.balancer=ipvs']],
    ['["skep.balancer=ipvs"]', 'ebpf', ['skep.balancer=ebpf']],
    ['["zone=a"]', undefined, ['zone=a']],
    ['null', undefined, null],
  ])('labels %s with the balancer %s', async (labels, balancer, shown) => {
    api.behaviour = (_, reply) => reply.end(`{"ID":"E","Labels":${labels}}`);
    api.balancer = balancer;
    expect((await api.call('GET', '/info')).json).toMatchObject({ Labels: shown });
  });

  test('without an engine: 503 and why', async () => {
    await api.stopEngine();
    const reply = await api.call('GET', '/info');
    expect(reply.status).toBe(503);
    expect(reply.text).toContain('the Docker Engine behind Skep cannot be reached');
  });
});
