/** What `skep trace` is told: frontends, hops and counters of one service, joined by mark and address. */
import assert from 'node:assert';
import { test } from 'vitest';
import type { Ip } from '../../../src/model/addresses.js';
import type { RealServerCounters, VirtualServerCounters } from '../../../src/dataplane/balancer/engine.js';
import { publishedPortMark, vipMark } from '../../../src/dataplane/state.js';
import { serviceFrontends, traceClient, traceService } from '../../../src/dataplane/trace.js';
import type { CountersByScope, TraceFindings } from '../../../src/dataplane/trace.js';
import type { Difference } from '../../../src/dataplane/difference.js';
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
  mark,
  frontend: null,
  connections,
  drops: { fragment: 2n },
  realServers,
});

const found = (some: Partial<TraceFindings>): TraceFindings => ({
  counters: new Map(),
  flows: new Map(),
  differences: [],
  sandboxes: new Map([
    [mynetMac(3), '/run/netns/c3'],
    [ingressMac(3), '/run/netns/c3'],
  ]),
  ...some,
});
/** All that is asked for is balanced in the kernel. */
const balanced: CountersByScope = new Map([
  [null, [8080, 9090].map((port) => virtualServer(publishedPortMark('tcp', port), 0n, []))],
  [mynetVni, [virtualServer(vipMark(state.overlays[1]!.subnet, mynetAddress(2)), 0n, [])]],
]);

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
      [
        virtualServer(vipMark(state.overlays[1]!.subnet, mynetAddress(2)), 7n, [
          realServer('10.0.1.4', 0, 7n),
        ]),
      ],
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
    paths.filter(({ overlay }) => wanted === 'web' || overlay === 'ingress').map(({ frontend }) => frontend),
    frontends,
  );
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
    traceService(
      state,
      serviceFrontends(state, 'web'),
      found({ counters: balanced, flows }),
      traceClient(state, from),
    );
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
