/** What `skep trace` is told: frontends, hops and counters of one service, joined by mark and address. */
import assert from 'node:assert';
import { test } from 'vitest';
import type { Cidr, Ip } from '../../../src/model/addresses.js';
import type {
  BalancedFlow,
  RealServerCounters,
  VirtualServerCounters,
} from '../../../src/dataplane/balancer/engine.js';
import { publishedPortMark, vipMark } from '../../../src/dataplane/state.js';
import { serviceFrontends, traceClient, traceService } from '../../../src/dataplane/trace.js';
import type { PublishedPort } from '../../../src/dataplane/state.js';
import type { CountersByScope, TraceCaller, TraceFindings } from '../../../src/dataplane/trace.js';
import type { Difference } from '../../../src/dataplane/difference.js';
import type { TaskOf } from './plan/network-state.js';
import {
  ingressMac,
  mynetAddress,
  mynetMac,
  mynetVni,
  nodeIdOf,
  stateOf,
  vtepOf,
} from './plan/network-state.js';

const state = stateOf(1, {
  ingress: true,
  ports: { 8080: 80, 9090: 90 },
  vips: { web: 2, other: 9 },
  tasks: [
    { part: 3, node: 1 },
    { part: 4, node: 2, serving: false },
    { part: 7, node: 2, service: 'other' },
  ],
});

const zero = {
  connections: 0n,
  packets: 0n,
  bytes: 0n,
  replyPackets: 0n,
  replyBytes: 0n,
  drops: {},
  activeFlows: 0,
};
const realServer = (address: string, port: number, connections: bigint): RealServerCounters => ({
  ...zero,
  address: address as Ip,
  port,
  connections,
});
const virtualServer = (
  mark: number,
  connections: bigint,
  realServers: readonly RealServerCounters[],
): VirtualServerCounters => ({
  ...zero,
  family: 4,
  mark,
  frontend: null,
  connections,
  drops: { fragment: 2n },
  realServers,
});

const found = (some: Partial<TraceFindings>): TraceFindings => ({
  counters: new Map(),
  flows: new Map(),
  waiting: new Map(),
  differences: [],
  devices: [
    { name: 'lo', addresses: ['127.0.0.1' as Ip] },
    { name: 'eth0', addresses: ['192.168.50.1' as Ip] },
  ],
  sandboxes: new Map([
    [mynetMac(3), '/run/netns/c3'],
    [ingressMac(3), '/run/netns/c3'],
  ]),
  ...some,
});
/** All that is asked for is balanced in the kernel. */
const balanced: CountersByScope = new Map([
  [null, [8080, 9090].map((port) => virtualServer(publishedPortMark('tcp', port), 0n, []))],
  [mynetVni, [virtualServer(vipMark(state.overlays[1]!, mynetAddress(2)), 0n, [])]],
]);

test('a task on a silent node says so, and where flows go there still', () => {
  const hopsOf = (serving: boolean): (readonly [string, number, boolean, readonly string[]])[] => {
    const silenced = stateOf(1, {
      ingress: true,
      ports: { 8080: 80 },
      tasks: [
        { part: 3, node: 1, serving },
        { part: 4, node: 2, silent: true },
      ],
    });
    const { paths } = traceService(
      silenced,
      serviceFrontends(silenced, '8080'),
      found({ counters: balanced }),
    );
    return (paths[0]?.hops ?? []).map(({ task, weight, isSilent, stops }) => [task, weight, isSilent, stops]);
  };
  assert.deepEqual(hopsOf(true), [
    ['web.3.task3', 1, false, []],
    ['web.4.task4', 0, true, ['node node2 does not answer this one']],
  ]);
  const stillThere =
    'node node2 does not answer this one; new flows still go there, as nobody else takes them';
  assert.deepEqual(hopsOf(false), [
    ['web.3.task3', 0, false, []],
    ['web.4.task4', 1, true, [stillThere]],
  ]);
});

test('published ports and VIPs of one service, each with its tasks and what they counted', () => {
  const counters: CountersByScope = new Map([
    [
      null,
      [
        virtualServer(publishedPortMark('tcp', 8080), 5n, [
          realServer('240.62.192.3', 80, 4n),
          realServer('240.62.192.4', 80, 1n),
        ]),
      ],
    ],
    [
      mynetVni,
      [virtualServer(vipMark(state.overlays[1]!, mynetAddress(2)), 7n, [realServer('10.0.1.4', 0, 7n)])],
    ],
  ]);
  const { serviceId, name, paths } = traceService(state, serviceFrontends(state, 'web'), found({ counters }));
  assert.deepEqual({ serviceId, name }, { serviceId: 'web', name: 'web' });
  assert.deepEqual(
    paths.map(({ frontend, overlay, open, counters: { connections, drops }, hops }) => ({
      frontend,
      overlay,
      open,
      connections,
      drops,
      hops: hops.map((hop) => [hop.task, hop.alias, hop.vtep, hop.weight, hop.counters.connections]),
    })),
    [
      {
        frontend: 'tcp/8080',
        overlay: 'ingress',
        open: true,
        connections: 5,
        drops: { fragment: 2 },
        hops: [
          ['web.3.task3', '240.62.192.3:80', '', 1, 4],
          ['web.4.task4', '240.62.192.4:80', vtepOf(2), 0, 1],
        ],
      },
      {
        frontend: 'tcp/9090',
        overlay: 'ingress',
        open: true,
        connections: 0,
        drops: {},
        hops: [
          ['web.3.task3', '240.62.192.3:90', '', 1, 0],
          ['web.4.task4', '240.62.192.4:90', vtepOf(2), 0, 0],
        ],
      },
      {
        frontend: '10.0.1.2',
        overlay: 'mynet',
        open: true,
        connections: 7,
        drops: { fragment: 2 },
        hops: [
          ['web.3.task3', '', '', 1, 0],
          ['web.4.task4', '', vtepOf(2), 0, 7],
        ],
      },
    ],
  );
});

test.each([
  ['8080', 'web'],
  ['other', 'other'],
])('%s names service %s', (wanted, id) => {
  assert.equal(serviceFrontends(state, wanted).serviceId, id);
});

test('a service that this node does not know is refused', () => {
  assert.throws(() => serviceFrontends(state, 'nothing'), { name: 'SkepError', kind: 'notFound' });
});

test.each([
  ['8080', ['tcp/8080']],
  ['8080/tcp', ['tcp/8080']],
  ['tcp/9090', ['tcp/9090']],
  ['web', ['tcp/8080', 'tcp/9090', '10.0.1.2']],
])('of %s these ways are shown', (wanted, frontends) => {
  const paths = traceService(state, serviceFrontends(state, wanted), found({})).paths;
  assert.deepEqual(
    paths.map(({ frontend }) => frontend),
    frontends,
  );
});

/** A call of port 8080 that waits. */
const callOf = (some: Partial<BalancedFlow>): BalancedFlow => ({
  protocol: 'tcp',
  client: '192.0.2.7' as Ip,
  clientPort: 40_000,
  destination: '192.168.50.1' as Ip,
  destinationPort: 8080,
  realServer: '240.62.192.4' as Ip,
  realServerPort: 80,
  state: 'opening',
  expiresS: 60,
  ...some,
});

const difference = (scope: string, object: string): Difference => ({ scope, op: 'add', object });
/** What is said of a port and of its tasks on node 1 and on node 2. */
const stops = (some: Partial<TraceFindings>): [string[], string[], string[]] => {
  const [path] = traceService(
    state,
    serviceFrontends(state, '8080'),
    found({ counters: balanced, ...some }),
  ).paths;
  return [[...path!.stops], [...path!.hops[0]!.stops], [...path!.hops[1]!.stops]];
};

test('it stops nowhere where nothing is wrong', () => {
  assert.deepEqual(stops({}), [[], [], []]);
});

test.each<[string, Partial<TraceFindings>, [number, number, number]]>([
  ['the kernel does not balance it', { counters: new Map() }, [1, 0, 0]],
  [
    'its virtual server is wrong',
    { differences: [difference('host', 'virtual-server 0x5e001f90 tcp 8080 rr')] },
    [1, 0, 0],
  ],
  [
    'another’s virtual server is',
    { differences: [difference('host', 'virtual-server 0x5e001f91 tcp 8081 rr')] },
    [0, 0, 0],
  ],
  [
    'the pair to ingress is down',
    { differences: [difference('host', 'link sk-ingress veth up')] },
    [1, 0, 0],
  ],
  [
    'one alias has no route',
    { differences: [difference('host', 'route main 240.62.192.4/32 via 10.0.0.4 dev sk-ingress')] },
    [0, 0, 1],
  ],
  [
    'a MAC has no tunnel',
    { differences: [difference('overlay 4096', 'fdb vxlan0 02:42:0a:00:00:04 self dst 192.168.50.2')] },
    [0, 0, 1],
  ],
  [
    'the tunnel’s device is gone',
    { differences: [difference('overlay 4096', 'link vxlan0 vxlan vni 4096')] },
    [0, 1, 1],
  ],
  [
    'in another overlay',
    { differences: [difference('overlay 4097', 'link vxlan0 vxlan vni 4097')] },
    [0, 0, 0],
  ],
  [
    'inside the container',
    { differences: [difference('sandbox /run/netns/c3', 'rule 6 from 240.62.192.0/18')] },
    [0, 1, 0],
  ],
  [
    'inside another',
    { differences: [difference('sandbox /run/netns/c5', 'rule 6 from 240.62.192.0/18')] },
    [0, 0, 0],
  ],
  ['no container has the address', { sandboxes: new Map() }, [0, 1, 0]],
  [
    'no reply comes back',
    {
      counters: new Map([
        [
          null,
          [
            virtualServer(publishedPortMark('tcp', 8080), 1n, [
              { ...realServer('240.62.192.4', 80, 1n), packets: 3n },
            ]),
          ],
        ],
      ]),
    },
    [0, 0, 1],
  ],
  [
    'calls wait for an answer',
    {
      waiting: new Map([
        [
          null,
          [
            callOf({ realServer: '240.62.192.4' as Ip }),
            // Of other frontends.
            callOf({ realServer: '240.62.192.3' as Ip, destinationPort: 9090 }),
            callOf({ realServer: '240.62.192.3' as Ip, protocol: 'udp' }),
          ],
        ],
        [mynetVni, [callOf({ realServer: mynetAddress(3) })]],
      ]),
    },
    [0, 0, 1],
  ],
])('where it stops: %s', (_what, some, counts) => {
  assert.deepEqual(
    stops(some).map(({ length }) => length),
    counts,
  );
});

test('a client’s flows, and why others of its calls do not come by here', () => {
  const flow = {
    protocol: 'tcp',
    client: mynetAddress(7),
    clientPort: 40_000,
    destination: mynetAddress(2),
    destinationPort: 80,
    realServer: mynetAddress(4),
    realServerPort: 80,
    state: 'established',
    expiresS: 60,
  } as const;
  const flows = new Map([
    [mynetVni, [flow, { ...flow, client: mynetAddress(8) }, { ...flow, destination: mynetAddress(9) }]],
  ]);
  const trace = (from: string): ReturnType<typeof traceService> =>
    traceService(state, serviceFrontends(state, 'web'), found({ counters: balanced, flows }), {
      ...traceClient(state, from),
      hostAddresses: [],
      device: null,
    });
  const vip = (from: string) => trace(from).paths.find(({ overlay }) => overlay === 'mynet')!;

  assert.deepEqual(trace('other.7.task7').clients, [mynetAddress(7)]);
  assert.deepEqual(
    vip('10.0.1.7').flows.map(({ task, destinationPort }) => [task, destinationPort]),
    [['web.4.task4', 80]],
  );
  assert.deepEqual(vip('10.0.1.7').stops, [
    `the client is on node ${nodeIdOf(2)}, where its calls are balanced`,
  ]);
  assert.deepEqual(vip('web.3.task3').stops, []);
  assert.deepEqual(vip('192.0.2.1').stops, ['the client has no leg on mynet: its VIPs are unknown to it']);
  assert.throws(() => traceClient(state, 'nobody'), { kind: 'notFound' });
});

test('who waits at a VIP is told of for TCP alone: answers to datagrams are not seen there', () => {
  const call = callOf({ destination: mynetAddress(2), destinationPort: 80, realServer: mynetAddress(4) });
  const stopsOf = (protocol: 'tcp' | 'udp'): readonly string[] =>
    traceService(
      state,
      serviceFrontends(state, 'web'),
      found({ counters: balanced, waiting: new Map([[mynetVni, [{ ...call, protocol }]]]) }),
    ).paths.find(({ overlay }) => overlay === 'mynet')!.hops[1]!.stops;
  assert.deepEqual(stopsOf('tcp'), ['calls that wait there for an answer: 1']);
  assert.deepEqual(stopsOf('udp'), []);
});

test.each<[string, number[], readonly TaskOf[]]>([
  ['none has been made', [], []],
  ['none serves', [0], [{ part: 3, node: 1, serving: false }]],
])(
  'a service without a task to take calls says so, whatever it is called by: %s',
  (_what, weights, tasks) => {
    const idle = stateOf(1, { ingress: true, ports: { 8080: 80 }, vips: { web: 2 }, tasks });
    const mark = vipMark(idle.overlays[1]!, mynetAddress(2));
    const counters = new Map([
      [null, [virtualServer(publishedPortMark('tcp', 8080), 0n, [])]],
      [mynetVni, [virtualServer(mark, 0n, [])]],
    ]);
    const { paths } = traceService(
      idle,
      serviceFrontends(idle, 'web'),
      found(tasks.length > 0 ? { counters } : {}),
    );
    assert.deepEqual(
      paths.map(({ frontend, stops: why, hops }) => [frontend, why, hops.map(({ weight }) => weight)]),
      ['tcp/8080', mynetAddress(2)].map((frontend) => [
        frontend,
        ['no task takes new flows: callers are refused'],
        weights,
      ]),
    );
  },
);

const nowhere = 'on this node: the port listens nowhere here';
test.each<[string, Partial<TraceCaller>, Pick<PublishedPort, 'interfaces' | 'cidrs'>, readonly string[]]>([
  ['one of its devices', { device: 'eth0' }, { interfaces: ['eth0', 'eth7'] }, []],
  [
    'another device',
    { device: 'eth0' },
    { interfaces: ['lo'] },
    ['the client’s calls come in by eth0, and the port listens on lo only'],
  ],
  ['nobody knows which device', { device: null }, { interfaces: ['lo'] }, []],
  ['a device that is not there', {}, { interfaces: ['eth7'] }, [`there is no eth7 ${nowhere}`]],
  ['an address of the node', {}, { cidrs: ['10.0.0.0/8', '192.168.50.0/24'] as Cidr[] }, []],
  ['the loopback network', {}, { cidrs: ['127.0.0.9/32'] as Cidr[] }, []],
  [
    'no address of the node',
    {},
    { cidrs: ['10.0.0.0/8'] as Cidr[] },
    [`no address in 10.0.0.0/8 ${nowhere}`],
  ],
  [
    'a container on overlays alone',
    { nodeId: nodeIdOf(1), hostAddresses: [] },
    {},
    ['the client is on overlays alone and reaches no address of this node'],
  ],
])('a port takes calls where it listens: %s', (_what, caller, limits, why) => {
  const limited = stateOf(1, { ingress: true, ports: { 8080: 80 }, tasks: [{ part: 3, node: 1 }], limits });
  const [path] = traceService(limited, serviceFrontends(limited, '8080'), found({ counters: balanced }), {
    ...traceClient(limited, '192.0.2.7'),
    hostAddresses: ['192.0.2.7' as Ip],
    device: 'eth0',
    ...caller,
  }).paths;
  assert.deepEqual(path!.stops, why);
  assert.deepEqual(path!.limits, { interfaces: [], cidrs: [], ...limits });
});
