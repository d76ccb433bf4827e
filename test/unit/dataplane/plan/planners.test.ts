/** Planners as tables of readable lines: state in, objects or operations out. */
import { describe, expect, test } from 'vitest';
import { byStage, diff, opLine } from '../../../../src/dataplane/plan/diff.js';
import { ownsInHost, planHost } from '../../../../src/dataplane/plan/ingress.js';
import { planPublishedPorts, planVirtualIps } from '../../../../src/dataplane/plan/load-balancer.js';
import { planNeighbors } from '../../../../src/dataplane/plan/neighbors.js';
import type { KernelObject, Link } from '../../../../src/dataplane/plan/objects.js';
import { line } from '../../../../src/dataplane/plan/objects.js';
import { ownsInOverlay, planOverlay } from '../../../../src/dataplane/plan/overlay.js';
import { ownsInSandbox, planSandbox } from '../../../../src/dataplane/plan/sandbox.js';
import type { Overlay } from '../../../../src/dataplane/state.js';
import type { ClusterOf } from './network-state.js';
import { ingressId, mynetId, nodeIdOf, sandboxOf, stateOf } from './network-state.js';

const lines = (objects: readonly KernelObject[]): string[] => objects.map(line);
const overlayOf = (self: number, cluster: ClusterOf, id = mynetId): Overlay => {
  const found = stateOf(self, cluster).overlays.find((overlay) => overlay.id === id);
  if (!found) throw new Error(`no overlay ${id}`);
  return found;
};

describe('planNeighbors', () => {
  const cases: readonly (readonly [name: string, cluster: ClusterOf, local: number[], lines: string[]])[] = [
    ['a node alone knows nobody', { nodes: [1] }, [], []],
    [
      'a peer: three entries for its own address',
      {},
      [],
      [
        'fdb vxlan0 02:42:0a:00:01:fc self dst 192.168.50.2',
        'fdb vxlan0 02:42:0a:00:01:fc master',
        'neighbour br0 10.0.1.252 02:42:0a:00:01:fc',
      ],
    ],
    [
      'a remote endpoint behind its VTEP, a local one behind its port',
      { nodes: [1, 2], tasks: [{ part: 4, node: 2 }, { part: 3, node: 1 }] }, // prettier-ignore
      [3],
      [
        'fdb vxlan0 02:42:0a:00:01:fc self dst 192.168.50.2',
        'fdb vxlan0 02:42:0a:00:01:fc master',
        'neighbour br0 10.0.1.252 02:42:0a:00:01:fc',
        'fdb vxlan0 02:42:0a:00:01:04 self dst 192.168.50.2',
        'fdb vxlan0 02:42:0a:00:01:04 master',
        'neighbour br0 10.0.1.4 02:42:0a:00:01:04',
        'fdb skpa000000003 02:42:0a:00:01:03 master',
        'neighbour br0 10.0.1.3 02:42:0a:00:01:03',
      ],
    ],
    [
      'an endpoint of a node that is no peer cannot be reached',
      { nodes: [1], tasks: [{ part: 4, node: 2 }] },
      [],
      [],
    ],
  ];
  for (const [name, cluster, local, expected] of cases)
    test(name, () => {
      const sandboxes = local.map((part) => sandboxOf(mynetId, part));
      expect(lines(planNeighbors(overlayOf(1, cluster), sandboxes, nodeIdOf(1)))).toEqual(expected);
    });
});

describe('planVirtualIps', () => {
  const cases: readonly (readonly [name: string, cluster: ClusterOf, lines: string[]])[] = [
    ['a service without endpoints has no virtual server', {}, []],
    [
      'serving endpoints balance, others drain',
      { tasks: [{ part: 3, node: 1 }, { part: 4, node: 2, serving: false }] }, // prettier-ignore
      [
        'virtual-server 0x5e000002 rr',
        'real-server 0x5e000002 10.0.1.3:0 direct weight 1',
        'real-server 0x5e000002 10.0.1.4:0 direct weight 0',
        'ipset-entry skep-vip 10.0.1.2 0x5e000002',
      ],
    ],
    [
      'nobody serves: no packet is marked, flows still end in peace',
      { tasks: [{ part: 3, node: 1, serving: false }] },
      ['virtual-server 0x5e000002 rr', 'real-server 0x5e000002 10.0.1.3:0 direct weight 0'],
    ],
  ];
  for (const [name, cluster, expected] of cases)
    test(name, () => expect(lines(planVirtualIps(overlayOf(1, cluster)))).toEqual(expected));

  test('ingress has none', () => {
    const cluster: ClusterOf = { ingress: true, tasks: [{ part: 3, node: 1 }] };
    const ingress = { ...overlayOf(1, cluster, ingressId), services: overlayOf(1, cluster).services };
    expect(planVirtualIps(ingress)).toEqual([]);
  });
});

test('planPublishedPorts: aliases name the node that translates', () => {
  const cluster: ClusterOf = { ingress: true, ports: { 8080: 80 }, tasks: [{ part: 3, node: 2 }] };
  for (const [self, alias] of [
    [1, '240.62.192.3'],
    [2, '240.63.0.3'],
  ] as const)
    expect(lines(planPublishedPorts(stateOf(self, cluster), overlayOf(self, cluster, ingressId)))).toEqual([
      'virtual-server 0x5e001f90 rr',
      `real-server 0x5e001f90 ${alias}:80 translate weight 1`,
      'ipset-entry skep-tcp 8080 0x5e001f90',
    ]);
});

describe('planSandbox', () => {
  const cluster: ClusterOf = { ingress: true, tasks: [{ part: 3, node: 1 }] };
  const eth = (name: string, mac: string): Link => ({
    kind: 'link',
    name,
    mac: mac as NonNullable<Link['mac']>,
  });
  test('is nothing before the engine moved the interface in', () => {
    expect(lines(planSandbox(stateOf(1, cluster), [sandboxOf(mynetId, 3)], []))).toEqual([
      'rule 0 lookup local',
    ]);
  });
  test('holds its VIP and calls it through the overlay', () => {
    const planned = planSandbox(
      stateOf(1, cluster),
      [sandboxOf(mynetId, 3)],
      [eth('eth0', '02:42:0a:00:01:03')],
    );
    expect(lines(planned).filter((text) => !text.startsWith('sysctl'))).toEqual([
      'address lo 10.0.1.2/32',
      'route 24099 10.0.1.2/32 dev eth0 src 10.0.1.3',
      'rule 5 to 10.0.1.2/32 iif lo lookup 24099',
      'rule 10 lookup local',
    ]);
  });
  test('answers from its aliases by way of the node they name', () => {
    const planned = planSandbox(
      stateOf(1, cluster),
      [sandboxOf(ingressId, 3)],
      [eth('eth1', '02:42:0a:00:00:03')],
    );
    expect(lines(planned).filter((text) => !text.startsWith('sysctl'))).toEqual([
      'route local 240.0.0.0/4 local dev lo',
      'route 24101 0.0.0.0/0 via 10.0.0.251 dev eth1',
      'route 24100 0.0.0.0/0 via 10.0.0.1 dev eth1',
      'rule 6 from 240.62.192.0/18 lookup 24101',
      'rule 7 from 240.0.0.0/4 lookup 24100',
      'rule 10 lookup local',
    ]);
  });
});

describe('diff', () => {
  const owns = (): boolean => true;
  const vip = (weight: number): KernelObject[] => [
    { kind: 'fdb', device: 'vxlan0', mac: '02:00:00:00:00:01' as never, vtep: '192.0.2.1' as never },
    { kind: 'neighbour', device: 'br0', address: '10.0.1.9' as never, mac: '02:00:00:00:00:01' as never },
    { kind: 'virtualServer', mark: 0x5e000002, scheduler: 'rr' },
    {
      kind: 'realServer',
      mark: 0x5e000002,
      address: '10.0.1.9' as never,
      port: 0,
      method: 'direct',
      weight,
    },
  ];
  const cases: readonly (readonly [
    name: string,
    want: KernelObject[],
    have: KernelObject[],
    ops: string[],
  ])[] = [
    ['nothing to do', vip(1), vip(1), []],
    [
      'reach before balance, whatever order they were planned in',
      vip(1).reverse(),
      [],
      [
        '+ fdb vxlan0 02:00:00:00:00:01 self dst 192.0.2.1',
        '+ neighbour br0 10.0.1.9 02:00:00:00:00:01',
        '+ virtual-server 0x5e000002 rr',
        '+ real-server 0x5e000002 10.0.1.9:0 direct weight 1',
      ],
    ],
    [
      'unbalance before unreach',
      [],
      vip(1),
      [
        '- real-server 0x5e000002 10.0.1.9:0 direct weight 1',
        '- virtual-server 0x5e000002 rr',
        '- neighbour br0 10.0.1.9 02:00:00:00:00:01',
        '- fdb vxlan0 02:00:00:00:00:01 self dst 192.0.2.1',
      ],
    ],
    [
      'draining changes the weight only',
      vip(0),
      vip(1),
      [
        '~ real-server 0x5e000002 10.0.1.9:0 direct weight 0 (was real-server 0x5e000002 10.0.1.9:0 direct weight 1)',
      ],
    ],
  ];
  for (const [name, want, have, expected] of cases)
    test(name, () => expect(diff(want, have, owns).map(opLine)).toEqual(expected));

  test('an attribute that cannot be changed remakes the link, others change it', () => {
    const bridge: Link = { kind: 'link', name: 'br0', type: 'bridge', mtu: 1450 };
    expect(diff([bridge], [{ ...bridge, mtu: 1500 }], owns).map(({ op }) => op)).toEqual(['change']);
    expect(diff([bridge], [{ ...bridge, type: 'other' }], owns).map(({ op }) => op)).toEqual(['remake']);
  });

  test("IPVS's sysctls belong to balancing, so that a kernel without it still gets its overlay", () => {
    const cluster: ClusterOf = { tasks: [{ part: 3, node: 1 }] };
    const planned = planOverlay(stateOf(1, cluster), overlayOf(1, cluster), [], 1450);
    const { reach, balance } = byStage(diff(planned, [], owns));
    expect(reach.map(opLine).filter((text) => /\/vs\/|server|ipset|chain|jump/.test(text))).toEqual([]);
    expect(balance.map(opLine)[0]).toBe('+ sysctl net/ipv4/vs/conntrack = 0');
  });
});

describe('ownership', () => {
  const stranger: readonly KernelObject[] = [
    { kind: 'chain', table: 'filter', name: 'DOCKER-USER', rules: [] },
    { kind: 'chain', table: 'filter', name: 'SKEP-USER', rules: ['-s 192.0.2.0/24 -j DROP'] },
    { kind: 'ipset', name: 'admins', type: 'hash:ip' },
    { kind: 'link', name: 'eth0', type: 'other' },
    { kind: 'address', device: 'eth0', address: '192.168.50.1' as never, prefixLength: 24 },
    {
      kind: 'neighbour',
      device: 'eth0',
      address: '192.168.50.9' as never,
      mac: '02:00:00:00:00:09' as never,
    },
    { kind: 'rule', priority: 77, table: 77, from: null, to: null, iif: null, protocol: 0 },
    { kind: 'virtualServer', mark: 7, scheduler: 'rr' },
    { kind: 'realServer', mark: 7, address: '192.0.2.7' as never, port: 80, method: 'direct', weight: 1 },
  ];
  for (const object of stranger)
    test(`in the host, ${line(object)} is left alone`, () => expect(ownsInHost(object)).toBe(false));

  test("a container's own addresses and rules are left alone, a VIP whose route is ours goes", () => {
    const route: KernelObject = {
      kind: 'route',
      table: 24099,
      type: 'unicast',
      destination: '10.9.9.9/32' as never,
      device: 'eth0',
      via: null,
      source: null,
    };
    const owned = ownsInSandbox([], [route]);
    const address = (text: string): KernelObject => ({
      kind: 'address',
      device: 'lo',
      address: text as never,
      prefixLength: 32,
    });
    expect([owned(address('10.9.9.9')), owned(address('10.9.9.8')), owned(address('127.0.0.1'))]).toEqual([
      true,
      false,
      false,
    ]);
  });

  test('the host keeps nothing of ours without an ingress overlay', () => {
    expect(planHost(stateOf(1, {}), 1450)).toEqual([]);
    expect(planHost(null, 1450)).toEqual([]);
  });

  test("an overlay's namespace is wholly ours but for what the kernel makes", () => {
    expect(ownsInOverlay({ kind: 'link', name: 'lo' })).toBe(false);
    expect(ownsInOverlay({ kind: 'link', name: 'skpdead' })).toBe(true);
  });
});
