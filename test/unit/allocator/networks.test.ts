import { expect, test } from 'vitest';
import { allocateNetwork } from '../../../src/controlplane/allocator/networks.js';
import type { Taken, TakenNetwork } from '../../../src/controlplane/allocator/networks.js';
import type { Cidr } from '../../../src/model/addresses.js';
import type { Network } from '../../../src/model/objects.js';
import type { NetworkOptions } from '../../support/cluster-objects.js';
import { cluster, network } from '../../support/cluster-objects.js';

const nothing: Taken = { networks: [], routes: [] };
/** Networks as VNI and subnet; the one with VNI 4096 is ingress. */
const taken = (...given: readonly (readonly [number, string])[]): Taken => ({
  networks: given.map(
    ([vni, subnet]) => ({ vni, subnet, gateway: '', ingress: vni === 4096 }) as unknown as TakenNetwork,
  ),
  routes: [],
});
const routed = (...routes: readonly string[]): Taken => ({ networks: [], routes: routes as Cidr[] });
const ten24 = '10.0.0.0/24';

test.each<[string, NetworkOptions, Taken, readonly [number, string, string] | undefined]>([
  ['the first network', {}, nothing, [4096, ten24, '10.0.0.1']],
  ['the next', {}, taken([4096, ten24]), [4097, '10.0.1.0/24', '10.0.1.1']],
  ['a gap', {}, taken([4096, ten24], [4098, '10.0.2.0/24']), [4097, '10.0.1.0/24', '10.0.1.1']],
  ['behind a large explicit subnet', {}, taken([4097, '10.0.0.0/16']), [4096, '10.1.0.0/24', '10.1.0.1']],
  ['an explicit subnet', { subnet: '192.168.5.7/24' }, nothing, [4096, '192.168.5.0/24', '192.168.5.1']],
  [
    'an explicit gateway',
    { subnet: '192.168.5.0/24', gateway: '192.168.5.9' },
    nothing,
    [4096, '192.168.5.0/24', '192.168.5.9'],
  ],
  [
    "a range's first address is the gateway, as in Swarm",
    { subnet: '10.50.0.0/24', range: '10.50.0.128/25' },
    nothing,
    [4096, '10.50.0.0/24', '10.50.0.128'],
  ],
  [
    'a range that begins with the subnet',
    { subnet: '10.51.0.0/24', range: '10.51.0.0/25' },
    nothing,
    [4096, '10.51.0.0/24', '10.51.0.1'],
  ],
  [
    'a gateway beside what the user keeps',
    { subnet: '10.52.0.0/24', auxiliaryAddresses: { router: '10.52.0.1', other: '10.52.0.2' } },
    nothing,
    [4096, '10.52.0.0/24', '10.52.0.3'],
  ],
  ['an overlap with ingress', { subnet: '10.0.0.128/25' }, taken([4096, ten24]), undefined],
  ['an ingress that overlaps', { subnet: ten24, ingress: true }, taken([4097, ten24]), undefined],
  ['an overlap with the aliases', { subnet: '241.0.0.0/24' }, nothing, undefined],
  [
    'an overlap with another network is no matter',
    { subnet: '10.0.1.128/25' },
    taken([4096, ten24], [4097, '10.0.1.0/24']),
    [4098, '10.0.1.128/25', '10.0.1.129'],
  ],
  [
    'but a subnet chosen here keeps clear of it',
    {},
    taken([4096, ten24], [4097, '10.0.1.128/25'], [4098, '10.0.1.0/25']),
    [4099, '10.0.2.0/24', '10.0.2.1'],
  ],
  ["a node's route", {}, routed('10.0.0.77/32', '10.0.1.0/25'), [4096, '10.0.2.0/24', '10.0.2.1']],
  ['a large route', {}, routed('10.0.0.0/9', '192.0.2.0/24'), [4096, '10.128.0.0/24', '10.128.0.1']],
  ['a route to the whole pool', {}, routed('8.0.0.0/5'), undefined],
  ['IPv6 routes are beside IPv4 pools', {}, routed('::/2', 'fd00::/8'), [4096, ten24, '10.0.0.1']],
  ['a pinned VNI', { vnis: '7000,7001' }, nothing, [7000, ten24, '10.0.0.1']],
  ['VNI 0 pins nothing, as in Swarm', { vnis: '0' }, nothing, [4096, ten24, '10.0.0.1']],
  ['a pinned VNI in use', { vnis: '4097' }, taken([4097, ten24]), undefined],
  ['a pinned VNI whose low half is in use', { vnis: '69633' }, taken([4097, ten24]), undefined],
  [
    'a VNI chosen here differs in its low half',
    {},
    taken([69632, ten24], [4097, '10.0.1.0/24']),
    [4098, '10.0.2.0/24', '10.0.2.1'],
  ],
])('%s', (_, options, others, expected) => {
  const allocation = allocateNetwork(cluster(), network('n', options), others);
  expect(allocation && [allocation.vni, allocation.subnet, allocation.gateway]).toEqual(expected);
});

test('VNIs end when no low half is left, and 0 is none', () => {
  const all = Array.from({ length: 65_535 }, (_, i) => [4096 + i, ten24] as const);
  const last = taken(...all);
  const vni = allocateNetwork(cluster(), network('n'), last)?.vni ?? 0;
  expect([vni & 0xffff, vni]).toEqual([4095, 69_631]);
  expect(allocateNetwork(cluster(), network('n'), taken(...all, [vni, ten24]))).toBeUndefined();
});

test('an exhausted pool gives nothing', () => {
  const small = { ...cluster(), defaultAddrPool: ['10.0.0.0/23'] as unknown as Cidr[] };
  const full = taken([1, '10.0.0.0/24'], [2, '10.0.1.0/24']);
  expect(allocateNetwork(small, network('n'), full)).toBeUndefined();
  const more = { ...small, defaultAddrPool: ['10.0.0.0/23', '10.9.0.0/24'] as unknown as Cidr[] };
  expect(allocateNetwork(more, network('n'), full)?.subnet).toBe('10.9.0.0/24');
});

test('IPv6: pools, routes and explicit subnets alike', () => {
  const six = { ...cluster(), defaultAddrPool: ['fd00:a::/48'] as unknown as Cidr[], subnetSize: 64 };
  expect(allocateNetwork(six, network('n'), routed('fd00:a:0:0::7/128'))).toMatchObject({
    subnet: 'fd00:a:0:1::/64',
    gateway: 'fd00:a:0:1::1',
  });
  expect(
    allocateNetwork(cluster(), network('n', { subnet: 'fd00:b::/64', range: 'fd00:b::8000/113' }), nothing),
  ).toMatchObject({ subnet: 'fd00:b::/64', gateway: 'fd00:b::8000' });
});

test('ingress gets a subnet that aliases can name, however large the others are', () => {
  const wide = { ...cluster(), subnetSize: 16 };
  const ingress = network('ingress', { ingress: true });
  expect(allocateNetwork(wide, ingress, nothing)?.subnet).toBe('10.0.0.0/18');
  expect(allocateNetwork(wide, network('n'), taken([4096, '10.0.0.0/18']))?.subnet).toBe('10.1.0.0/16');
});

test('each of several subnets has its gateway; one that cannot be had keeps the network waiting', () => {
  const several = (...configs: readonly object[]): Network => {
    const made = network('n', { subnet: '10.50.0.0/29' });
    return { ...made, spec: { ...made.spec, ipam: { ...made.spec.ipam, configs } } } as Network;
  };
  const two = several({ subnet: '10.50.0.0/29' }, { subnet: '10.60.0.0/24', range: '10.60.0.128/25' });
  expect(allocateNetwork(cluster(), two, nothing)).toEqual({
    vni: 4096,
    subnet: '10.50.0.0/29',
    gateway: '10.50.0.1',
    furtherSubnets: [{ subnet: '10.60.0.0/24', gateway: '10.60.0.128' }],
  });
  expect(allocateNetwork(cluster(), two, taken([4096, '10.60.0.0/24']))).toBeUndefined();
  const withTwo = { ...allocateNetwork(cluster(), two, nothing), ingress: false } as TakenNetwork;
  const pool = cluster({ defaultAddrPool: ['10.60.0.0/23' as Cidr] });
  expect(allocateNetwork(pool, network('other'), { networks: [withTwo], routes: [] })?.subnet).toBe(
    '10.60.1.0/24',
  );
});
