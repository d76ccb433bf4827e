/** `/networks` merged with the engine's; statuses and texts as recorded from dockerd 20.10.24. */
import { allocateNetwork } from '../../../src/controlplane/allocator/networks.js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { NetworkId, NodeId, ServiceId, TaskId, Vni } from '../../../src/model/ids.js';
import type { Task } from '../../../src/model/objects.js';
import type { Cidr, Ip } from '../../../src/model/addresses.js';
import { mtuOptionName, vniOptionName } from '../../../src/model/network-options.js';
import { Harness, description, filters, ingressId, nodeId, taskOf } from './harness.js';

let api: Harness;
beforeEach(async () => {
  api = await Harness.start();
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

const bridge = {
  Name: 'bridge',
  Id: 'b'.repeat(64),
  Driver: 'bridge',
  Scope: 'local',
  Options: {},
  Labels: {},
};
const instance = (id: string, more: object = {}) => ({
  Name: 'mynet',
  Id: 'e'.repeat(64),
  Driver: 'skep',
  Scope: 'local',
  Options: { 'skep.network.id': id, 'skep.vni': '4097', mine: 'x' },
  Labels: {},
  ...more,
});

/** An engine that has these networks. */
const withNetworks = (...networks: { Name: string; Id: string; Driver: string; Containers?: object }[]) => {
  api.behaviour = (received, reply) => {
    const url = new URL(received.url ?? '', 'http://x');
    const path = url.pathname.replace(/^\/v[\d.]+/, '');
    const send = (status: number, body: unknown): void => {
      reply.writeHead(status, { 'Content-Type': 'application/json' });
      reply.end(`${JSON.stringify(body)}\n`);
    };
    if (path === '/networks') {
      const onlySkep = url.searchParams.get('filters')?.includes('skep') ?? false;
      return send(
        200,
        networks.filter(({ Driver }) => !onlySkep || Driver === 'skep'),
      );
    }
    if (path === '/networks/prune') return send(200, { NetworksDeleted: ['local1'] });
    if (path === '/networks/create') return send(201, { Id: 'made by the engine' });
    const [, , argument = '', verb] = path.split('/');
    const found = networks.find(({ Name, Id }) => Name === argument || Id.startsWith(argument));
    if (!found) return send(404, { message: `network ${argument} not found` });
    if (received.method === 'DELETE') return send(204, undefined);
    send(200, verb === undefined ? found : { path });
  };
};

const allocate = (id: string): Promise<void> =>
  api.store.update((tx) => {
    const network = tx.get('network', id as NetworkId);
    if (!network) throw new Error(id);
    tx.update('network', {
      ...network,
      allocation: { vni: 4097 as Vni, subnet: '10.0.1.0/24' as Cidr, gateway: '10.0.1.1' as Ip },
    });
  });

describe('create refuses', () => {
  const invalid = 'rpc error: code = InvalidArgument desc = ';
  const overlay = (name: string, more: object = {}): object => ({ Name: name, Driver: 'overlay', ...more });
  const ipam = (...configs: readonly object[]): object => ({ IPAM: { Config: configs } });
  const options = (name: string, value: string): object => ({ Options: { [name]: value } });
  const overlapping = 'Pool overlaps with other one on this address space: ';
  test.each<[body: object, status: number, message: string]>([
    [
      { Name: 5 },
      400,
      'json: cannot unmarshal number into Go struct field NetworkCreateRequest.Name of type string',
    ],
    [
      { IPAM: { Config: [{ Subnet: 5 }] } },
      400,
      'json: cannot unmarshal number into Go struct field IPAMConfig.IPAM.Config.Subnet of type string',
    ],
    [overlay('o', ipam({ Subnet: 'bogus' })), 500, 'Invalid subnet bogus : invalid CIDR address: bogus'],
    [
      overlay('o', ipam({ Subnet: '10.7.0.0/24', Gateway: '10.8.0.1' })),
      400,
      `${invalid}ipam configuration: subnet 10.7.0.0/24 does not contain gateway 10.8.0.1`,
    ],
    [
      overlay('o', ipam({ Subnet: '10.7.0.5/24', IPRange: '10.9.0.0/24' })),
      400,
      `${invalid}ipam configuration: subnet 10.7.0.5/24 does not contain range 10.9.0.0/24`,
    ],
    [
      overlay('o', ipam({ Subnet: '10.7.1.0/24', Gateway: 'zz' })),
      400,
      `${invalid}ipam configuration: invalid gateway zz`,
    ],
    [overlay('mynet'), 409, 'network with name mynet already exists'],
    [{ Name: 'mynet', Driver: 'bridge' }, 409, 'network with name mynet already exists'],
    [overlay('MYNET'), 500, 'rpc error: code = Unknown desc = name conflicts with an existing object'],
    [overlay(''), 500, 'invalid name: '],
    [overlay('a b'), 400, `${invalid}name must be valid as a DNS name component`],
    [overlay('bridge'), 409, 'network with name bridge already exists'],
    [
      overlay('i2', { Ingress: true }),
      409,
      `rpc error: code = AlreadyExists desc = ingress network (${ingressId}) is already present`,
    ],
    [
      overlay('i2', { Ingress: true, Attachable: true }),
      400,
      `${invalid}ingress network cannot be attachable`,
    ],
    [
      overlay('i2', { Ingress: true, IPAM: { Config: [{ Subnet: '10.9.0.0/16' }] } }),
      400,
      `${invalid}ipam configuration: subnet 10.9.0.0/16 of an ingress network is larger than /18`,
    ],
    [
      overlay('i3', { Labels: { 'com.docker.swarm.predefined': 'x' } }),
      403,
      'rpc error: code = PermissionDenied desc = label com.docker.swarm.predefined is for internally created predefined networks and cannot be applied by users',
    ],
    [overlay('i7', { IPAM: { Driver: 'zz' } }), 400, `${invalid}error during lookup of plugin zz`],
    [
      { Name: 'i4', Driver: 'bridge', Ingress: true },
      403,
      'Ingress network can only be global scope network',
    ],
    [overlay('x', options(vniOptionName, 'bogus')), 500, 'invalid vxlan id value "bogus" passed'],
    [overlay('x', options(vniOptionName, '7000,')), 500, 'invalid vxlan id value "" passed'],
    [overlay('x', options(vniOptionName, '16777216')), 500, 'invalid vxlan id value "16777216" passed'],
    [
      overlay('x', options(vniOptionName, '65536')),
      500,
      'vxlan id 65536 cannot be used: its low 16 bits are 0',
    ],
    [
      overlay('x', options(vniOptionName, '4096')),
      400,
      `${invalid}could not assign vxlan id 4096: it is used by network ingress`,
    ],
    [
      overlay('x', options(vniOptionName, '69632')),
      400,
      `${invalid}could not assign vxlan id 69632: its low 16 bits are those of 4096, which is used by network ingress`,
    ],
    [
      overlay('x', options(mtuOptionName, 'x')),
      500,
      'failed to parse x: strconv.Atoi: parsing "x": invalid syntax',
    ],
    [overlay('x', options(mtuOptionName, '-1')), 500, 'invalid MTU value: -1'],
    [overlay('x', options(mtuOptionName, '400')), 500, 'invalid MTU value: 400'],
    [overlay('x', options(mtuOptionName, '65536')), 500, 'invalid MTU value: 65536'],
    [
      overlay('x', ipam({ Subnet: '10.53.0.0/24', AuxiliaryAddresses: { x: '10.99.0.1' } })),
      403,
      'auxiliary address: (x:10.99.0.1) must belong to the master pool: 10.53.0.0/24',
    ],
    [
      overlay('x', ipam({ Subnet: '10.53.0.0/24', AuxiliaryAddresses: { x: 'zz' } })),
      500,
      'non parsable secondary ip address (x:zz) passed for network x',
    ],
    [
      overlay(
        'x',
        ipam({ Subnet: '10.57.0.0/24', Gateway: '10.57.0.1', AuxiliaryAddresses: { x: '10.57.0.1' } }),
      ),
      500,
      'failed to allocate secondary ip address (x:10.57.0.1): Address already in use',
    ],
    ...['/31', '/32'].map((length): [object, number, string] => [
      overlay('x', ipam({ Subnet: `10.67.0.0${length}` })),
      500,
      'failed to allocate gateway (): No available addresses on this pool',
    ]),
    ...['10.57.0.0', '10.57.0.255'].map((Gateway): [object, number, string] => [
      overlay('x', ipam({ Subnet: '10.57.0.0/24', Gateway })),
      500,
      `failed to allocate gateway (${Gateway}): Address already in use`,
    ]),
    [
      overlay('x', ipam({ Subnet: '10.57.0.0/24', AuxiliaryAddresses: { x: '10.57.0.255' } })),
      500,
      'failed to allocate secondary ip address (x:10.57.0.255): Address already in use',
    ],
    [overlay('x', { Scope: 'local' }), 403, 'cannot downgrade network scope for overlay networks'],
    [
      overlay('x', ipam({ Subnet: 'fd00:1::/64' })),
      501,
      'IPv6 subnets are not supported on overlay networks: give IPv4 subnets only',
    ],
    [
      overlay('x', ipam({ Subnet: '10.57.0.0/24' }, { Subnet: 'fd00:1::/64' })),
      501,
      'IPv6 subnets are not supported on overlay networks: give IPv4 subnets only',
    ],
    [
      overlay('x', ipam({ Subnet: '10.57.0.0/24' }, { Subnet: '10.57.0.128/25' })),
      403,
      `${overlapping}10.57.0.128/25 overlaps 10.57.0.0/24 of the same network`,
    ],
    [
      overlay('x', ipam({ Subnet: '172.20.0.0/24' }, { Subnet: '10.0.0.0/20' })),
      403,
      `${overlapping}10.0.0.0/20 overlaps 10.0.0.0/24 of network ingress`,
    ],
    [
      overlay('x', ipam({ Subnet: '11.0.0.0/8' }, { Subnet: '10.57.0.0/24' })),
      400,
      `${invalid}ipam configuration: several subnets have at most 2^24 addresses together`,
    ],
    [
      overlay('x', { Ingress: true, ...ipam({ Subnet: '10.57.0.0/24' }, { Subnet: '10.58.0.0/24' }) }),
      400,
      `${invalid}ipam configuration: an ingress network has one subnet`,
    ],
    [
      overlay('x', ipam({ Subnet: '10.0.0.0/20' })),
      403,
      `${overlapping}10.0.0.0/20 overlaps 10.0.0.0/24 of network ingress`,
    ],
    [
      overlay('x', ipam({ Subnet: '250.0.0.0/24' })),
      403,
      `${overlapping}250.0.0.0/24 overlaps 240.0.0.0/4, which the routing mesh uses`,
    ],
    [
      overlay('x', ipam({ Subnet: '10.99.0.128/25' })),
      403,
      `${overlapping}10.99.0.128/25 overlaps the route 10.99.0.0/24 dev eth0 of node node1`,
    ],
  ])('%j', async (body, status, message) => {
    await api.createNetwork('mynet');
    const before = api.store.view().revision;
    const reply = await api.call('POST', '/networks/create', body);
    expect([reply.status, reply.json]).toEqual([status, { message }]);
    expect(api.store.view().revision).toBe(before);
  });

  test('a body of another type', async () => {
    const reply = await api.call('POST', '/networks/create', '{}', { 'Content-Type': 'text/plain' });
    expect([reply.status, reply.json]).toEqual([
      400,
      { message: "Content-Type specified (text/plain) must be 'application/json'" },
    ]);
  });

  test('on a worker, and outside a swarm', async () => {
    api.leaveSwarm({ localNodeState: 'active' });
    expect(await api.call('POST', '/networks/create', overlay('x'))).toMatchObject({
      status: 403,
      json: {
        message:
          'Cannot create a multi-host network from a worker node. Please create the network from a manager node.',
      },
    });
    api.leaveSwarm();
    const reply = await api.call('POST', '/networks/create', overlay('x'));
    expect(reply.status).toBe(500);
    expect(reply.text).toContain('This node is not a swarm manager. Use');
  });
});

test.each([
  ['enc', {}],
  ['enc-open', { Attachable: true }],
])('an encrypted network is made and says that it is encrypted: %s', async (name, over) => {
  const body = { Name: name, Driver: 'overlay', Options: { encrypted: '' }, ...over };
  expect((await api.call('POST', '/networks/create', body)).status).toBe(201);
  const { json } = await api.call('GET', `/networks/${name}`);
  expect((json as { Options: Record<string, string> }).Options).toMatchObject({ encrypted: '' });
});

describe('beside a network of the engine’s own', () => {
  const overlay = { Name: 'taken', Driver: 'overlay' };
  const message = 'network with name taken already exists';
  test.each<[body: object, modern: boolean, status: number]>([
    [{ ...overlay, CheckDuplicate: true }, false, 409],
    [overlay, true, 409],
    [{ ...overlay, Name: 'bbbb', CheckDuplicate: true }, false, 201],
  ])('of the same name: %j, on a new engine %s', async (body, modern, status) => {
    if (modern) {
      await api[Symbol.asyncDispose]();
      api = await Harness.start((harness) => {
        harness.engineVersion = { ...harness.engineVersion, Version: '28.2.2', ApiVersion: '1.50' };
      });
    }
    withNetworks({ ...bridge, Name: 'taken' });
    const reply = await api.call('POST', '/networks/create', body);
    expect([reply.status, reply.json]).toEqual([status, status === 409 ? { message } : expect.anything()]);
  });

  test('an old engine’s client that does not mind is warned', async () => {
    withNetworks({ ...bridge, Name: 'taken' });
    expect((await api.call('POST', '/networks/create', overlay)).json).toMatchObject({
      Warning: `Network with name taken (id : ${bridge.Id}) already exists`,
    });
  });

  test('one may be made while the engine is away', async () => {
    await api.stopEngine();
    expect((await api.call('POST', '/networks/create', overlay)).status).toBe(201);
  });
});

test.each<[body: object, status: number, message: string]>([
  [{ Name: 'bridge' }, 409, 'network with name bridge already exists'],
  [{ Name: 'host', Driver: 'bridge' }, 409, 'network with name host already exists'],
  [{ Name: 'x', Driver: 'zz', Scope: 'swarm' }, 404, 'plugin "zz" not found'],
  [{ Name: 'bridge', Driver: 'macvlan', Scope: 'swarm' }, 409, 'network with name bridge already exists'],
  [
    { Name: 'x', Driver: 'macvlan', Scope: 'swarm', Ingress: true },
    403,
    'Ingress network can only be created by the overlay driver',
  ],
  ...[
    { IPAM: { Config: [{ Subnet: '10.71.0.0/24' }] } },
    { Labels: { a: 'b' } },
    { Options: { parent: 'eth0' } },
    { EnableIPv6: true },
    { IPAM: { Driver: 'weave' } },
  ].map((more): [object, number, string] => [
    { Name: 'x', Driver: 'macvlan', Scope: 'swarm', ConfigFrom: { Network: 'cfg' }, ...more },
    403,
    'user specified configurations are not supported if the network depends on a configuration network',
  ]),
  [
    { Name: 'x', Driver: 'overlay', ConfigFrom: { Network: 'cfg' } },
    403,
    'user specified configurations are not supported if the network depends on a configuration network',
  ],
])('a network for each node alike: %j', async (body, status, message) => {
  api.behaviour = (_, reply) => reply.end(JSON.stringify({ Plugins: { Network: ['bridge', 'weave'] } }));
  const reply = await api.call('POST', '/networks/create', body);
  expect([reply.status, reply.json]).toEqual([status, { message }]);
});

test('a network of the nodes’ own driver is an object without addresses, and in use by services and tasks', async () => {
  api.behaviour = (_, reply) => reply.end(JSON.stringify({ Plugins: { Network: ['weave'] } }));
  const more = {
    Driver: 'macvlan',
    Scope: 'swarm',
    ConfigFrom: { Network: 'cfg' },
    IPAM: { Driver: 'default' },
  };
  const id = await api.createNetwork('mv', more);
  await api.createNetwork('plugged', { Driver: 'weave', Scope: 'swarm' });
  expect(await api.createNetwork('plain', { Driver: '', Scope: 'swarm', Labels: { a: 'b' } })).not.toBe('');
  withNetworks(bridge);
  expect((await api.call('GET', '/networks/mv')).json).toMatchObject({
    Id: id,
    Driver: 'macvlan',
    Scope: 'swarm',
    IPAM: { Driver: '', Options: null, Config: [] },
    ConfigFrom: { Network: 'cfg' },
    Options: null,
  });
  const listed = (await api.call('GET', `/networks?${filters({ driver: ['bridge'] })}`)).json as {
    Name: string;
  }[];
  expect(listed.map(({ Name }) => Name)).toContain('plain');
  const serviceId = await api.createService({
    Name: 's',
    TaskTemplate: { ContainerSpec: { Image: 'busybox' }, Networks: [{ Target: id }] },
  });
  const inUse = `network ${id} is in use by service ${serviceId}`;
  expect((await api.call('DELETE', '/networks/mv')).text).toContain(inUse);
  const service = api.store.view().get('service', serviceId as ServiceId)!;
  const spec = api.store.view().get('network', id as NetworkId)!.spec;
  const nodeNetworks = [{ networkId: id as NetworkId, spec, aliases: [] }];
  await api.store.update((tx) => {
    tx.create('task', taskOf(service, 'taskaaaaaaaaaaaaaaaaaaaaa', { nodeNetworks }));
  });
  expect((await api.call('GET', '/tasks/taskaaaaaaaaaaaaaaaaaaaaa')).json).toMatchObject({
    NetworksAttachments: [
      {
        Network: {
          ID: id,
          Spec: { Name: 'mv', ConfigFrom: { Network: 'cfg' }, Scope: 'swarm' },
          DriverState: { Name: 'macvlan' },
          IPAMOptions: { Driver: {} },
        },
      },
    ],
  });
  expect((await api.call('GET', '/networks/mv')).json).toMatchObject({
    Peers: [{ Name: nodeId.slice(0, 12) }],
  });
});

test.each([
  { Name: 'x', Driver: 'bridge' },
  { Name: 'x', ConfigOnly: true },
  { Name: 'x', Driver: 'overlay', ConfigOnly: true },
])('what is not the swarm’s is created by the engine: %j', async (body) => {
  withNetworks();
  expect((await api.call('POST', '/networks/create', body)).json).toEqual({
    Id: 'made by the engine',
  });
});

describe('on a manager', () => {
  test('an overlay is shown as the store has it', async () => {
    withNetworks(bridge);
    const id = await api.createNetwork('mynet', { Labels: { a: 'b' }, Attachable: true });
    expect((await api.call('GET', `/networks/mynet?scope=swarm`)).json).toMatchObject({
      Driver: '',
      IPAM: { Driver: '', Config: [] },
      Options: null,
    });
    await allocate(id);
    const { createdAtMs } = api.store.view().get('network', id as NetworkId)!;
    expect((await api.call('GET', '/networks/mynet')).json).toEqual({
      Name: 'mynet',
      Id: id,
      Created: expect.stringContaining(new Date(createdAtMs).toISOString().slice(0, 19)) as string,
      Scope: 'swarm',
      Driver: 'overlay',
      EnableIPv6: false,
      IPAM: { Driver: 'default', Options: null, Config: [{ Subnet: '10.0.1.0/24', Gateway: '10.0.1.1' }] },
      Internal: false,
      Attachable: true,
      Ingress: false,
      ConfigFrom: { Network: '' },
      ConfigOnly: false,
      Containers: null,
      Options: { 'com.docker.network.driver.overlay.vxlanid_list': '4097' },
      Labels: { a: 'b' },
    });
  });

  test('each of several subnets is shown with what belongs to it', async () => {
    withNetworks(bridge);
    const [one, other] = [
      { Subnet: '10.50.0.0/24', Gateway: '10.50.0.9' },
      { Subnet: '10.60.0.0/24', IPRange: '10.60.0.128/25', AuxiliaryAddresses: { router: '10.60.0.130' } },
    ];
    const id = await api.createNetwork('two', { IPAM: { Config: [one, other] } });
    await api.store.update((tx) => {
      const network = tx.get('network', id as NetworkId)!;
      const allocation = allocateNetwork(tx.cluster(), network, { networks: [], routes: [] })!;
      tx.update('network', { ...network, allocation });
    });
    expect((await api.call('GET', '/networks/two')).json).toMatchObject({
      IPAM: { Config: [one, { ...other, Gateway: '10.60.0.128' }] },
    });
  });

  test('every option is kept and shown', async () => {
    withNetworks(bridge);
    const config = {
      Subnet: '10.50.0.0/24',
      IPRange: '10.50.0.128/25',
      Gateway: '10.50.0.254',
      AuxiliaryAddresses: { router: '10.50.0.130' },
    };
    const id = await api.createNetwork('full', {
      Internal: true,
      Attachable: true,
      Options: { [mtuOptionName]: '1300', [vniOptionName]: '7000,7001' },
      IPAM: { Driver: 'default', Config: [config] },
    });
    await api.store.update((tx) => {
      const network = tx.get('network', id as NetworkId)!;
      const allocation = {
        vni: 7000 as Vni,
        subnet: '10.50.0.0/24' as Cidr,
        gateway: '10.50.0.254' as Ip,
      };
      tx.update('network', { ...network, allocation });
    });
    expect((await api.call('GET', '/networks/full')).json).toMatchObject({
      Internal: true,
      Attachable: true,
      IPAM: { Config: [config] },
      Options: { [mtuOptionName]: '1300', [vniOptionName]: '7000' },
    });
    // Subnets of different networks may overlap, but one service cannot be on both.
    await api.createNetwork('same', { IPAM: { Config: [{ Subnet: '10.50.0.0/25' }] } });
    const both = await api.call('POST', '/services/create', {
      Name: 'both',
      TaskTemplate: { ContainerSpec: { Image: 'b' }, Networks: [{ Target: 'full' }, { Target: 'same' }] },
    });
    expect([both.status, both.json]).toEqual([
      400,
      {
        message:
          'rpc error: code = InvalidArgument desc = networks full (10.50.0.0/24) and same (10.50.0.0/25) overlap and cannot be used by one service',
      },
    ]);
  });

  const setEsp = (esp: string | undefined): Promise<unknown> =>
    api.store.update((tx) => {
      const node = tx.get('node', nodeId)!;
      const engine = { ...description.engine, labels: esp === undefined ? {} : { 'skep.esp': esp } };
      tx.update('node', { ...node, description: { ...description, engine } });
    });

  test('ingress is replaced by another, of its own subnet', async () => {
    withNetworks(bridge);
    expect((await api.call('DELETE', '/networks/ingress')).status).toBe(204);
    const refused = await api.call('POST', '/services/create', {
      Name: 'p',
      TaskTemplate: { ContainerSpec: { Image: 'b' } },
      EndpointSpec: { Ports: [{ TargetPort: 80 }] },
    });
    expect([refused.status, refused.json]).toEqual([
      400,
      {
        message:
          'rpc error: code = FailedPrecondition desc = service needs ingress network, but no ingress network is present',
      },
    ]);
    await api.createService({
      Name: 'host',
      EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8081, PublishMode: 'host' }] },
    });
    await api.createNetwork('own', { IPAM: { Config: [{ Subnet: '10.70.0.0/20' }] } });
    const ingress = { Name: 'mesh', Driver: 'overlay', Ingress: true };
    expect(
      (
        await api.call('POST', '/networks/create', {
          ...ingress,
          IPAM: { Config: [{ Subnet: '10.70.0.0/18' }] },
        })
      ).json,
    ).toEqual({
      message:
        'Pool overlaps with other one on this address space: 10.70.0.0/18 overlaps 10.70.0.0/20 of network own',
    });
    const encrypted = { ...ingress, Options: { encrypted: '' } };
    const kernel = `the kernel of node ${description.hostname}`;
    for (const [esp, status, why] of [
      ['false', 400, `${kernel} has no ESP (try: modprobe esp4)`],
      [undefined, 503, `it is not known yet whether ${kernel} has ESP`],
    ] as const) {
      await setEsp(esp);
      expect(await api.call('POST', '/networks/create', encrypted)).toMatchObject({
        status,
        json: { message: `encrypted ingress network mesh: ${why}` },
      });
    }
    // One for some services is theirs to be refused; and where every kernel has it, ingress is as any other.
    await api.createNetwork('sealed', { Options: { encrypted: '' } });
    await setEsp('true');
    const sealed = await api.call('POST', '/networks/create', encrypted);
    expect(sealed.status).toBe(201);
    expect((await api.call('DELETE', '/networks/mesh')).status).toBe(204);
    const id = await api.createNetwork('mesh', {
      Ingress: true,
      IPAM: { Config: [{ Subnet: '10.71.0.0/20' }] },
    });
    expect(await api.call('POST', '/networks/create', { ...ingress, Name: 'mesh2' })).toMatchObject({
      status: 409,
      json: { message: `rpc error: code = AlreadyExists desc = ingress network (${id}) is already present` },
    });
    await api.createService({ Name: 'p', EndpointSpec: { Ports: [{ TargetPort: 80 }] } });
    expect((await api.call('DELETE', '/networks/mesh')).status).toBe(400);
  });

  test('the list has the swarm’s and the engine’s, and no instances', async () => {
    const id = await api.createNetwork('mynet');
    withNetworks(bridge, instance(id));
    const names = async (query = {}): Promise<unknown> =>
      ((await api.call('GET', `/networks?${filters(query)}`)).json as { Name: string; Driver: string }[])
        .map(({ Name }) => Name)
        .sort();
    expect(await names()).toEqual(['bridge', 'ingress', 'mynet']);
    expect(await names({ scope: ['local'] })).toContain('bridge');
    expect(await names({ scope: ['local'] })).not.toContain('mynet');
    for (const name of ['yne', '^my', 'my.et', '^mynet$', 'mynet'])
      expect(await names({ name: [name] }), name).toContain('mynet');
    for (const name of ['^yne', '^my$', '(', ''.padEnd(64, 'x')])
      expect(await names({ name: [name] }), name).not.toContain('mynet');
    expect(await names({ name: ['^in', '^my'] })).toContain('ingress');
    // As expressions, for the engine shall be asked nothing that it cannot answer.
    for (const name of ['(a+)+$', '(.*){9}', '.*.*.*.*.*'])
      expect((await api.call('GET', `/networks?${filters({ name: [name] })}`)).status, name).toBe(400);
    const text = (await api.call('GET', '/networks')).text;
    expect(text).not.toContain('skep');
  });

  test.each<[query: object, status: number, message: string]>([
    [{ type: ['zz'] }, 500, "invalid filter: 'type'='zz'"],
    [{ x: ['y'] }, 400, "Invalid filter 'x'"],
    [
      { dangling: ['zz'] },
      400,
      `invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")`,
    ],
  ])('filter %j', async (query, status, message) => {
    const reply = await api.call('GET', `/networks?${filters(query)}`);
    expect([reply.status, reply.json]).toEqual([status, { message }]);
  });

  test('inspect adds this node’s containers, and works while the engine is away', async () => {
    const id = await api.createNetwork('mynet');
    withNetworks(bridge, instance(id, { Containers: { c1: { Name: 'web.1.x' } } }));
    expect((await api.call('GET', `/networks/${id}`)).json).toMatchObject({
      Id: id,
      Containers: { c1: { Name: 'web.1.x' } },
    });
    expect((await api.call('GET', '/networks/bridge')).json).toMatchObject({ Id: bridge.Id });
    expect(await api.call('GET', '/networks/zz')).toMatchObject({
      status: 404,
      json: { message: 'network zz not found' },
    });
    await api.stopEngine();
    expect((await api.call('GET', `/networks/${id}`)).json).toMatchObject({ Id: id });
  });

  test("an engine's own network as a service's, as the CLI looks it up: by its name, the same on every node", async () => {
    withNetworks({ ...bridge, Containers: { c1: { Name: 'mine' } } });
    const { status, json } = await api.call('GET', '/networks/bridge?scope=swarm');
    expect([status, json]).toEqual([200, { ...bridge, Id: 'bridge', Scope: 'swarm', Containers: undefined }]);
    for (const name of ['none', 'zz'])
      expect((await api.call('GET', `/networks/${name}?scope=swarm`)).status).toBe(404);
  });

  const refusal = (text: string): unknown[] => [
    400,
    { message: `rpc error: code = FailedPrecondition desc = ${text}` },
  ];
  const remove = async (name: string): Promise<unknown[]> => {
    const { status, json } = await api.call('DELETE', `/networks/${name}`);
    return [status, json];
  };
  /** A task of the service on the network. */
  const startTask = (service: string, id: string, change: Partial<Task> = {}): Promise<void> =>
    api.store.update((tx) => {
      const leg = { networkId: id as NetworkId, address: '10.0.1.2' as Ip, prefixLength: 24 };
      const networks = [{ ...leg, mac: '' as never, aliases: [] }];
      tx.create('task', taskOf(tx.get('service', service as ServiceId)!, 'task1', { networks, ...change }));
    });
  const changeTask = (change: (task: Task) => Partial<Task>): Promise<void> =>
    api.store.update((tx) => {
      const task = tx.get('task', 'task1' as TaskId)!;
      tx.update('task', { ...task, ...change(task) });
    });
  const removeService = (id: string): Promise<void> => api.store.update((tx) => tx.delete('service', id));
  const onMynet = { TaskTemplate: { ContainerSpec: { Image: 'b' }, Networks: [{ Target: 'mynet' }] } };

  test('one in use is not removed; a free one is', async () => {
    withNetworks(bridge);
    const id = await api.createNetwork('mynet');
    const service = await api.createService({ Name: 'web', ...onMynet });
    expect(await remove('mynet')).toEqual(refusal(`network ${id} is in use by service ${service}`));
    await removeService(service);
    expect(await remove('mynet')).toEqual([204, undefined]);
    expect(api.store.view().get('network', id as NetworkId)).toBeUndefined();

    const published = await api.createService({ Name: 'p', EndpointSpec: { Ports: [{ TargetPort: 80 }] } });
    expect(await remove('ingress')).toEqual(
      refusal(`ingress network cannot be removed because service ${published} depends on it`),
    );
    expect((await remove('bridge'))[0]).toBe(204);
  });

  test('a service that is on it by the deprecated field, beside an empty list, keeps it', async () => {
    withNetworks(bridge);
    const id = await api.createNetwork('mynet');
    const service = await api.createService({
      Name: 'web',
      TaskTemplate: { ContainerSpec: { Image: 'b' }, Networks: [] },
      Networks: [{ Target: 'mynet' }],
    });
    expect(await remove('mynet')).toEqual(refusal(`network ${id} is in use by service ${service}`));
  });

  test('a task that a service is to have keeps its network, though the service is on another by now', async () => {
    withNetworks(bridge);
    const id = await api.createNetwork('mynet');
    await startTask(await api.createService({ Name: 'web' }), id);
    expect(await remove('mynet')).toEqual(refusal(`network ${id} is in use by task task1`));
  });

  /** Those who keep a network until they have ended: the task, whether its service is removed, and on what network it is. */
  const leaving: [what: string, change: Partial<Task>, service: 'stays' | 'goes', network: string][] = [
    ['its service was removed', {}, 'goes', 'mynet'],
    ['it is to be removed', { desiredState: 'remove' }, 'goes', 'mynet'],
    ['another one replaces it', { desiredState: 'shutdown' }, 'stays', 'mynet'],
    ['it is on ingress and to be removed', { desiredState: 'remove' }, 'goes', 'ingress'],
    ['it is on ingress, and its service publishes nothing any more', {}, 'stays', 'ingress'],
  ];

  test.each(leaving)('the removal waits for a task that stops: %s', async (_what, change, fate, name) => {
    withNetworks(bridge);
    const id = name === 'ingress' ? ingressId : await api.createNetwork(name);
    const service = await api.createService({ Name: 'web' });
    await startTask(service, id, change);
    if (fate === 'goes') await removeService(service);
    let isOver = false;
    const removal = remove(name).finally(() => (isOver = true));
    // The flows that it is given time to finish need the network all that time.
    await changeTask(() => ({ desiredState: 'remove' }));
    expect(await api.call('GET', `/networks/${name}`)).toMatchObject({ status: 200 });
    expect((await api.call('POST', '/networks/prune')).json).toEqual({ NetworksDeleted: ['local1'] });
    expect(isOver).toBe(false);
    await changeTask(({ status }) => ({ status: { ...status, state: 'shutdown' } }));
    expect(await removal).toEqual([204, undefined]);
    expect(api.store.view().get('network', id as NetworkId)).toBeUndefined();
  });

  test.each(leaving)('one that does not stop in time is named: %s', async (_what, change, fate, name) => {
    withNetworks(bridge);
    const id = name === 'ingress' ? ingressId : await api.createNetwork(name);
    const service = await api.createService({ Name: 'web' });
    await startTask(service, id, change);
    if (fate === 'goes') await removeService(service);
    api.sleep = async () => undefined;
    expect(await remove(name)).toEqual(refusal(`network ${id} is in use by task task1`));
  });

  test.each<[what: string, change: Partial<Task>]>([
    ['it has ended', { status: { timestampMs: 0, appliedAtMs: 0, state: 'failed', message: '' } }],
    ['no node has it yet', { status: { timestampMs: 0, appliedAtMs: 0, state: 'pending', message: '' } }],
    ['its node is gone', { nodeId: 'nodebbbbbbbbbbbbbbbbbbbbb' as NodeId }],
  ])('a task does not keep a network: %s', async (_what, change) => {
    withNetworks(bridge);
    const id = await api.createNetwork('mynet');
    const service = await api.createService({ Name: 'web' });
    await startTask(service, id, { desiredState: 'remove', ...change });
    await removeService(service);
    expect(await remove('mynet')).toEqual([204, undefined]);
  });

  test('nobody waits for what runs on a node that is down', async () => {
    withNetworks(bridge);
    const id = await api.createNetwork('mynet');
    await startTask(await api.createService({ Name: 'web' }), id, { desiredState: 'remove' });
    await api.store.update((tx) => {
      const node = tx.get('node', nodeId)!;
      tx.update('node', { ...node, status: { ...node.status, state: 'down' } });
    });
    expect(await remove('mynet')).toEqual([204, undefined]);
  });

  test('prune removes what nothing uses', async () => {
    withNetworks(bridge);
    await api.createNetwork('used');
    await api.createNetwork('idle');
    await api.createService({
      Name: 'web',
      TaskTemplate: { ContainerSpec: { Image: 'b' }, Networks: [{ Target: 'used' }] },
    });
    expect((await api.call('POST', '/networks/prune')).json).toEqual({ NetworksDeleted: ['local1', 'idle'] });
  });
});

test('on a worker an instance is shown as the overlay it belongs to', async () => {
  const id = 'overlayaaaaaaaaaaaaaaaaaa';
  api.leaveSwarm({ localNodeState: 'active' });
  withNetworks(
    bridge,
    instance(id, { Labels: { 'skep.network.id': id, a: 'b' }, IPAM: { Driver: 'skep', Options: null } }),
  );
  const shown = {
    ...{ Name: 'mynet', Id: id, Driver: 'overlay', Scope: 'swarm', Options: { mine: 'x' } },
    ...{ Labels: { a: 'b' }, IPAM: { Driver: 'default', Options: null } },
  };
  expect((await api.call('GET', '/networks')).json).toMatchObject([shown, { Name: 'bridge' }]);
  expect((await api.call('GET', `/networks/${id}`)).json).toMatchObject(shown);
  expect((await api.call('GET', '/networks/mynet')).json).toMatchObject(shown);
  expect((await api.call('DELETE', '/networks/mynet')).status).toBe(403);
});
