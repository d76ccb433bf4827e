/** Planners as tables of readable lines: state in, objects or operations out. */
import assert from 'node:assert';
import { describe, expect, test } from 'vitest';
import type { Op } from '../../../../src/dataplane/plan/diff.js';
import { byStage, diff, opLine } from '../../../../src/dataplane/plan/diff.js';
import type { BalancerPlan } from '../../../../src/dataplane/plan/balancing.js';
import { ebpfPlan } from '../../../../src/dataplane/plan/ebpf.js';
import { ownsInHost, planHost } from '../../../../src/dataplane/plan/ingress.js';
import { ipvsPlan } from '../../../../src/dataplane/plan/ipvs.js';
import type { BalancedFrontend } from '../../../../src/dataplane/plan/load-balancer.js';
import { balancedPorts, balancedVips } from '../../../../src/dataplane/plan/load-balancer.js';
import { planNeighbors } from '../../../../src/dataplane/plan/neighbors.js';
import {
  planHostScope,
  planOps,
  planOverlayScope,
  planSandboxScope,
} from '../../../../src/dataplane/plan/node.js';
import type { KernelObject, Link, RealServer } from '../../../../src/dataplane/plan/objects.js';
import { line } from '../../../../src/dataplane/plan/objects.js';
import { ownsInOverlay, planOverlay } from '../../../../src/dataplane/plan/overlay.js';
import { ownsInSandbox, planSandbox } from '../../../../src/dataplane/plan/sandbox.js';
import type { SandboxEndpoint } from '../../../../src/dataplane/sandbox.js';
import type { Overlay, TargetPort } from '../../../../src/dataplane/state.js';
import type { ServiceId } from '../../../../src/model/ids.js';
import type { Cidr } from '../../../../src/model/addresses.js';
import type { ClusterOf } from './network-state.js';
import { hostOf, ingressId, mynetId, nodeIdOf, programTags, sandboxOf, stateOf } from './network-state.js';

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

const frontendLines = (frontends: readonly BalancedFrontend[]): string[] =>
  frontends.flatMap(({ server, realServers, open }) => [
    ...lines([server, ...realServers]),
    open ? 'open' : 'closed',
  ]);

describe('balancedVips', () => {
  const cases: readonly (readonly [name: string, cluster: ClusterOf, lines: string[]])[] = [
    ['a service without endpoints has no virtual server', {}, []],
    [
      'serving endpoints balance, others drain',
      { tasks: [{ part: 3, node: 1 }, { part: 4, node: 2, serving: false }] }, // prettier-ignore
      [
        'virtual-server 0x5e000002 10.0.1.2 rr',
        'real-server 0x5e000002 10.0.1.3:0 direct weight 1 02:42:0a:00:01:03',
        'real-server 0x5e000002 10.0.1.4:0 direct weight 0 02:42:0a:00:01:04',
        'open',
      ],
    ],
    [
      'nobody serves: no new flow, but the old ones end in peace',
      { tasks: [{ part: 3, node: 1, serving: false }] },
      [
        'virtual-server 0x5e000002 10.0.1.2 rr',
        'real-server 0x5e000002 10.0.1.3:0 direct weight 0 02:42:0a:00:01:03',
        'closed',
      ],
    ],
    [
      'on a silent node: no new flow while somebody else takes them',
      {
        tasks: [
          { part: 3, node: 1 },
          { part: 4, node: 2, silent: true },
        ],
      },
      [
        'virtual-server 0x5e000002 10.0.1.2 rr',
        'real-server 0x5e000002 10.0.1.3:0 direct weight 1 02:42:0a:00:01:03',
        'real-server 0x5e000002 10.0.1.4:0 direct weight 0 02:42:0a:00:01:04',
        'open',
      ],
    ],
    [
      'nobody else takes them: those on silent nodes stay, and who drains does not come back',
      {
        tasks: [
          { part: 3, node: 1, serving: false },
          { part: 4, node: 2, silent: true },
          { part: 5, node: 3, silent: true, serving: false },
        ],
      },
      [
        'virtual-server 0x5e000002 10.0.1.2 rr',
        'real-server 0x5e000002 10.0.1.3:0 direct weight 0 02:42:0a:00:01:03',
        'real-server 0x5e000002 10.0.1.4:0 direct weight 1 02:42:0a:00:01:04',
        'real-server 0x5e000002 10.0.1.5:0 direct weight 0 02:42:0a:00:01:05',
        'open',
      ],
    ],
    [
      'as the labels ask',
      { scheduler: 'mh', affinityS: 60, tasks: [{ part: 3, node: 1, weight: 7 }] },
      [
        'virtual-server 0x5e000002 10.0.1.2 mh affinity 60 s',
        'real-server 0x5e000002 10.0.1.3:0 direct weight 7 02:42:0a:00:01:03',
        'open',
      ],
    ],
  ];
  for (const [name, cluster, expected] of cases)
    test(name, () => expect(frontendLines(balancedVips(overlayOf(1, cluster)))).toEqual(expected));

  test('ingress has none', () => {
    const cluster: ClusterOf = { ingress: true, tasks: [{ part: 3, node: 1 }] };
    const ingress = { ...overlayOf(1, cluster, ingressId), services: overlayOf(1, cluster).services };
    expect(balancedVips(ingress)).toEqual([]);
  });
});

describe('balancedPorts', () => {
  const cluster: ClusterOf = { ingress: true, ports: { 8080: 80 }, tasks: [{ part: 3, node: 2 }] };
  test('aliases name the node that translates', () => {
    for (const [self, alias] of [
      [1, '240.62.192.3'],
      [2, '240.63.0.3'],
    ] as const)
      expect(
        frontendLines(balancedPorts(stateOf(self, cluster), overlayOf(self, cluster, ingressId))),
      ).toEqual([
        'virtual-server 0x5e001f90 tcp 8080 rr',
        `real-server 0x5e001f90 ${alias}:80 translate weight 1 02:42:0a:00:00:03`,
        'open',
      ]);
  });

  const tcp = (publishedPort: number, targetPort: number): TargetPort => ({
    protocol: 'tcp',
    publishedPort,
    targetPort,
  });
  test.each<[name: string, targetPorts: TargetPort[], lines: string[]]>([
    ['of another port', [tcp(8081, 81)], ['240.62.192.3:88 weight 1', '240.62.192.4:88 weight 1']],
    ['of another protocol', [{ ...tcp(8080, 81), protocol: 'udp' }], ['240.62.192.3:88 weight 1', '240.62.192.4:88 weight 1']], // prettier-ignore
    ['that it listens elsewhere', [tcp(8080, 80)], ['240.62.192.3:80 weight 1', '240.62.192.4:88 weight 1']],
    ['that it has not got it', [tcp(8080, 0)], ['240.62.192.4:88 weight 1']],
  ])('a task says of its ports %s', (_, targetPorts, expected) => {
    const tasks = [
      { part: 3, node: 1, targetPorts },
      { part: 4, node: 2 },
    ];
    const state = stateOf(1, { ingress: true, ports: { 8080: 88 }, tasks });
    const found = balancedPorts(state, overlayOf(1, { ingress: true, tasks }, ingressId));
    const shown = found.flatMap(({ realServers }) =>
      realServers.map(({ address, port, weight }) => `${address}:${port} weight ${weight}`),
    );
    expect(shown).toEqual(expected);
  });

  test('a port that no task has is no virtual server', () => {
    const tasks = [{ part: 3, node: 1, targetPorts: [tcp(8080, 0)] }];
    const state = stateOf(1, { ingress: true, ports: { 8080: 88 }, tasks });
    expect(balancedPorts(state, overlayOf(1, { ingress: true, tasks }, ingressId))).toEqual([]);
  });

  test('take scheduler and affinity from the service as ingress knows it', () => {
    const web = { id: 'web' as never, name: 'web', aliases: [], scheduler: 'lc', affinityS: 30 } as const;
    const ingress = { ...overlayOf(1, cluster, ingressId), services: [web] };
    expect(frontendLines(balancedPorts(stateOf(1, cluster), ingress))[0]).toBe(
      'virtual-server 0x5e001f90 tcp 8080 lc affinity 30 s',
    );
  });
});

describe('ipvsPlan', () => {
  const balancing = (objects: readonly KernelObject[]): string[] =>
    lines(objects).filter((text) => /^(virtual-server|real-server|ipset-entry)/.test(text));
  test('a VIP: found by mark, which only packets of a serving one bear', () => {
    const cluster: ClusterOf = { tasks: [{ part: 3, node: 1 }] };
    const planned = ipvsPlan.planOverlay(stateOf(1, cluster), overlayOf(1, cluster), []);
    expect(balancing(planned)).toEqual([
      'virtual-server 0x5e000002 rr',
      'real-server 0x5e000002 10.0.1.3:0 direct weight 1',
      'virtual-server 0x5f000002 rr',
      'real-server 0x5f000002 10.0.1.3:0 direct weight 1',
      'ipset-entry skep-vip 10.0.1.2 0x5e000002',
    ]);
    const closed: ClusterOf = { tasks: [{ part: 3, node: 1, serving: false }] };
    expect(balancing(ipvsPlan.planOverlay(stateOf(1, closed), overlayOf(1, closed), []))).toEqual([
      'virtual-server 0x5e000002 rr',
      'real-server 0x5e000002 10.0.1.3:0 direct weight 0',
      'virtual-server 0x5f000002 rr',
      'real-server 0x5f000002 10.0.1.3:0 direct weight 0',
    ]);
  });
  test('of UDP a task that drains is no real server while others serve', () => {
    const cluster: ClusterOf = {
      ingress: true,
      tasks: [{ part: 3, node: 1 }, { part: 4, node: 2, serving: false }], // prettier-ignore
    };
    expect(balancing(ipvsPlan.planOverlay(stateOf(1, cluster), overlayOf(1, cluster), []))).toEqual([
      'virtual-server 0x5e000002 rr',
      'real-server 0x5e000002 10.0.1.3:0 direct weight 1',
      'real-server 0x5e000002 10.0.1.4:0 direct weight 0',
      'virtual-server 0x5f000002 rr',
      'real-server 0x5f000002 10.0.1.3:0 direct weight 1',
      'ipset-entry skep-vip 10.0.1.2 0x5e000002',
    ]);
    const udp = {
      serviceId: 'web' as ServiceId,
      protocol: 'udp',
      publishedPort: 53,
      targetPort: 53,
    } as const;
    const state = { ...stateOf(1, cluster), publishedPorts: [udp] };
    const planned = ipvsPlan.planHost(state, overlayOf(1, cluster, ingressId), 1450, []);
    expect(balancing(planned)).toEqual([
      'virtual-server 0x5e010035 rr',
      'real-server 0x5e010035 240.62.192.3:53 translate weight 1',
      'ipset-entry skep-udp 53 0x5e010035',
    ]);
  });
  test('of UDP a task on a silent node is no real server while another serves', () => {
    const cluster: ClusterOf = {
      tasks: [
        { part: 3, node: 1 },
        { part: 4, node: 2, silent: true },
      ],
    };
    expect(balancing(ipvsPlan.planOverlay(stateOf(1, cluster), overlayOf(1, cluster), []))).toEqual([
      'virtual-server 0x5e000002 rr',
      'real-server 0x5e000002 10.0.1.3:0 direct weight 1',
      'real-server 0x5e000002 10.0.1.4:0 direct weight 0',
      'virtual-server 0x5f000002 rr',
      'real-server 0x5f000002 10.0.1.3:0 direct weight 1',
      'ipset-entry skep-vip 10.0.1.2 0x5e000002',
    ]);
  });
  test('nothing of IPVS where nothing is balanced', () => {
    expect(ipvsPlan.planOverlay(stateOf(1, {}), overlayOf(1, {}), [])).toEqual([]);
  });
  test('a published port, whatever the host holds', () => {
    const cluster: ClusterOf = { ingress: true, ports: { 8080: 80 }, tasks: [{ part: 3, node: 2 }] };
    const planned = ipvsPlan.planHost(stateOf(1, cluster), overlayOf(1, cluster, ingressId), 1450, []);
    expect(balancing(planned)).toEqual([
      'virtual-server 0x5e001f90 rr',
      'real-server 0x5e001f90 240.62.192.3:80 translate weight 1',
      'ipset-entry skep-tcp 8080 0x5e001f90',
    ]);
  });
  test('replies go to the node of their alias: a rule and a table per peer', () => {
    const cluster: ClusterOf = { ingress: true };
    const planned = lines(ipvsPlan.planOverlay(stateOf(1, cluster), overlayOf(1, cluster, ingressId), []));
    expect(planned.filter((text) => !/^(chain|jump)/.test(text))).toEqual([
      'route 0x5e0000fb 0.0.0.0/0 via 10.0.0.251 dev br0',
      'rule 94 from 240.62.192.0/18 lookup 0x5e0000fb',
      'route 0x5e0000fc 0.0.0.0/0 via 10.0.0.252 dev br0',
      'rule 94 from 240.63.0.0/18 lookup 0x5e0000fc',
      'route main 240.62.192.0/18 via 10.0.0.251 dev br0',
    ]);
  });

  test('a reply of a flow that is known no more does not leave the node, and its copy is answered with a reset', () => {
    const cluster: ClusterOf = { ingress: true };
    const [state, ingress] = [stateOf(1, cluster), overlayOf(1, cluster, ingressId)];
    const about = (objects: readonly KernelObject[]): string[] =>
      lines(objects).filter((text) => /SKEP-FORGOTTEN|-o sk-ingress -j ACCEPT/.test(text));
    expect(about(ipvsPlan.planHost(state, ingress, 1450, []))).toEqual([
      'chain filter SKEP-FORWARD [-j SKEP-USER; -s 240.0.0.0/4 -i sk-ingress -j ACCEPT; ' +
        '-d 240.0.0.0/4 -i sk-ingress -o sk-ingress -j ACCEPT]',
      'chain mangle SKEP-FORGOTTEN [-s 240.0.0.0/4 ! -o sk-ingress -p tcp -j TEE --gateway 169.254.94.94; ' +
        '-s 240.0.0.0/4 ! -o sk-ingress -j DROP]',
      'jump mangle POSTROUTING SKEP-FORGOTTEN first',
    ]);
    expect(about(ipvsPlan.planOverlay(state, ingress, []))).toEqual([
      'chain filter SKEP-FORGOTTEN [-s 240.62.192.0/18 -i br0 -p tcp -j REJECT --reject-with tcp-reset]',
      'jump filter FORWARD SKEP-FORGOTTEN first',
    ]);
  });

  test("calls of 127.0.0.1 go to the mirror and come back as the mirror's, nothing else is tracked there", () => {
    const cluster: ClusterOf = { ingress: true };
    const [state, ingress] = [stateOf(1, cluster), overlayOf(1, cluster, ingressId)];
    const about = (objects: readonly KernelObject[]): string[] =>
      lines(objects)
        .filter((text) => / (nat|raw) |169\.254\.94\.94|route_localnet/.test(text))
        .filter((text) => !text.includes('SKEP-FORGOTTEN'));
    expect(about(ipvsPlan.planOverlay(state, ingress, []))).toEqual([
      'chain raw SKEP-RAW [-s 10.0.0.251/32 -d 169.254.94.94/32 -j ACCEPT; -j CT --notrack]',
      'chain nat SKEP-MIRROR [-s 10.0.0.251/32 -d 169.254.94.94/32 -j DNAT --to-destination 10.0.0.251]',
      'chain nat SKEP-MIRRORED [-s 10.0.0.251/32 -d 10.0.0.251/32 -o br0 -j SNAT --to-source 169.254.94.94]',
      'jump raw PREROUTING SKEP-RAW first',
      'jump nat PREROUTING SKEP-MIRROR first',
      'jump nat POSTROUTING SKEP-MIRRORED first',
    ]);
    const to = '-j DNAT --to-destination 169.254.94.94';
    const set = '-d 127.0.0.0/8 -p';
    expect(about(ipvsPlan.planHost(state, ingress, 1450, hostOf(1)))).toEqual([
      expect.stringContaining('chain filter SKEP-INPUT'),
      'sysctl net/ipv4/conf/sk-ingress/route_localnet = 1',
      'neighbour sk-ingress 169.254.94.94 06:42:0a:00:00:fb',
      'route main 169.254.94.94/32 dev sk-ingress',
      'chain raw SKEP-RAW [-d 127.0.0.0/8 -i sk-ingress -j DROP]',
      `chain nat SKEP-OUTPUT [${set} tcp -m set --match-set skep-tcp dst ${to}; ` +
        `${set} udp -m set --match-set skep-udp dst ${to}; ` +
        `${set} sctp -m set --match-set skep-sctp dst,dst ${to}]`,
      'chain nat SKEP-POSTROUTING [-s 127.0.0.0/8 -o sk-ingress -j SNAT --to-source 10.0.0.251]',
      'jump raw PREROUTING SKEP-RAW first',
      'jump nat OUTPUT SKEP-OUTPUT first',
      'jump nat POSTROUTING SKEP-POSTROUTING first',
    ]);
  });
});

describe('ebpfPlan', () => {
  const plan = ebpfPlan(programTags);
  const cluster: ClusterOf = { ingress: true, ports: { 8080: 80 }, tasks: [{ part: 3, node: 2 }] };
  const planned = (observed: readonly KernelObject[]): string[] =>
    lines(plan.planHost(stateOf(1, cluster), overlayOf(1, cluster, ingressId), 1450, observed));
  const inMaps = (text: string): boolean => !/^(sysctl|chain|jump)/.test(text);
  const withoutHost = [
    'alias-node 251 02:42:0a:00:00:fb',
    'alias-node 252 02:42:0a:00:00:fc',
    'mesh 240.0.0.0/4 own 10.0.0.251 02:42:0a:00:00:fb dev sk-ingress mtu 1450',
    'filter sk-ingress ingress skep_return 0000000000000003',
    'filter lo egress skep_loopback 0000000000000002',
  ];
  const servers = [
    'virtual-server 0x5e001f90 tcp 8080 rr',
    'real-server 0x5e001f90 240.62.192.3:80 translate weight 1 02:42:0a:00:00:03',
  ];

  test('before the host was looked at: what depends on the state alone', () => {
    expect(planned([]).filter(inMaps)).toEqual([...withoutHost, ...servers]);
  });

  test('a program on each device with an address and a MAC; ports answer on all addresses', () => {
    expect(planned(hostOf(1)).filter(inMaps)).toEqual([
      ...withoutHost.slice(0, 3),
      'local-address 192.168.50.1',
      'local-address 172.17.0.1',
      'local-address 198.51.100.7',
      'local-address 10.8.0.1',
      ...withoutHost.slice(3),
      'filter eth0 ingress skep_uplink 0000000000000001',
      'filter docker0 ingress skep_uplink 0000000000000001',
      ...servers,
    ]);
  });

  test("the host's road is taken while the administrator has rules of his own", () => {
    const chain = (rules: string[]): KernelObject => ({
      kind: 'chain',
      family: 4,
      table: 'filter',
      name: 'SKEP-USER',
      rules,
    });
    const through = (observed: KernelObject[]): boolean =>
      planned(observed).some((text) => text.endsWith('through chains'));
    expect([through([chain([])]), through([chain(['-s 192.0.2.0/24 -j DROP'])])]).toEqual([false, true]);
  });

  test('leaves replies to a task of this node and VIPs to the ports they come through', () => {
    const state = stateOf(1, { ingress: true, tasks: [{ part: 3, node: 1 }] });
    const at = (id: typeof ingressId): string[] => {
      const overlay = state.overlays.find((one) => one.id === id);
      return overlay ? lines(plan.planOverlay(state, overlay, [sandboxOf(id, 3)])) : [];
    };
    expect(at(ingressId)).toEqual(['filter skpe000000003 ingress skep_alias 0000000000000005']);
    expect(at(mynetId)).toEqual([
      'filter skpa000000003 ingress skep_vip 0000000000000004 class 4097',
      'virtual-server 0x5e000002 10.0.1.2 rr',
      'real-server 0x5e000002 10.0.1.3:0 direct weight 1 02:42:0a:00:01:03',
    ]);
  });

  test('no ipset, no mangle chain, no rule per peer', () => {
    const ingress = plan.planOverlay(stateOf(1, cluster), overlayOf(1, cluster, ingressId), []);
    expect([...planned(hostOf(1)), ...lines(ingress)].filter((text) => /ipset|mangle|^rule|^route/.test(text))).toEqual([]); // prettier-ignore
  });

  test('what programs read comes before what they attach to, and goes after it', () => {
    const objects = plan.planHost(stateOf(1, cluster), overlayOf(1, cluster, ingressId), 1450, hostOf(1));
    const kinds = (ops: readonly Op[]): string[] => [
      ...new Set(ops.map(({ object }) => object.kind).filter((kind) => !/sysctl|chain|jump/.test(kind))),
    ];
    const order = ['aliasNode', 'mesh', 'localAddress', 'filter', 'virtualServer', 'realServer'];
    expect(kinds(diff(objects, [], ownsInHost))).toEqual(order);
    expect(kinds(diff([], objects, ownsInHost))).toEqual([...order].reverse());
    // Other nodes may send requests as soon as they please: their replies must know the way first.
    expect(byStage(diff(objects, [], ownsInHost)).reach.map(({ object }) => object.kind)).toContain('aliasNode'); // prettier-ignore
  });

  test('a filter of an older program is replaced in place', () => {
    const [now] = plan.planOverlay(stateOf(1, {}), overlayOf(1, {}), [sandboxOf(mynetId, 3)]);
    if (now?.kind !== 'filter') throw new Error('no filter');
    const older = { ...now, tag: 'ffffffffffffffff' };
    expect(diff([now], [older], () => true).map(({ op }) => op)).toEqual(['change']);
  });
});

describe('the MTU of an overlay', () => {
  const mtus = (objects: readonly KernelObject[]): string[] =>
    objects.flatMap((object) =>
      object.kind === 'link' && object.mtu !== undefined
        ? [`${object.name} ${object.mtu}${object.peer ? ` ${object.peer.mtu}` : ''}`]
        : [],
    );
  const cases: readonly (readonly [
    name: string,
    underlay: number,
    change: { underlayMtuBytes?: number; vtep?: string },
    mtu: number,
  ])[] = [
    ['Ethernet', 1500, {}, 1450],
    ['jumbo frames', 9000, {}, 8950],
    ['the option names the underlay’s', 9000, { underlayMtuBytes: 1300 }, 1250],
    ['larger than the device’s, if the user says so', 1500, { underlayMtuBytes: 9000 }, 8950],
    ['VXLAN over IPv6', 1500, { vtep: 'fd00::1' }, 1430],
  ];
  test.each(cases)('%s', (_, underlay, { underlayMtuBytes, vtep }, mtu) => {
    const cluster: ClusterOf = {
      ingress: true,
      tasks: [{ part: 3, node: 1 }],
      ...(underlayMtuBytes === undefined ? {} : { underlayMtuBytes }),
    };
    const base = stateOf(1, cluster);
    const state = { ...base, vtep: (vtep ?? base.vtep) as typeof base.vtep };
    const sandboxes = [sandboxOf(mynetId, 3), sandboxOf(ingressId, 3)];
    for (const overlay of state.overlays) {
      const { objects } = planOverlayScope({ state, sandboxes }, overlay, underlay, ipvsPlan);
      const port = overlay.ingress ? 'skpe000000003' : 'skpa000000003';
      expect(mtus(objects)).toEqual([
        `br0 ${mtu}`,
        `vxlan0 ${mtu}`,
        `${port} ${mtu} ${mtu}`,
        ...(overlay.ingress ? [`host0 ${mtu} ${mtu}`] : []),
      ]);
    }
    expect(mtus(planHostScope(state, underlay, ipvsPlan, []).objects)).toEqual([`sk-ingress ${mtu}`]);
    const inside: Link[] = [
      { kind: 'link', name: 'eth0', mac: sandboxOf(mynetId, 3).mac, mtu: 1500 },
      { kind: 'link', name: 'eth1', mac: '02:42:ac:11:00:02' as never, mtu: 1500 },
      { kind: 'link', name: 'eth2', mac: sandboxOf(ingressId, 3).mac, mtu: 1500 },
    ];
    const plan = planSandboxScope(state, '/x', sandboxes, inside, underlay);
    expect(mtus(plan.objects)).toEqual([`eth0 ${mtu}`, `eth2 ${mtu}`]);
    expect(planOps(plan, inside).filter(({ object }) => object.kind === 'link').length).toBe(2);
    // The engine's own leg is none of ours, and a node that left has no legs.
    expect(mtus(planSandboxScope(null, '/x', sandboxes, inside, underlay).objects)).toEqual([]);
  });
});

describe('where published ports listen', () => {
  const cluster: ClusterOf = { ingress: true, ports: { 8080: 80 }, tasks: [{ part: 3, node: 2 }] };
  const ofHost = (plan: BalancerPlan, limits: ClusterOf['limits'] = {}): string[] =>
    lines(
      plan.planHost(stateOf(1, { ...cluster, limits }), overlayOf(1, cluster, ingressId), 1450, hostOf(1)),
    ).filter((text) => /listener|^virtual-server|ipset|SKEP-INGRESS/.test(text));
  const everywhere = {
    ipvs: ofHost(ipvsPlan),
    ebpf: ofHost(ebpfPlan(programTags)),
  };
  /** What is there in one case and not in another; ipvs's chain without the rules that are always there. */
  const added = (engine: 'ipvs' | 'ebpf', limits: ClusterOf['limits']): string[] =>
    ofHost(engine === 'ipvs' ? ipvsPlan : ebpfPlan(programTags), limits)
      .filter((text) => !everywhere[engine].includes(text))
      .map((text) =>
        text.replace(/^(chain mangle SKEP-INGRESS) .*skep-sctp dst,dst --map-mark(; )?/, '$1 [… '),
      );

  const map = '-m addrtype --dst-type LOCAL -j SET --map-set';
  const mirrored = '-s 169.254.94.94/32 -i sk-ingress -j SET --map-set skep-loopback dst,dst --map-mark';
  test.each<[name: string, limits: ClusterOf['limits'], ipvs: string[], ebpf: string[]]>([
    ['everywhere', {}, [], []],
    [
      'on an address',
      { cidrs: ['198.51.100.7/32' as Cidr] },
      [
        'ipset skep-addresses hash:net,port',
        'ipset skep-loopback hash:net,port',
        `chain mangle SKEP-INGRESS [… ${map} skep-addresses dst,dst --map-mark; ${mirrored}]`,
        'ipset-entry skep-addresses 198.51.100.7,tcp:8080 0x5e001f90',
      ],
      [
        'listener 0x5e001f90 dev any address 198.51.100.7',
        'virtual-server 0x5e001f90 tcp 8080 limited by address rr',
      ],
    ],
    [
      'on networks, one of which is all there is: loopback is among them',
      { cidrs: ['0.0.0.0/0' as Cidr] },
      [
        'ipset skep-addresses hash:net,port',
        'ipset skep-loopback hash:net,port',
        `chain mangle SKEP-INGRESS [… ${map} skep-addresses dst,dst --map-mark; ${mirrored}]`,
        'ipset-entry skep-addresses 0.0.0.0/1,tcp:8080 0x5e001f90',
        'ipset-entry skep-addresses 128.0.0.0/1,tcp:8080 0x5e001f90',
        'ipset-entry skep-addresses 127.0.0.0/8,tcp:8080 0x5e001f90',
        'ipset-entry skep-loopback 10.0.0.251,tcp:8080 0x5e001f90',
      ],
      [
        'listener 0x5e001f90 dev any address 192.168.50.1',
        'listener 0x5e001f90 dev any address 172.17.0.1',
        'listener 0x5e001f90 dev any address 198.51.100.7',
        'listener 0x5e001f90 dev any address 10.8.0.1',
        'listener 0x5e001f90 dev any address 127.0.0.0',
        'virtual-server 0x5e001f90 tcp 8080 limited by address rr',
      ],
    ],
    [
      'by devices, one of which is not there',
      { interfaces: ['lo', 'absent', 'eth0'] },
      [
        'ipset skep-if-absent hash:net,port',
        'ipset skep-if-eth0 hash:net,port',
        'ipset skep-if-lo hash:net,port',
        'ipset skep-loopback hash:net,port',
        `chain mangle SKEP-INGRESS [… -i absent ${map} skep-if-absent dst,dst --map-mark; ` +
          `-i eth0 ${map} skep-if-eth0 dst,dst --map-mark; -o lo ${map} skep-if-lo dst,dst --map-mark; ${mirrored}]`,
        ...['lo', 'absent', 'eth0'].flatMap((device) =>
          ['0.0.0.0/1', '128.0.0.0/1'].map(
            (network) => `ipset-entry skep-if-${device} ${network},tcp:8080 0x5e001f90`,
          ),
        ),
        'ipset-entry skep-loopback 10.0.0.251,tcp:8080 0x5e001f90',
      ],
      [
        'listener 0x5e001f90 dev lo address any',
        'listener 0x5e001f90 dev eth0 address any',
        'virtual-server 0x5e001f90 tcp 8080 limited by device rr',
      ],
    ],
    [
      'by a device and on a network',
      { interfaces: ['eth0'], cidrs: ['192.168.0.0/16' as Cidr] },
      [
        'ipset skep-if-eth0 hash:net,port',
        'ipset skep-loopback hash:net,port',
        `chain mangle SKEP-INGRESS [… -i eth0 ${map} skep-if-eth0 dst,dst --map-mark; ${mirrored}]`,
        'ipset-entry skep-if-eth0 192.168.0.0/16,tcp:8080 0x5e001f90',
      ],
      [
        'listener 0x5e001f90 dev eth0 address 192.168.50.1',
        'virtual-server 0x5e001f90 tcp 8080 limited by both rr',
      ],
    ],
  ])('%s', (_, limits, ipvs, ebpf) => {
    expect(added('ipvs', limits)).toEqual(ipvs);
    expect(added('ebpf', limits)).toEqual(ebpf);
  });

  test('the number of rules does not grow with the ports that are limited alike', () => {
    const many = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [20_000 + i, 80]));
    const limits = { interfaces: ['eth0'] };
    const rules = (ports: ClusterOf['ports'] = {}): (KernelObject | string)[] =>
      ipvsPlan
        .planHost(
          stateOf(1, { ...cluster, ports, limits }),
          overlayOf(1, cluster, ingressId),
          1450,
          hostOf(1),
        )
        .flatMap((object) => (object.kind === 'chain' ? (object.rules ?? []) : []));
    expect(rules(many)).toEqual(rules(cluster.ports));
  });
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
  test('has its questions of names led here, at most so many a second, once somebody answers them', () => {
    const ask = (endpoints: SandboxEndpoint[], namesAnswered: boolean): string[] =>
      lines(
        planSandbox(
          stateOf(1, cluster),
          endpoints,
          [eth('eth0', '02:42:0a:00:01:03'), eth('eth1', '02:42:0a:00:00:03')],
          namesAnswered,
        ),
      ).filter((text) => /^(chain|jump)/.test(text));
    expect(ask([sandboxOf(mynetId, 3), sandboxOf(ingressId, 3)], true)).toEqual([
      'chain raw SKEP-ASK [-d 127.0.0.11/32 -p udp -m udp --dport 53 -j SKEP-RATE; ' +
        '-d 127.0.0.94/32 -p udp -m udp --dport 94 -j SKEP-RATE; ' +
        '-d 10.0.1.251/32 -p udp -m udp --dport 53 -j SKEP-RATE; ' +
        '-d 10.0.0.251/32 -p udp -m udp --dport 53 -j SKEP-RATE]',
      `chain raw SKEP-RATE [${'-m limit --limit 10000/sec --limit-burst 1000 -j RETURN; '.repeat(10)}-j DROP]`,
      'jump raw OUTPUT SKEP-ASK first',
      'chain nat SKEP-NAMES [' +
        '-d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.94:94; ' +
        '-d 127.0.0.11/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 127.0.0.94:94]',
      'jump nat OUTPUT SKEP-NAMES first',
    ]);
    expect(ask([sandboxOf(mynetId, 3)], false)).toEqual([]);
    expect(ask([], true)).toEqual([]);
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

  test('costs a container the same, however many nodes take part', () => {
    const planned = (nodes: number[]): string[] => {
      const tasks = nodes.map((node, index) => ({ part: 3 + index, node }));
      const state = stateOf(1, { ingress: true, nodes, tasks });
      const udp = {
        serviceId: 'web' as ServiceId,
        protocol: 'udp',
        publishedPort: 53,
        targetPort: 53,
      } as const;
      const links = [eth('eth0', '02:42:0a:00:01:03'), eth('eth1', '02:42:0a:00:00:03')];
      const endpoints = [sandboxOf(mynetId, 3, '/x'), sandboxOf(ingressId, 3, '/x')];
      const plan = planSandboxScope({ ...state, publishedPorts: [udp] }, '/x', endpoints, links, 1450);
      return lines(plan.objects);
    };
    expect(planned([1, 2]).length).toBeGreaterThan(10);
    expect(planned([1, 2, 3, 4, 5])).toEqual(planned([1, 2]));
  });
  test('a container that was made before it knew of the overlay: its questions go to the overlay’s DNS', () => {
    const [first, ...others] = stateOf(1, cluster).overlays.filter(({ id }) => id === mynetId);
    assert(first);
    const endpoints = first.endpoints.map((endpoint) => ({
      ...endpoint,
      serviceId: '' as never,
      nameservers: ['9.9.9.9' as never, '1.1.1.1' as never],
    }));
    const state = { ...stateOf(1, cluster), overlays: [{ ...first, endpoints }, ...others] };
    const found = [eth('eth1', '02:42:0a:00:01:03')];
    const planned = planSandbox(state, [sandboxOf(mynetId, 3)], found);
    expect(lines(planned)).toEqual([
      'rule 0 lookup local',
      expect.stringMatching(/^chain nat SKEP-DNS /),
      expect.stringMatching(/^chain nat SKEP-DNS-SOURCE /),
      'jump nat OUTPUT SKEP-DNS first',
      'jump nat POSTROUTING SKEP-DNS-SOURCE first',
    ]);
    expect(planned.flatMap((object) => (object.kind === 'chain' ? (object.rules ?? []) : []))).toEqual([
      '-d 9.9.9.9/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.0.1.251',
      '-d 9.9.9.9/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 10.0.1.251',
      '-d 1.1.1.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.0.1.251',
      '-d 1.1.1.1/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 10.0.1.251',
      '-d 10.0.1.251/32 -p udp -m udp --dport 53 -j SNAT --to-source 10.0.1.3',
      '-d 10.0.1.251/32 -p tcp -m tcp --dport 53 -j SNAT --to-source 10.0.1.3',
    ]);
    const owns = ownsInSandbox([first], found, planned);
    expect(diff(planned, [...found, ...planned], owns)).toEqual([]);
  });

  const address = (device: string, text: string, wayOut = false): KernelObject => ({
    kind: 'address',
    device,
    address: text as never,
    prefixLength: 24,
    ...(wayOut ? { wayOut } : {}),
  });
  const legs = [sandboxOf(ingressId, 3), sandboxOf(mynetId, 3)];
  const found = [eth('eth0', '02:42:0a:00:01:03'), eth('eth2', '02:42:0a:00:00:03')];
  const udp = { serviceId: 'web' as never, protocol: 'udp', publishedPort: 53, targetPort: 53 } as const;
  const meshReplies = (change: object, observed: KernelObject[]): string[] => {
    const planned = planSandbox({ ...stateOf(1, cluster), ...change }, legs, [...found, ...observed]);
    return lines(planned).filter((text) => /mark|SKEP|conntrack/.test(text));
  };
  test.each<[name: string, change: object]>([
    ['nothing published', {}],
    ['TCP only', { publishedPorts: [{ ...udp, protocol: 'tcp' }] }],
    ['another service’s UDP', { publishedPorts: [{ ...udp, serviceId: 'other' }] }],
  ])('%s: no chains', (_, change) => {
    expect(meshReplies(change, [address('eth1', '172.18.0.3', true)])).toEqual([]);
  });
  test('UDP and SCTP to an alias are translated to the address that will answer, and replies told by their connection', () => {
    const change = { publishedPorts: [udp] };
    const observed = [address('eth0', '10.0.1.3'), address('eth1', '172.18.0.3', true)];
    expect(meshReplies(change, observed)).toEqual([
      'sysctl net/netfilter/nf_conntrack_udp_timeout_stream = 300',
      'rule 6 mark 0x5e000001 lookup 24101',
      'rule 7 mark 0x5e000002 lookup 24100',
      'chain mangle SKEP-REQUEST [-d 240.0.0.0/4 -p udp -j CONNMARK --set-xmark 0x5e000002/0xffffffff; ' +
        '-d 240.62.192.0/18 -p udp -j CONNMARK --set-xmark 0x5e000001/0xffffffff]',
      'chain mangle SKEP-REPLY [-m connmark --mark 0x5e000000/0xff000000 -j CONNMARK --restore-mark ' +
        '--nfmask 0xffffffff --ctmask 0xffffffff]',
      'chain nat SKEP-ALIAS [-s 10.0.0.0/24 -d 240.0.0.0/4 -p udp -j DNAT --to-destination 10.0.0.3; ' +
        '-s 10.0.1.0/24 -d 240.0.0.0/4 -p udp -j DNAT --to-destination 10.0.1.3; ' +
        '-d 240.0.0.0/4 -p udp -j DNAT --to-destination 172.18.0.3]',
      'jump mangle PREROUTING SKEP-REQUEST first',
      'jump mangle OUTPUT SKEP-REPLY first',
      'jump nat PREROUTING SKEP-ALIAS first',
    ]);
    const both = { publishedPorts: [udp, { ...udp, protocol: 'sctp' }] };
    expect(meshReplies(both, observed)).toEqual(
      expect.arrayContaining([
        'sysctl net/netfilter/nf_conntrack_sctp_timeout_established = 432000',
        expect.stringMatching(/SKEP-REQUEST .* -p sctp .*; -d 240\.62\.192\.0\/18 -p sctp .*0x5e000001/),
        expect.stringMatching(/SKEP-ALIAS .*-s 10\.0\.1\.0\/24 -d 240\.0\.0\.0\/4 -p sctp -j DNAT/),
      ]),
    );
    expect(meshReplies(change, []).join()).toContain(
      '-d 240.0.0.0/4 -p udp -j DNAT --to-destination 10.0.0.3]',
    );
  });
});

describe('diff', () => {
  const owns = (): boolean => true;
  const vip = (weight: number): KernelObject[] => [
    { kind: 'fdb', device: 'vxlan0', mac: '02:00:00:00:00:01' as never, vtep: '192.0.2.1' as never },
    { kind: 'neighbour', device: 'br0', address: '10.0.1.9' as never, mac: '02:00:00:00:00:01' as never },
    { kind: 'virtualServer', family: 4, mark: 0x5e000002, scheduler: 'rr', affinityS: null },
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

  test('one task takes over from another: never is there nobody who takes new flows', () => {
    const real = (address: string, weight: number): RealServer => ({
      kind: 'realServer',
      mark: 0x5e000002,
      address: address as never,
      port: 0,
      method: 'direct',
      weight,
    });
    const of = (first: number, second: number): RealServer[] => [
      real('10.0.1.8', first),
      real('10.0.1.9', second),
    ];
    for (const [want, have] of [
      [of(0, 1), of(1, 0)],
      [of(1, 0), of(0, 1)],
    ] as const)
      expect(diff(want, have, owns).map(({ object }) => (object as RealServer).weight)).toEqual([1, 0]);
  });

  test('an attribute that cannot be changed remakes the link, others change it', () => {
    const bridge: Link = { kind: 'link', name: 'br0', type: 'bridge', mtu: 1450 };
    expect(diff([bridge], [{ ...bridge, mtu: 1500 }], owns).map(({ op }) => op)).toEqual(['change']);
    expect(diff([bridge], [{ ...bridge, type: 'other' }], owns).map(({ op }) => op)).toEqual(['remake']);
  });

  test("IPVS's sysctls belong to balancing, so that a kernel without it still gets its overlay", () => {
    const cluster: ClusterOf = { tasks: [{ part: 3, node: 1 }] };
    const planned = planOverlay(stateOf(1, cluster), overlayOf(1, cluster), [], 1450, ipvsPlan);
    const { reach, balance } = byStage(diff(planned, [], owns));
    expect(reach.map(opLine).filter((text) => /\/vs\/|server|ipset|chain|jump/.test(text))).toEqual([]);
    expect(balance.map(opLine)[0]).toBe('+ sysctl net/ipv4/vs/conntrack = 0');
  });
});

describe('ownership', () => {
  const stranger: readonly KernelObject[] = [
    { kind: 'chain', family: 4, table: 'filter', name: 'DOCKER-USER', rules: [] },
    { kind: 'chain', family: 4, table: 'filter', name: 'SKEP-USER', rules: ['-s 192.0.2.0/24 -j DROP'] },
    { kind: 'ipset', name: 'admins', type: 'hash:ip' },
    { kind: 'link', name: 'eth0', type: 'other' },
    { kind: 'address', device: 'eth0', address: '192.168.50.1' as never, prefixLength: 24 },
    {
      kind: 'neighbour',
      device: 'eth0',
      address: '192.168.50.9' as never,
      mac: '02:00:00:00:00:09' as never,
    },
    { kind: 'rule', family: 4, priority: 77, table: 77, from: null, to: null, iif: null, protocol: 0 },
    { kind: 'virtualServer', family: 4, mark: 7, scheduler: 'rr', affinityS: null },
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
    const owned = ownsInSandbox([], [route], []);
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
    for (const plan of [ipvsPlan, ebpfPlan(programTags)]) {
      expect(planHost(stateOf(1, {}), 1450, plan, hostOf(1))).toEqual([]);
      expect(planHost(null, 1450, plan, hostOf(1))).toEqual([]);
    }
  });

  test("an overlay's namespace is wholly ours but for what the kernel makes", () => {
    expect(ownsInOverlay({ kind: 'link', name: 'lo' })).toBe(false);
    expect(ownsInOverlay({ kind: 'link', name: 'skpdead' })).toBe(true);
  });
});
