/** What a scrape says of services: counters of the kernel joined with a state, as data. */
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import type { ServerCounters, VirtualServerCounters } from '../../../../src/dataplane/balancer/engine.js';
import { balancerCollector } from '../../../../src/dataplane/metrics/balancer-collector.js';
import type { ReadServer } from '../../../../src/dataplane/metrics/counter-reader.js';
import { CounterReader } from '../../../../src/dataplane/metrics/counter-reader.js';
import { publishedPortMark, vipMark } from '../../../../src/dataplane/state.js';
import type { NodeNetworkState } from '../../../../src/dataplane/state.js';
import { dataplaneMetrics } from '../../../../src/metrics/dataplane-table.js';
import { Metrics } from '../../../../src/metrics/registry.js';
import { SampleBuffer } from '../../../../src/metrics/samples.js';
import { OutsideError } from '../../../../src/model/errors.js';
import type { Ip } from '../../../../src/model/addresses.js';
import type { Vni } from '../../../../src/model/ids.js';
import { systemClock } from '../../../../src/runtime/clock.js';
import type { ClusterOf } from '../plan/network-state.js';
import { mynetVni, stateOf } from '../plan/network-state.js';

const cluster: ClusterOf = {
  ingress: true,
  ports: { 8080: 80 },
  vips: { web: 2, api: 3, idle: 4 },
  tasks: [
    { part: 10, node: 1 },
    { part: 11, node: 2, serving: false },
    { part: 12, node: 2, silent: true },
    { part: 13, node: 1, service: 'api' },
    { part: 14, node: 1, service: 'container' },
  ],
};

const counted = (by: number, drops: ServerCounters['drops'] = {}): ServerCounters => ({
  connections: BigInt(by),
  packets: BigInt(10 * by),
  bytes: BigInt(1000 * by),
  replyPackets: BigInt(5 * by),
  replyBytes: BigInt(500 * by),
  drops,
  activeFlows: by,
});
const portServer = (by: number): VirtualServerCounters => ({
  ...{ family: 4, mark: publishedPortMark('tcp', 8080), frontend: null, ...counted(by, { table: 7n }) },
  realServers: [{ address: '240.62.192.10' as Ip, port: 80, ...counted(by) }],
});
const vipServer = (state: NodeNetworkState, vip: string, by: number): VirtualServerCounters => {
  const overlay = state.overlays.find(({ ingress }) => !ingress);
  if (!overlay) throw new Error('there is mynet');
  return {
    ...{ family: 4, mark: vipMark(overlay, vip as Ip), frontend: null, ...counted(by) },
    realServers: [{ address: '10.0.1.10' as Ip, port: 0, ...counted(by) }],
  };
};

type Read = (vni: Vni | null) => Promise<readonly ReadServer[]>;
async function scraped(
  state: () => NodeNetworkState | null,
  read: Read,
  perEndpoint = false,
): Promise<string[]> {
  const metrics = new Metrics({
    table: dataplaneMetrics,
    clock: systemClock,
    log: pino({ level: 'silent' }),
  });
  const reader = { read, keep: () => undefined };
  metrics.collect('balancer', balancerCollector({ state, engine: () => 'ebpf', reader, perEndpoint }));
  return (await metrics.text()).split('\n').filter((line) => /^skep_(balancer|endpoints)/.test(line));
}

describe('what a scrape says of services', () => {
  const state = stateOf(1, cluster);
  const read: Read = async (vni) =>
    vni === null
      ? [portServer(3)]
      : [vipServer(state, '10.0.1.2', 4), vipServer(state, '10.0.1.3', 1), vipServer(state, '10.0.1.99', 9)];

  test('is every frontend with its names, replies and drops where there are any, endpoints by state', async () => {
    const port = '{service="web",network="ingress",frontend="tcp/8080"}';
    const web = '{service="web",network="mynet",frontend="10.0.1.2"}';
    const api = '{service="api",network="mynet",frontend="10.0.1.3"}';
    expect((await scraped(() => state, read)).sort()).toEqual(
      [
        'skep_balancer_info{engine="ebpf"} 1',
        `skep_balancer_connections_total${port} 3`,
        `skep_balancer_packets_total${port} 30`,
        `skep_balancer_bytes_total${port} 3000`,
        `skep_balancer_reply_packets_total${port} 15`,
        `skep_balancer_reply_bytes_total${port} 1500`,
        `skep_balancer_dropped_packets_total${port.slice(0, -1)},reason="table"} 7`,
        `skep_balancer_active_flows${port} 3`,
        ...[[web, 4] as const, [api, 1] as const].flatMap(([labels, by]) => [
          `skep_balancer_connections_total${labels} ${by}`,
          `skep_balancer_packets_total${labels} ${10 * by}`,
          `skep_balancer_bytes_total${labels} ${1000 * by}`,
          `skep_balancer_active_flows${labels} ${by}`,
        ]),
        'skep_balancer_unread_namespaces 0',
        'skep_endpoints{service="api",network="mynet",state="serving"} 1',
        'skep_endpoints{service="web",network="ingress",state="draining"} 1',
        'skep_endpoints{service="web",network="ingress",state="serving"} 1',
        'skep_endpoints{service="web",network="ingress",state="silent"} 1',
        'skep_endpoints{service="web",network="mynet",state="draining"} 1',
        'skep_endpoints{service="web",network="mynet",state="serving"} 1',
        'skep_endpoints{service="web",network="mynet",state="silent"} 1',
      ].sort(),
    );
  });

  test('a service that is gone from the state loses its series, though the kernel still has it', async () => {
    const without = stateOf(1, { ...cluster, vips: { web: 2 }, tasks: cluster.tasks?.slice(0, 3) ?? [] });
    expect((await scraped(() => without, read)).filter((line) => line.includes('api'))).toEqual([]);
  });

  test('a node that is in no cluster has no services', async () => {
    expect(await scraped(() => null, read)).toEqual(['skep_balancer_info{engine="ebpf"} 1']);
  });

  test('a namespace that cannot be read costs its own services, and is told of', async () => {
    const lines = await scraped(
      () => state,
      async (vni) => {
        if (vni === null) throw new OutsideError('not there yet', true);
        return read(vni);
      },
    );
    expect(lines.some((line) => line.includes('tcp/8080'))).toBe(false);
    expect(lines).toContain(
      'skep_balancer_connections_total{service="web",network="mynet",frontend="10.0.1.2"} 4',
    );
    expect(lines).toContain('skep_balancer_unread_namespaces 1');
  });

  test('what is left while a scrape goes on is not opened again', async () => {
    let now: NodeNetworkState | null = state;
    const asked: unknown[] = [];
    await scraped(
      () => {
        const was = now;
        now = null;
        return was;
      },
      async (vni) => {
        asked.push(vni);
        return [];
      },
    );
    expect(asked).toEqual([]);
  });

  test('on wish it has a series for each task', async () => {
    const lines = await scraped(() => state, read, true);
    expect(lines).toContain(
      'skep_balancer_endpoint_connections_total{service="web",network="mynet",frontend="10.0.1.2",task="web.10.task10",node="node1"} 4',
    );
    expect((await scraped(() => state, read)).some((line) => line.includes('_endpoint_'))).toBe(false);
  });

  test('of many services there is a bounded number of series, and none for callers', async () => {
    const services = Array.from({ length: 200 }, (_, at) => at);
    const large = stateOf(1, {
      vips: Object.fromEntries(services.map((at) => [`s${at}`, at + 2])),
      tasks: services.map((at) => ({ part: (at % 50) + 203, node: 1, service: `s${at}` })),
    });
    const buffer = new SampleBuffer<typeof dataplaneMetrics>(Infinity);
    await balancerCollector({
      state: () => large,
      engine: () => 'ipvs',
      reader: {
        keep: () => undefined,
        read: async () => services.map((at) => vipServer(large, `10.0.1.${at + 2}`, 1)),
      },
      perEndpoint: false,
    })(buffer);
    // Connections, packets, bytes, flows and the endpoints that serve; the engine; namespaces that were not read.
    expect(buffer.size).toBe(5 * 200 + 2);
  });
});

describe('the reader of counters', () => {
  const totals = { family: 4 as const, mark: 1, frontend: null };
  const { activeFlows: _, ...plain } = counted(2);

  test('asks an engine that tells all at once each time', async () => {
    let asked = 0;
    const table = async () => ({ counters: async () => [{ ...portServer((asked += 1)) }] });
    const reader = new CounterReader({ table, clock: systemClock });
    await reader.read(null);
    expect((await reader.read(null))[0]?.connections).toBe(2n);
  });

  test('has totals each time, and the details again when they have paid for themselves', async () => {
    let nowMs = 0;
    const asked: string[] = [];
    let flows = 5;
    const reader = new CounterReader({
      clock: { steadyMs: () => nowMs },
      table: async () => ({
        counters: async () => {
          asked.push('counters');
          nowMs += 100;
          return [{ ...totals, ...plain, activeFlows: flows, realServers: [] }];
        },
        totals: async () => {
          asked.push('totals');
          return [
            { ...totals, ...plain },
            { ...totals, ...plain, mark: 2 },
          ];
        },
      }),
    });
    const flowsNow = async (): Promise<unknown> =>
      (await reader.read(null)).map(({ activeFlows }) => activeFlows);
    expect(await flowsNow()).toEqual([5]);
    flows = 6;
    nowMs = 10_099;
    // 100 ms were taken: 1 % of the time until the next.
    expect(await flowsNow()).toEqual([5, null]);
    nowMs = 10_100;
    expect(await flowsNow()).toEqual([6]);
    expect(asked).toEqual(['counters', 'totals', 'counters']);
  });

  test('forgets scopes that are gone', async () => {
    const asked: string[] = [];
    const reader = new CounterReader({
      clock: { steadyMs: () => 0 },
      table: async () => ({
        counters: async () => {
          asked.push('counters');
          return [];
        },
        totals: async () => [],
      }),
    });
    reader.keep(new Set([mynetVni]));
    await reader.read(mynetVni);
    reader.keep(new Set());
    await reader.read(mynetVni);
    expect(asked).toEqual(['counters', 'counters']);
  });
});
