/** What the table reads of the programs' own maps: counters that never go back, and flows. */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'vitest';
import type {
  BalancerObject,
  BalancerTable,
  ServerCounters,
} from '../../../../src/dataplane/balancer/engine.js';
import { ipv4Number } from '../../../../src/dataplane/ebpf/ipv4.js';
import { restMs } from '../../../../src/dataplane/ebpf/index-pool.js';
import { enums, structs } from '../../../../src/dataplane/ebpf/layout.js';
import { EbpfTable } from '../../../../src/dataplane/ebpf/table.js';
import { u32Of } from '../../../../src/dataplane/ebpf/struct.js';
import { diff } from '../../../../src/dataplane/plan/diff.js';
import type { Vni } from '../../../../src/model/ids.js';
import { alias, balanced, port, realServer, vip } from './balanced-objects.js';
import { byName, costs, nodeMaps } from './node-maps.js';
import type { NodeMaps } from './node-maps.js';

let maps: NodeMaps;
let table: EbpfTable;
let nowMs: number;
/** Of the programs' clock. */
const nowNs = 1_000_000_000_000n;
const links = { indexOf: async () => 7, nameOf: async () => 'sk-ingress' };
const view = (vni: number | null = null): BalancerTable => table.view(vni as Vni | null, links);
const newTable = (): EbpfTable => new EbpfTable(byName(maps), { nowMs: () => nowMs }, () => nowNs);

async function converge(wanted: readonly BalancerObject[], vni: number | null = null): Promise<void> {
  const ops = diff(wanted, await view(vni).observe(true), () => true);
  await view(vni).apply(ops as Parameters<BalancerTable['apply']>[0]);
}

beforeEach(() => {
  nowMs = 1_000_000;
  maps = nodeMaps();
  table = newTable();
});

test.each(['asked', 'looked'])(
  'a stranger’s change is told to its scope although another has %s before, long ago',
  async (before) => {
    await converge(balanced(port(80), 1));
    const wanted = balanced(vip(9), 3);
    await converge(wanted, 5000);
    nowMs += 5_000;
    const [, object] = wanted;
    assert.ok(object);
    await newTable()
      .view(5000 as Vni, links)
      .apply([{ op: 'delete', object }]);
    const missing = async (): Promise<number> =>
      diff(wanted, await view(5000).observe(false), () => true).length;
    assert.equal(await missing(), 0);
    if (before === 'asked') await view().refresh();
    else await view().observe(true);
    nowMs += 5_000;
    assert.equal(await view(5000).refresh(), true);
    assert.ok((await missing()) > 0);
    nowMs += 5_000;
    assert.equal(await view(5000).refresh(), false);
  },
);

/** Index of the real server that is this task, as programs know it. */
function indexOf(task: number): number {
  const { bytes } = structs.realServer;
  const octets = maps.skep_real_servers.getRange(0, 100);
  for (let index = 1; index < 100; index++) {
    const entry = structs.realServer.decode(octets, index * bytes);
    if (entry.virtualServer !== 0 && entry.address === ipv4Number(alias(task))) return index;
  }
  throw new Error(`task ${task} is no real server`);
}

/** Adds to counters as programs do. */
function count(task: number, shard: number, by: bigint): void {
  const at = 2 * indexOf(task) + shard;
  const held = structs.counters.decode(maps.skep_counters.getRange(at, 1));
  maps.skep_counters.putRange(
    at,
    structs.counters.encode({
      connections: held.connections + by,
      packets: held.packets + 10n * by,
      bytes: held.bytes + 100n * by,
      replyPackets: held.replyPackets + 20n * by,
      replyBytes: held.replyBytes + 200n * by,
    }),
  );
}

const totals = ({ connections, packets, bytes, replyPackets, replyBytes }: ServerCounters): bigint[] => [
  connections,
  packets,
  bytes,
  replyPackets,
  replyBytes,
];

test('counters: shards are summed, real servers too, drops have names', async () => {
  await converge(balanced(port(80), 1, 2));
  await converge(balanced(vip(9), 3), 5000);
  count(1, 0, 3n);
  count(1, 1, 4n);
  count(2, 1, 2n ** 40n);
  maps.skep_active.putRange(indexOf(1), Buffer.from([5, 0, 0, 0, 0, 0, 0, 0]));
  maps.skep_active.putRange(indexOf(2), Buffer.alloc(8, 0xff));
  const index = u32Of(maps.skep_ports.getRange(80, 1));
  const drops = Array.from({ length: enums.dropReason.DROP_REASONS }, () => 0n);
  drops[enums.dropReason.DROP_COLLISION] = 6n;
  drops[enums.dropReason.DROP_OVERSIZE] = 1n;
  const held = structs.virtualCounters.decode(maps.skep_virtual_counters.getRange(index, 1));
  maps.skep_virtual_counters.putRange(index, structs.virtualCounters.encode({ ...held, drops }));

  const [server, ...others] = await view().counters();
  assert.ok(server);
  assert.equal(others.length, 0);
  assert.deepEqual(server.frontend, { kind: 'port', protocol: 'tcp', port: 80 });
  const sum = 2n ** 40n + 7n;
  assert.deepEqual(totals(server), [sum, 10n * sum, 100n * sum, 20n * sum, 200n * sum]);
  assert.deepEqual(server.drops, { collision: 6n, oversize: 1n });
  assert.equal(server.activeFlows, 5);
  assert.deepEqual(
    server.realServers.map((real) => [real.address, real.port, real.connections, real.activeFlows]),
    [
      [alias(1), 8080, 7n, 5],
      // -1 for a moment, when two CPUs count one flow up and down.
      [alias(2), 8080, 2n ** 40n, 0],
    ],
  );
  assert.deepEqual(
    (await view(5000).counters()).map(({ connections, drops: none }) => [connections, none]),
    [[0n, {}]],
  );
});

test('counters of a virtual server never go back, whoever is replaced and whatever process reads', async () => {
  const server = port(80);
  let before = -1n;
  for (let task = 1; task < 30; task++) {
    await converge([server, realServer(server, task), realServer(server, task + 1)]);
    count(task, task & 1, BigInt(task));
    if (task % 7 === 0) table = newTable();
    const [totalsNow] = await view().counters();
    assert.ok(totalsNow && totalsNow.connections > before, `${totalsNow?.connections} after ${before}`);
    before = totalsNow.connections;
    nowMs += restMs;
  }
  assert.equal(before, BigInt((29 * 30) / 2));
});

test('a virtual server in the place of another begins at zero', async () => {
  await converge(balanced(port(80), 1));
  count(1, 0, 9n);
  await converge(balanced(port(80), 2));
  await converge([]);
  nowMs += restMs;
  await converge(balanced(port(81), 1, 2));
  assert.deepEqual(
    (await view().counters()).map(({ connections, realServers }) => [
      connections,
      realServers.map((real) => real.connections),
    ]),
    [[0n, [0n, 0n]]],
  );
});

test('reading counters takes a few calls, however many servers there are', async () => {
  const wanted = Array.from({ length: 3000 }, (_, i) => balanced(port(1 + i), 2 * i, 2 * i + 1)).flat();
  await view().apply(wanted.map((object) => ({ op: 'add', object })));
  const before = costs(maps).calls;
  assert.equal((await view().counters()).length, 3000);
  const calls = costs(maps).calls - before;
  assert.ok(calls <= 3 + Math.ceil((3000 + 6000 + 12_000) / 1000), `${calls} calls`);
});

describe('flows', () => {
  const { FLOW_ANSWERED, FLOW_CLIENT_FIN, FLOW_ESTABLISHED, FLOW_REPLY, FLOW_RESET } = enums.flowFlags;

  /** A request's entry, from 203.0.113.7 to 192.0.2.1:80 or a VIP. */
  function put(
    map: 'skep_flows' | 'skep_young_flows',
    task: number,
    { flags = 0, protocol = 6, clientPort = 4000, vni = 0, generation = 1, idleS = 0 } = {},
  ): void {
    const key = structs.flowKey.encode({
      source: ipv4Number('203.0.113.7'),
      destination: ipv4Number('192.0.2.1'),
      sourcePort: clientPort,
      destinationPort: 80,
      scope: ((vni & 0xffff) << 8) | protocol,
    });
    const value = structs.flow.encode({
      seenNs: nowNs - BigInt(idleS) * 1_000_000_000n,
      realServer: indexOf(task),
      generation,
      address: ipv4Number(alias(task)),
      client: 0,
      port: 8080,
      flags,
      virtualServer: 1,
    });
    maps[map].put(key, value);
  }

  test('who called what and who answers, with state and time left', async () => {
    await converge(balanced(port(80), 1));
    const established = FLOW_ANSWERED | FLOW_ESTABLISHED;
    const cases: [Parameters<typeof put>[2], string, number][] = [
      [{ flags: 0, idleS: 10 }, 'opening', 50],
      [{ flags: established, idleS: 1000 }, 'established', 431_000],
      [{ flags: established | FLOW_CLIENT_FIN }, 'closing', 432_000],
      [{ flags: established | FLOW_RESET, idleS: 500 }, 'closing', 0],
      [{ flags: 0, protocol: 17, idleS: 1 }, 'opening', 29],
      [{ flags: FLOW_ANSWERED, protocol: 17 }, 'established', 300],
      [{ flags: established, protocol: 132 }, 'established', 432_000],
    ];
    cases.forEach(([flow], i) =>
      put(i % 2 === 0 ? 'skep_flows' : 'skep_young_flows', 1, { ...flow, clientPort: i }),
    );
    const flows = [...(await view().flows(100))].sort((a, b) => a.clientPort - b.clientPort);
    assert.deepEqual(
      flows.map(({ state, expiresS }) => [state, expiresS]),
      cases.map(([, state, expiresS]) => [state, expiresS]),
    );
    assert.deepEqual(flows[1], {
      protocol: 'tcp',
      client: '203.0.113.7',
      clientPort: 1,
      destination: '192.0.2.1',
      destinationPort: 80,
      realServer: alias(1),
      realServerPort: 8080,
      state: 'established',
      expiresS: 431_000,
    });
  });

  test('each once, of the scope that was asked, of real servers that are there, and no more than asked', async () => {
    await converge(balanced(port(80), 1));
    await converge(balanced(vip(9), 2), 70_000);
    put('skep_flows', 1, { flags: FLOW_REPLY, clientPort: 1 });
    put('skep_flows', 1, { generation: 7, clientPort: 2 });
    put('skep_flows', 1, { clientPort: 3 });
    put('skep_flows', 2, { clientPort: 4, vni: 70_000 });
    assert.deepEqual(
      (await view().flows(100)).map(({ clientPort }) => clientPort),
      [3],
    );
    assert.deepEqual(
      (await view(70_000).flows(100)).map(({ clientPort }) => clientPort),
      [4],
    );
    for (let clientPort = 100; clientPort < 400; clientPort++) put('skep_young_flows', 1, { clientPort });
    assert.equal((await view().flows(25)).length, 25);
  });
});
