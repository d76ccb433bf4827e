import type Docker from 'dockerode';
import { expect, test } from 'vitest';
import {
  localNetwork,
  nodeLocalNetwork,
  planContainer,
  withTag,
} from '../../../src/controlplane/agent/container-config.js';
import type { Leg } from '../../../src/controlplane/agent/container-config.js';
import type { Cidr, Ip, Mac } from '../../../src/model/addresses.js';
import type { NetworkId } from '../../../src/model/ids.js';
import type { NodeNetworkAttachment } from '../../../src/model/objects.js';
import type { ContainerSpec, Privileges } from '../../../src/model/service-spec.js';
import { network as networkOf, ports, service, task, taskSpec } from '../../support/cluster-objects.js';

const leg = (name: string, address: string, ownAddress: string, ingress = false): Leg => ({
  attachment: {
    networkId: name as NetworkId,
    address: address as Ip,
    prefixLength: 24,
    mac: '02:00:00:00:00:01' as Mac,
    aliases: [],
  },
  overlay: {
    id: name,
    name,
    vni: 4097,
    subnet: '10.0.1.0/24',
    gateway: '10.0.1.1',
    ingress,
    internal: false,
    ownAddress,
    ownMac: '02:00:00:00:00:02',
    attachable: false,
    driverOptions: {},
    labels: {},
  },
});

const web = service('web', {});
const plan = (over: Parameters<typeof taskSpec>[0] = {}, legs: Leg[] = []) => {
  const of = { ...task('t1', web, 'assigned', { node: 'n1' }), spec: taskSpec(over) };
  return planContainer(of, of.spec.container, legs);
};

test("the first user network is the one of creation, ingress comes after the start, DNS is the overlays' own", () => {
  const { create, connect, connectStarted } = plan({}, [
    leg('ingress', '10.0.0.5', '10.0.0.2', true),
    leg('mynet', '10.0.1.5', '10.0.1.2'),
    leg('other', '10.0.2.5', '10.0.2.2'),
  ]);
  expect(create.HostConfig).toMatchObject({
    NetworkMode: 'mynet',
    Dns: ['10.0.1.2', '10.0.2.2', '10.0.0.2'],
  });
  expect(create.NetworkingConfig?.EndpointsConfig).toEqual({
    mynet: { IPAMConfig: { IPv4Address: '10.0.1.5' } },
  });
  expect(connect.map(({ network }) => network)).toEqual(['other']);
  expect(connectStarted).toEqual([
    { network: 'ingress', endpoint: { IPAMConfig: { IPv4Address: '10.0.0.5' } } },
  ]);
});

const mv: NodeNetworkAttachment = {
  networkId: 'mvid' as NetworkId,
  spec: { ...networkOf('mv').spec, driver: 'macvlan', configFrom: 'cfg', labels: {} },
  aliases: ['alias'],
};

test('a network of the node’s own comes after overlays and before ingress, and its engine gives the address', () => {
  const of = { ...task('t1', web, 'assigned', { node: 'n1' }), nodeNetworks: [mv] };
  const named = { Aliases: ['web', 'tasks.web', 'alias'] };
  const legs = [leg('ingress', '10.0.0.5', '10.0.0.2', true), leg('mynet', '10.0.1.5', '10.0.1.2')];
  expect(planContainer(of, of.spec.container, legs)).toMatchObject({
    create: { HostConfig: { NetworkMode: 'mynet' } },
    connect: [{ network: 'mv', endpoint: named }],
    connectStarted: [{ network: 'ingress' }],
  });
  expect(planContainer(of, of.spec.container, legs.slice(0, 1))).toMatchObject({
    create: { HostConfig: { NetworkMode: 'mv' }, NetworkingConfig: { EndpointsConfig: { mv: named } } },
    connect: [],
    connectStarted: [{ network: 'ingress' }],
  });
});

test('it has the settings of the configuration that it names, or those that the swarm has of it', () => {
  const config = {
    name: 'cfg',
    enableIpv6: false,
    ipam: { Driver: 'default', Config: [{ Subnet: '192.168.78.0/24' }] },
    options: { parent: 'eth0' },
    labels: { a: 'b' },
  };
  expect(nodeLocalNetwork(mv, config)).toEqual({
    Name: 'mv',
    CheckDuplicate: true,
    Driver: 'macvlan',
    Internal: false,
    Attachable: false,
    EnableIPv6: false,
    Labels: { a: 'b', 'skep.network.id': 'mvid', 'skep.network.config': 'cfg' },
    Options: { parent: 'eth0' },
    IPAM: config.ipam,
  });
  const { configFrom: _, ...rest } = mv.spec;
  const configs = [{ subnet: '10.70.0.0/24' as Cidr, gateway: '10.70.0.9' as Ip }];
  const spec = { ...rest, driverOptions: { parent: 'eth1' }, ipam: { ...rest.ipam, configs } };
  expect(nodeLocalNetwork({ ...mv, spec }, undefined)).toMatchObject({
    Labels: { 'skep.network.id': 'mvid' },
    Options: { parent: 'eth1' },
    IPAM: { Driver: 'default', Config: [{ Subnet: '10.70.0.0/24', Gateway: '10.70.0.9' }] },
  });
});

test("a task on ingress alone is created there; a task without networks takes the engine's default", () => {
  expect(plan({}, [leg('ingress', '10.0.0.5', '10.0.0.2', true)])).toMatchObject({
    create: { HostConfig: { NetworkMode: 'ingress' } },
    connect: [],
    connectStarted: [],
  });
  expect(plan().create).not.toHaveProperty('NetworkingConfig');
  expect(plan().create.HostConfig).not.toHaveProperty('NetworkMode');
  const networks = [{ target: 'host', aliases: ['web'] }];
  expect(plan({ networks })).toMatchObject({ create: { HostConfig: { NetworkMode: 'host' } }, connect: [] });
});

test('limits reach the engine, reservations do not', () => {
  const { create } = plan({
    resources: {
      limits: { nanoCpus: 5e8, memoryBytes: 2 ** 25, pids: 0 },
      reservations: { nanoCpus: 1e9, memoryBytes: 2 ** 30 },
    },
  });
  expect(create.HostConfig).toMatchObject({ NanoCpus: 5e8, Memory: 2 ** 25 });
  expect(create.HostConfig).not.toHaveProperty('PidsLimit');
  expect(JSON.stringify(create)).not.toContain(String(2 ** 30));
});

test.each([
  ['entrypoint and command', ['/a'], ['b'], { Entrypoint: ['/a'], Cmd: ['b'] }],
  ["arguments alone keep the image's entrypoint", [], ['b'], { Cmd: ['b'] }],
])('%s', (_, command, args, expected) => {
  const { create } = plan({ container: { ...taskSpec().container, command, args } });
  expect({ ...(create.Entrypoint && { Entrypoint: create.Entrypoint }), Cmd: create.Cmd }).toEqual(expected);
});

test.each([
  [{ image: '' }, 'dockerexec: image required'],
  [
    { mounts: [{ type: 'bind' as const, source: '/x', target: 'x', readOnly: false }] },
    'invalid mount target, must be an absolute path: x',
  ],
  [
    { mounts: [{ type: 'bind' as const, source: 'x', target: '/x', readOnly: false }] },
    'invalid bind mount source, must be an absolute path: x',
  ],
  [
    { mounts: [{ type: 'volume' as const, source: '/x', target: '/x', readOnly: false }] },
    'invalid volume mount source, must not be an absolute path: /x',
  ],
  [
    { mounts: [{ type: 'tmpfs' as const, source: '/x', target: '/x', readOnly: false }] },
    'invalid tmpfs source, source must be empty',
  ],
])('%j is refused', (over, text) => {
  expect(() => plan({ container: { ...taskSpec().container, ...over } })).toThrow(text);
});

test.each([
  ['nginx', 'nginx:latest'],
  ['nginx:1', 'nginx:1'],
  ['host:5000/nginx', 'host:5000/nginx:latest'],
  ['nginx@sha256:abc', 'nginx@sha256:abc'],
])('%s is pulled as %s', (image, reference) => {
  expect(withTag(image)).toBe(reference);
});

test('what the task was given of its node is in its environment, after its own', () => {
  const of = {
    ...task('t1', web, 'assigned', { node: 'n1' }),
    assignedGenericResources: ['a', 'b'].map((name) => ({ kind: 'gpu', name })),
  };
  const { create } = planContainer(of, { ...of.spec.container, env: ['A=1'] }, []);
  expect(create.Env).toEqual(['A=1', 'DOCKER_RESOURCE_GPU=a,b']);
});

const context = { disable: false, user: '', role: '', type: '', level: '' };

const noMount = { source: '', readOnly: false };

// As Docker's own Swarm mode was seen to ask of the engine (test/swarm/container-fields.test.ts).
test.each<[Partial<ContainerSpec>, Docker.ContainerCreateOptions]>([
  [
    { user: '1000:1001', dir: '/etc', tty: true, openStdin: true, stopSignal: 'SIGUSR1', env: ['A=b'] },
    {
      User: '1000:1001',
      WorkingDir: '/etc',
      Tty: true,
      OpenStdin: true,
      StopSignal: 'SIGUSR1',
      Env: ['A=b'],
    },
  ],
  [
    { groups: ['2000'], readOnly: true, init: true, oomScoreAdj: 5, sysctls: { a: '1' } },
    {
      HostConfig: {
        ...{ GroupAdd: ['2000'], ReadonlyRootfs: true, Init: true, OomScoreAdj: 5, Sysctls: { a: '1' } },
        Isolation: 'default',
      },
    },
  ],
  [
    {
      capabilityAdd: ['CAP_NET_ADMIN'],
      capabilityDrop: ['CAP_CHOWN'],
      ulimits: [{ name: 'nofile', soft: 512, hard: 1024 }],
    },
    {
      HostConfig: {
        CapAdd: ['CAP_NET_ADMIN'],
        CapDrop: ['CAP_CHOWN'],
        Ulimits: [{ Name: 'nofile', Soft: 512, Hard: 1024 }],
      },
    },
  ],
  [
    { dnsConfig: { nameservers: ['10.9.8.7'], search: ['example.org'], options: ['ndots:3'] } },
    { HostConfig: { Dns: ['10.9.8.7'], DnsSearch: ['example.org'], DnsOptions: ['ndots:3'] } },
  ],
  [
    {
      mounts: [
        { ...noMount, type: 'bind', source: '/etc', target: '/b', bindOptions: { propagation: 'rprivate' } },
        { ...noMount, type: 'tmpfs', target: '/t', tmpfsOptions: { sizeBytes: 1048576, mode: 0o700 } },
        { ...noMount, type: 'volume', target: '/v', volumeOptions: { noCopy: true, labels: { a: 'b' } } },
      ],
    },
    {
      HostConfig: {
        Mounts: [
          { Type: 'bind', Source: '/etc', Target: '/b', BindOptions: { Propagation: 'rprivate' } },
          { Type: 'tmpfs', Target: '/t', TmpfsOptions: { SizeBytes: 1048576, Mode: 448 } },
          { Type: 'volume', Target: '/v', VolumeOptions: { NoCopy: true, Labels: { a: 'b' } } },
        ] as Docker.MountConfig,
      },
    },
  ],
])('of the engine is asked as Swarm does: %j', (over, create) => {
  expect(plan({ container: { ...taskSpec().container, ...over } }).create).toMatchObject(create);
});

// As Docker's own Swarm mode was seen to ask of the engine.
test.each<[Partial<Privileges>, string[] | undefined]>([
  [{}, undefined],
  [{ seLinuxContext: { ...context, disable: true } }, ['label=disable']],
  [
    { seLinuxContext: { ...context, user: 'u', role: 'r', type: 't', level: 'l' } },
    ['label=user:u', 'label=role:r', 'label=level:l', 'label=type:t'],
  ],
  [{ seccomp: { mode: 'default', profile: '' }, appArmor: { mode: 'default' } }, undefined],
  [
    { seccomp: { mode: 'unconfined', profile: '' }, appArmor: { mode: 'disabled' }, noNewPrivileges: true },
    ['seccomp=unconfined', 'apparmor=unconfined', 'no-new-privileges=true'],
  ],
  [{ seccomp: { mode: 'custom', profile: 'eyJhIjoxfQ==' } }, ['seccomp={"a":1}']],
])('privileges %j', (given, options) => {
  const container = { ...taskSpec().container, privileges: { noNewPrivileges: false, ...given } };
  expect(plan({ container }).create.HostConfig?.SecurityOpt).toEqual(options);
});

test('host access is asked of the engine as the labels of the service say', () => {
  const labels = {
    'skep.devices': '/dev/fuse:/dev/f:rw',
    'skep.privileged': 'true',
    'skep.shm-size': '1m',
  };
  const of = { ...task('t1', web, 'assigned', { node: 'n1' }), serviceLabels: labels };
  expect(planContainer(of, of.spec.container, []).create.HostConfig).toMatchObject({
    Devices: [{ PathOnHost: '/dev/fuse', PathInContainer: '/dev/f', CgroupPermissions: 'rw' }],
    Privileged: true,
    ShmSize: 1048576,
  });
  for (const key of ['Devices', 'Privileged', 'ShmSize'])
    expect(plan().create.HostConfig).not.toHaveProperty(key);
});

test('hosts: the first name of each, and nothing of what is none', () => {
  const container = {
    ...taskSpec().container,
    hosts: ['1.2.3.4 a b c', '  5.6.7.8   d ', ' bad', '::1 six'],
  };
  expect(plan({ container }).create.HostConfig?.ExtraHosts).toEqual(['a:1.2.3.4', 'd:5.6.7.8', 'six:::1']);
});

test('the local network names its overlay', () => {
  expect(localNetwork(leg('mynet', '10.0.1.5', '10.0.1.2').overlay)).toMatchObject({
    Name: 'mynet',
    Driver: 'skep',
    Options: { 'skep.network.id': 'mynet' },
    IPAM: { Driver: 'skep', Config: [{ Subnet: '10.0.1.0/24', Gateway: '10.0.1.1' }] },
  });
});

test('host-mode ports: one target several times, and a number left to the engine', () => {
  const published = service('web', {
    endpointSpec: ports(
      [80, 8080, 'tcp', 'host'],
      [80, 8081, 'tcp', 'host'],
      [53, undefined, 'udp', 'host'],
      [81, 8082],
    ),
  });
  const of = task('t1', published, 'assigned', { node: 'n1' });
  const { create } = planContainer(of, of.spec.container, []);
  expect(create.ExposedPorts).toEqual({ '80/tcp': {}, '53/udp': {} });
  expect(create.HostConfig?.PortBindings).toEqual({
    '80/tcp': [{ HostPort: '8080' }, { HostPort: '8081' }],
    '53/udp': [{ HostPort: '' }],
  });
});
