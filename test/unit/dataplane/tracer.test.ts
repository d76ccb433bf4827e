/** What a trace is gathered from: whose addresses a caller has, who still waits, and when strangers' rules are of interest. */
import assert from 'node:assert';
import { test } from 'vitest';
import type { Ip } from '../../../src/model/addresses.js';
import type { BalancedFlow } from '../../../src/dataplane/balancer/engine.js';
import { parseForeignDrops } from '../../../src/dataplane/kernel/host-reader.js';
import { publishedPortMark } from '../../../src/dataplane/state.js';
import type { ServiceTrace } from '../../../src/dataplane/trace.js';
import type { TraceSources } from '../../../src/dataplane/tracer.js';
import { trace } from '../../../src/dataplane/tracer.js';
import { ingressId, mynetAddress, mynetId, nodeIdOf, sandboxOf, stateOf } from './plan/network-state.js';

const state = stateOf(1, {
  ingress: true,
  ports: { 8080: 80 },
  vips: {},
  tasks: [
    { part: 3, node: 1 },
    { part: 4, node: 2 },
    { part: 5, node: 1, service: 'caller' },
    { part: 6, node: 2, service: 'caller' },
  ],
});
const client = '192.0.2.7' as Ip;
const flow = (over: Partial<BalancedFlow>): BalancedFlow => ({
  protocol: 'tcp',
  client,
  clientPort: 40_000,
  destination: '192.168.50.1' as Ip,
  destinationPort: 8080,
  realServer: '240.62.192.3' as Ip,
  realServerPort: 80,
  state: 'opening',
  expiresS: 60,
  ...over,
});

/** Looks at flows one after the other, the last one again and again. */
const sources = (looks: readonly (readonly BalancedFlow[])[]) => {
  const slept: number[] = [];
  let look = 0;
  const given: TraceSources = {
    state,
    endpoints: [sandboxOf(mynetId, 5, '/c5'), sandboxOf(mynetId, 3, '/c3'), sandboxOf(ingressId, 3, '/c3')],
    verify: async () => [],
    counters: async () => {
      const zero = { packets: 0n, bytes: 0n, replyPackets: 0n, replyBytes: 0n, drops: {}, activeFlows: 0 };
      return [
        {
          ...zero,
          family: 4,
          connections: 0n,
          mark: publishedPortMark('tcp', 8080),
          frontend: null,
          realServers: [],
        },
      ];
    },
    flows: async (vni) => (vni === null ? (looks[Math.min(look++, looks.length - 1)] ?? []) : []),
    host: {
      devices: async () => [{ name: 'eth0', addresses: ['192.168.50.1' as Ip] }],
      deviceTo: async (address) => `to ${address}`,
      addressesIn: async (path) => {
        assert.equal(path, '/c5');
        return [mynetAddress(5), '172.18.0.5' as Ip];
      },
      foreignDrops: async () => ['filter INPUT policy DROP: 3 packets'],
    },
    clock: { sleep: async (ms) => void slept.push(ms) },
  };
  const run = (from: string | null): Promise<ServiceTrace> =>
    trace(given, '8080', from, new AbortController().signal);
  return { run, slept };
};
const stopsOf = ({ paths }: ServiceTrace): readonly (readonly string[])[] =>
  paths[0]!.hops.map(({ stops }) => stops);

test('only calls that wait at both looks are told of, and then who drops packets', async () => {
  const { run, slept } = sources([
    [flow({}), flow({ clientPort: 40_001 }), flow({ clientPort: 40_002, state: 'established' })],
    [flow({}), flow({ clientPort: 40_001, state: 'established' }), flow({ clientPort: 40_003 })],
  ]);
  const traced = await run(null);
  assert.deepEqual(slept, [1_000]);
  const [here = [], there] = stopsOf(traced);
  assert(here.includes('calls that wait there for an answer: 1'));
  assert.deepEqual(there, []);
  assert.deepEqual(traced.foreignDrops, ['filter INPUT policy DROP: 3 packets']);
});

test('where nobody waits nothing is waited for, and strangers’ rules are nobody’s business', async () => {
  const { run, slept } = sources([[flow({ state: 'established' }), flow({ destinationPort: 9090 })]]);
  const traced = await run(null);
  assert.deepEqual(slept, []);
  assert.deepEqual(traced.foreignDrops, []);
});

test.each<[from: string, address: Ip | null]>([
  [client, client],
  // By the bridge that the engine leads out of overlays by, not by its address there.
  ['caller.5.task5', '172.18.0.5' as Ip],
  [mynetAddress(5), '172.18.0.5' as Ip],
  // On another node: its calls of published ports are balanced there.
  ['caller.6.task6', null],
])('%s calls published ports as %s', async (from, address) => {
  const addresses = [client, '172.18.0.5' as Ip, mynetAddress(5), mynetAddress(6)];
  const { run } = sources([
    addresses.map((one, at) => flow({ client: one, clientPort: 40_000 + at, state: 'established' })),
  ]);
  const traced = await run(from);
  assert.deepEqual(
    traced.paths[0]!.flows.map((one) => one.client),
    address === null ? [] : [address],
  );
  // Of a client that has not come the rules in its way may tell why.
  assert.equal(traced.foreignDrops.length, address === null ? 1 : 0);
});

test.each([
  ['established', 0],
  ['closing', 1],
] as const)('of a client with flows that are %s, %i rule of strangers is told', async (at, count) => {
  const { run } = sources([[flow({ state: at }), flow({ state: 'closing', clientPort: 40_001 })]]);
  const traced = await run(client);
  assert.equal(traced.paths[0]!.flows.length, 2);
  assert.equal(traced.foreignDrops.length, count);
});

test('a client that nobody knows is refused before anything is read', async () => {
  await assert.rejects(sources([[]]).run('nobody'), { kind: 'notFound' });
  assert.equal(nodeIdOf(1), state.nodeId);
});

test('who dropped packets is read from the rules with their counts', () => {
  const saved = `# Generated by iptables-save
*raw
:PREROUTING ACCEPT [10:600]
:SKEP-RAW - [0:0]
[4:240] -A PREROUTING -s 192.0.2.9/32 -j DROP
[7:420] -A SKEP-RAW -d 127.0.0.0/8 -i sk-ingress -j DROP
COMMIT
*filter
:INPUT ACCEPT [5:300]
:FORWARD DROP [12:720]
:OUTPUT DROP [0:0]
:SKEP-USER - [0:0]
[2:120] -A FORWARD -j SKEP-FORWARD
[0:0] -A FORWARD -p tcp -j DROP
[3:180] -A SKEP-USER -p tcp -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable
[9:540] -A DOCKER-USER -j RETURN
COMMIT
`;
  assert.deepEqual(parseForeignDrops(saved), [
    'raw PREROUTING -s 192.0.2.9/32 -j DROP: 4 packets',
    'filter FORWARD policy DROP: 12 packets',
    'filter SKEP-USER -p tcp -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable: 3 packets',
  ]);
});
