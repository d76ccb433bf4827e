import { expect, test } from 'vitest';
import { allocateNetwork } from '../../../src/controlplane/allocator/networks.js';
import type { NetworkAllocation } from '../../../src/controlplane/allocator/networks.js';
import type { NetworkOptions } from '../../support/cluster-objects.js';
import { cluster, network } from '../../support/cluster-objects.js';

const taken = (...given: readonly (readonly [number, string])[]): NetworkAllocation[] =>
  given.map(([vni, subnet]) => ({ vni, subnet, gateway: '' }) as unknown as NetworkAllocation);

test.each<[string, NetworkOptions, NetworkAllocation[], readonly [number, string, string] | undefined]>([
  ['the first network', {}, [], [4096, '10.0.0.0/24', '10.0.0.1']],
  ['the next', {}, taken([4096, '10.0.0.0/24']), [4097, '10.0.1.0/24', '10.0.1.1']],
  ['a gap', {}, taken([4096, '10.0.0.0/24'], [4098, '10.0.2.0/24']), [4097, '10.0.1.0/24', '10.0.1.1']],
  ['behind a large explicit subnet', {}, taken([4096, '10.0.0.0/16']), [4097, '10.1.0.0/24', '10.1.0.1']],
  ['an explicit subnet', { subnet: '192.168.5.7/24' }, [], [4096, '192.168.5.0/24', '192.168.5.1']],
  [
    'an explicit gateway',
    { subnet: '192.168.5.0/24', gateway: '192.168.5.9' },
    [],
    [4096, '192.168.5.0/24', '192.168.5.9'],
  ],
  ['an overlap', { subnet: '10.0.0.128/25' }, taken([4096, '10.0.0.0/24']), undefined],
  ['a pinned VNI', { vnis: '7000,7001' }, [], [7000, '10.0.0.0/24', '10.0.0.1']],
  ['a pinned VNI in use', { vnis: '4096' }, taken([4096, '10.0.0.0/24']), undefined],
  ['a pinned VNI that is none', { vnis: 'x' }, [], undefined],
])('%s', (_, options, others, expected) => {
  const allocation = allocateNetwork(cluster(), network('n', options), others);
  expect(allocation && [allocation.vni, allocation.subnet, allocation.gateway]).toEqual(expected);
});

test('an exhausted pool gives nothing', () => {
  const small = { ...cluster(), defaultAddrPool: ['10.0.0.0/23'] } as unknown as ReturnType<typeof cluster>;
  const full = taken([1, '10.0.0.0/24'], [2, '10.0.1.0/24']);
  expect(allocateNetwork(small, network('n'), full)).toBeUndefined();
});

test('ingress gets a subnet that aliases can name, however large the others are', () => {
  const wide = { ...cluster(), subnetSize: 16 };
  const ingress = network('ingress', { ingress: true });
  expect(allocateNetwork(wide, ingress, [])?.subnet).toBe('10.0.0.0/18');
  expect(allocateNetwork(wide, network('n'), taken([4096, '10.0.0.0/18']))?.subnet).toBe('10.1.0.0/16');
});
