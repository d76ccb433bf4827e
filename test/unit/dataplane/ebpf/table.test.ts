/** The ebpf engine's table over maps in memory: plan objects to entries and back, order, cost, restart, damage, limits. */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'vitest';
import type {
  BalancerObject,
  BalancerOp,
  BalancerTable,
  LinkIndices,
} from '../../../../src/dataplane/balancer/engine.js';
import { restMs } from '../../../../src/dataplane/ebpf/index-pool.js';
import { structs } from '../../../../src/dataplane/ebpf/layout.js';
import { MapFullError } from '../../../../src/dataplane/ebpf/map-full-error.js';
import { EbpfTable } from '../../../../src/dataplane/ebpf/table.js';
import { u32Of } from '../../../../src/dataplane/ebpf/struct.js';
import { diff } from '../../../../src/dataplane/plan/diff.js';
import { identity, line } from '../../../../src/dataplane/plan/objects.js';
import type { VirtualServer } from '../../../../src/dataplane/plan/objects.js';
import { publishedPortMark } from '../../../../src/dataplane/state.js';
import { schedulers } from '../../../../src/model/balancing.js';
import type { Cidr, Ip, Mac } from '../../../../src/model/addresses.js';
import type { Vni } from '../../../../src/model/ids.js';
import { balanced, mesh, meshObjects, port, realServer, taskMac, vip } from './balanced-objects.js';
import { byName, contents, costs, mapNames, nodeMaps } from './node-maps.js';
import type { NodeMaps } from './node-maps.js';

let maps: NodeMaps;
let nowMs: number;
let table: EbpfTable;
let hostLink: number;
const clock = { nowMs: () => nowMs };
const links: LinkIndices = {
  indexOf: async (name) => (name === 'sk-ingress' ? hostLink : null),
  nameOf: async (index) => (index === hostLink ? 'sk-ingress' : null),
};

function start(capacities: Parameters<typeof nodeMaps>[0] = {}): void {
  maps = nodeMaps(capacities);
  restart();
}
const restart = (): void => {
  table = new EbpfTable(byName(maps), clock);
};
beforeEach(() => {
  nowMs = 1_000_000;
  hostLink = 7;
  start();
});

const view = (vni: number | null = null): BalancerTable => table.view(vni as Vni | null, links);
const lines = (objects: readonly BalancerObject[]): string[] => objects.map(line).sort();

/** One pass: what is observed becomes what is wanted. Gives the ops. */
async function converge(wanted: readonly BalancerObject[], vni: number | null = null): Promise<BalancerOp[]> {
  const ops = diff(wanted, await view(vni).observe(true), () => true) as BalancerOp[];
  await view(vni).apply(ops);
  return ops;
}

/** Wanted, and nothing else, is in the maps: as this process knows, as it reads again, and as a new one reads. */
async function assertHolds(wanted: readonly BalancerObject[], vni: number | null = null): Promise<void> {
  assert.deepEqual(lines(await view(vni).observe(false)), lines(wanted));
  assert.deepEqual(lines(await view(vni).observe(true)), lines(wanted));
  const another = new EbpfTable(byName(maps), clock).view(vni as Vni | null, links);
  assert.deepEqual(lines(await another.observe(false)), lines(wanted));
  assert.deepEqual(
    diff(wanted, await view(vni).observe(false), () => true),
    [],
  );
}

/** What programs see of a published port: its real servers' tasks in slot order. */
function tasksOf(server: VirtualServer): number[] {
  assert(server.frontend?.kind === 'port');
  const index = u32Of(maps.skep_ports.getRange(server.frontend.port, 1));
  const entry = structs.virtualServer.decode(maps.skep_virtual_servers.getRange(index, 1));
  return Array.from({ length: entry.slotCount }, (_, i) => {
    const slot = u32Of(maps.skep_slots.getRange(entry.firstSlot + i, 1));
    const real = structs.realServer.decode(maps.skep_real_servers.getRange(slot, 1));
    assert.equal(real.virtualServer, index);
    return real.address & 0xffffff;
  });
}

describe('objects', () => {
  test('nothing is in new maps', () => assertHolds([]));

  test('published ports, VIPs of several overlays and the mesh, each in its scope', async () => {
    const host = [
      ...meshObjects,
      ...balanced(port(8080, 'wrr', 300), 1, 2, 3),
      ...balanced(
        {
          ...port(53),
          mark: publishedPortMark('udp', 53),
          frontend: { kind: 'port', protocol: 'udp', port: 53 },
        },
        4,
      ),
      ...balanced(
        {
          ...port(9),
          mark: publishedPortMark('sctp', 65535),
          frontend: { kind: 'port', protocol: 'sctp', port: 65535 },
        },
        5,
      ),
      port(81, 'lc'),
    ];
    const blue = [...balanced(vip(9, 'mh'), 1, 2), ...balanced(vip(300), 3)];
    const green = balanced(vip(9, 'lc'), 7);
    await converge(host);
    await converge(blue, 4097);
    await converge(green, 0xfffffe);
    await assertHolds(host);
    await assertHolds(blue, 4097);
    await assertHolds(green, 0xfffffe);
    assert.deepEqual(new Set(table.overlays()), new Set([4097, 0xfffffe]));

    await table.forget(4097 as Vni);
    await assertHolds([], 4097);
    await assertHolds(host);
    await converge([]);
    await assertHolds([]);
    await converge([], 0xfffffe);
    // What is left are the generations of entries that were in use.
    const left = contents(maps).filter((text) => !/^skep_(real_servers|slots) /.test(text));
    assert.deepEqual(left, []);
    for (const text of contents(maps, ['skep_real_servers'])) assert.match(text, / 0{8}01000000 ?0{32}$/);
  });

  test('every attribute can be changed, and only what changes is told', async () => {
    const web = port(8080);
    await converge([...meshObjects, ...balanced(web, 1, 2)]);
    const changed: BalancerObject[] = [
      { ...mesh, mtu: 1400, throughChains: true, aliasRange: '224.0.0.0/3' as Cidr },
      ...meshObjects.slice(1, -1),
      { kind: 'aliasNode', part: 16383, mac: '02:42:0a:ff:00:99' as Mac },
      { ...web, scheduler: 'wrr', affinityS: 60 },
      { ...realServer(web, 1), weight: 3 },
      { ...realServer(web, 2), mac: taskMac(9) },
    ];
    const ops = await converge(changed);
    assert.deepEqual(
      ops.map(({ op, object }) => `${op} ${identity(object)}`),
      [
        'change alias-node 16383',
        'change mesh',
        'change virtual-server 0x5e001f90',
        'change real-server 0x5e001f90 240.0.0.1:8080',
        'change real-server 0x5e001f90 240.0.0.2:8080',
      ].filter((text) => ops.some(({ op, object }) => text === `${op} ${identity(object)}`)),
    );
    assert.equal(ops.length, 5);
    await assertHolds(changed);
    assert.deepEqual(tasksOf(web), [1, 1, 2, 1]);
  });

  test('a VIP whose subnet moved: the old address leads nowhere, the new one to it', async () => {
    await converge(balanced(vip(9), 1), 5000);
    const moved = { ...vip(9), frontend: { kind: 'vip', address: '10.7.0.9' as Ip } } as const;
    await converge(balanced(moved, 1), 5000);
    await assertHolds(balanced(moved, 1), 5000);
    assert.equal(maps.skep_vips.getAll().length, 1);
  });

  test('an address that passes from one mark to another in one run leads to the new one', async () => {
    await converge(balanced(vip(9), 1), 5000);
    const heir = { ...vip(10), frontend: vip(9).frontend } as VirtualServer;
    await converge(balanced(heir, 2), 5000);
    await assertHolds(balanced(heir, 2), 5000);
  });

  test('a mesh whose device was made again is observed as without one, and put right', async () => {
    await converge(meshObjects);
    hostLink = 12;
    assert.deepEqual(
      lines(await view().observe(false)).filter((text) => text.startsWith('mesh')),
      ['mesh 240.0.0.0/4 own 10.255.0.2 02:42:0a:ff:00:02 dev  mtu 1450'],
    );
    assert.deepEqual(
      // The listeners' old entries stand for nothing: they are leftovers, cleared by the virtual server that stands for these.
      (await converge(meshObjects)).map(({ object }) => object.kind),
      ['mesh', 'listener', 'listener', 'virtualServer'],
    );
    await assertHolds(meshObjects);
    await assert.rejects(converge([{ ...mesh, device: 'absent' }]), { name: 'KernelError', code: 'ENODEV' });
    await assertHolds(meshObjects);
  });

  test('a real server without its virtual server is refused, and nothing of its run is done', async () => {
    const before = contents(maps);
    const ops: BalancerOp[] = [...balanced(port(80), 1), realServer(port(81), 2)].map((object) => ({
      op: 'add',
      object,
    }));
    await assert.rejects(view().apply(ops), { name: 'KernelError', code: 'ENOENT' });
    assert.deepEqual(contents(maps), before);
    await converge(balanced(port(80), 1));
    await assertHolds(balanced(port(80), 1));
  });
});

describe('what programs meet', () => {
  test('slots follow the real servers that serve', async () => {
    const web = port(80);
    await converge(balanced(web, 3, 1, 2));
    assert.deepEqual(tasksOf(web), [1, 2, 3]);
    await converge([web, realServer(web, 1), realServer(web, 2, 0), realServer(web, 3)]);
    assert.deepEqual(tasksOf(web), [1, 3]);
    await converge([web, realServer(web, 1, 0)]);
    assert.deepEqual(tasksOf(web), []);
    await converge(balanced(web, 4));
    assert.deepEqual(tasksOf(web), [4]);
  });

  test('draining: no slot in use ever has nobody who takes new flows', async () => {
    const web = port(80);
    await converge(balanced(web, 1));
    const order = recordWrites();
    await converge([web, realServer(web, 1, 0), realServer(web, 2)]);
    assert.deepEqual(order(), [
      'skep_real_servers',
      'skep_slots',
      'skep_virtual_servers',
      'skep_real_servers',
    ]);
    assert.deepEqual(tasksOf(web), [2]);
  });

  test('what is new is written before what leads to it, and what goes is led to by nobody first', async () => {
    const order = recordWrites();
    await converge([...meshObjects, ...balanced(port(80), 1)]);
    assert.deepEqual(order(), [
      'skep_settings',
      'skep_alias_nodes',
      'skep_listeners',
      'skep_virtual_counters',
      'skep_real_servers',
      'skep_slots',
      'skep_virtual_servers',
      'skep_ports',
      'skep_addresses',
    ]);
    await converge(meshObjects);
    assert.deepEqual(order(), ['skep_ports', 'skep_virtual_servers', 'skep_real_servers']);
  });

  test('slots in use are never overwritten: another extent is, and the old one rests', async () => {
    const web = port(80);
    await converge(balanced(web, 1, 2));
    const before = extentOf(web);
    await converge(balanced(web, 1, 2, 3));
    const after = extentOf(web);
    assert.ok(after.first >= before.first + before.count);
    await converge(balanced(web, 1, 2));
    assert.notEqual(extentOf(web).first, before.first, 'the first extent still rests');
    nowMs += restMs;
    await converge([...balanced(web, 1, 2), ...balanced(port(81), 5, 6)]);
    assert.equal(extentOf(port(81)).first, before.first);
  });

  test('an index rests before it is used again, and then its generation is higher and its counters are zero', async () => {
    const web = port(80);
    await converge(balanced(web, 1, 2));
    const [first] = realIndices(web);
    assert(first !== undefined);
    maps.skep_counters.putRange(first * 2, structs.counters.encode(counted(5n)));
    maps.skep_active.putRange(first, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]));
    await converge(balanced(web, 2));
    await converge(balanced(web, 2, 3));
    assert.ok(!realIndices(web).includes(first), 'it still rests');
    nowMs += restMs;
    await converge(balanced(web, 2, 3, 4));
    assert.ok(realIndices(web).includes(first));
    const entry = structs.realServer.decode(maps.skep_real_servers.getRange(first, 1));
    assert.equal(entry.generation, 2);
    assert.ok(maps.skep_counters.getRange(first * 2, 2).every((byte) => byte === 0));
    assert.ok(maps.skep_active.getRange(first, 1).every((byte) => byte === 0));
  });

  test('real servers that stay keep index and generation whatever happens to the others', async () => {
    const web = port(80);
    await converge(balanced(web, 1, 2, 3));
    const entry = (): string =>
      contents(maps, ['skep_real_servers']).find((text) => text.includes('f0000002')) ?? '';
    const before = entry();
    assert.notEqual(before, '');
    await converge(balanced(port(80, 'mh', 5), 9, 2, 8));
    assert.equal(entry(), before);
  });
});

describe('cost', () => {
  /** System calls and entries written by one change, among `count` virtual servers of ten real servers each. */
  async function oneChange(count: number): Promise<{ calls: number; changes: number }[]> {
    start();
    const wanted = Array.from({ length: count }, (_, i) =>
      balanced(port(1 + i), ...Array.from({ length: 10 }, (_, j) => 10 * i + j)),
    ).flat();
    await view().apply(wanted.map((object) => ({ op: 'add', object })));
    const middle = port(Math.ceil(count / 2));
    const changes: BalancerOp[][] = [
      [{ op: 'add', object: realServer(middle, 999_999) }],
      [{ op: 'change', object: realServer(middle, 999_999, 0), was: realServer(middle, 999_999) }],
      [{ op: 'delete', object: realServer(middle, 999_999) }],
      [{ op: 'change', object: { ...middle, scheduler: 'lc' }, was: middle }],
      [{ op: 'delete', object: middle }],
      balanced(middle, 1, 2, 3).map((object) => ({ op: 'add', object })),
    ];
    const found = [];
    for (const ops of changes) {
      const before = costs(maps);
      await view().apply(ops);
      const after = costs(maps);
      found.push({ calls: after.calls - before.calls, changes: after.changes - before.changes });
    }
    return found;
  }

  test(
    'one change of one virtual server costs the same among 10 and among 10,000',
    { timeout: 60_000 },
    async () => {
      const few = await oneChange(10);
      const many = await oneChange(10_000);
      assert.deepEqual(many, few);
      for (const { calls, changes } of many)
        assert.ok(calls <= 8 && changes <= 16, `${calls} calls, ${changes} entries`);
    },
  );

  test('a run costs a constant number of batches, whatever its length', async () => {
    const callsOf = async (count: number): Promise<number> => {
      start();
      await view().observe(false);
      const wanted = Array.from({ length: count }, (_, i) => balanced(port(1 + 3 * i), i, i + 1)).flat();
      let batches = 0;
      for (const name of mapNames)
        for (const method of ['putRange', 'putMany', 'put'] as const) {
          const original = maps[name][method].bind(maps[name]) as (...args: unknown[]) => void;
          Object.assign(maps[name], {
            [method]: (...args: unknown[]) => ((batches += 1), original(...args)),
          });
        }
      await view().apply(wanted.map((object) => ({ op: 'add', object })));
      return batches;
    };
    assert.equal(await callsOf(2000), await callsOf(2));
  });

  test('fresh is read once a pass, not once a scope, and again for the next one', async () => {
    await converge(balanced(port(80), 1));
    await converge(balanced(vip(9), 1), 5000);
    nowMs += 60_000;
    const readings = async (observe: () => Promise<unknown>): Promise<number> => {
      const before = maps.skep_real_servers.calls;
      await observe();
      return maps.skep_real_servers.calls - before;
    };
    assert.equal(await readings(() => view().observe(false)), 0);
    assert.equal(await readings(() => view().observe(true)), 1);
    assert.equal(await readings(() => view(5000).observe(true)), 0);
    assert.equal(await readings(() => view().observe(true)), 1, 'the next pass');
    nowMs += 60_000;
    assert.equal(await readings(() => view(5000).observe(true)), 1, 'too old for anybody');
  });

  test('10,000 virtual servers of ten real servers each, from nothing', { timeout: 60_000 }, async () => {
    const wanted = Array.from({ length: 10_000 }, (_, i) =>
      balanced(port(1 + i, schedulers[i % 3]), ...Array.from({ length: 10 }, (_, j) => 10 * i + j)),
    ).flat();
    const ops = wanted.map((object): BalancerOp => ({ op: 'add', object }));
    await view().observe(false);
    const begin = performance.now();
    await view().apply(ops);
    const applyMs = performance.now() - begin;
    const before = performance.now();
    restart();
    const observed = await view().observe(true);
    const readMs = performance.now() - before;
    const again = performance.now();
    await view().observe(true);
    const refreshMs = performance.now() - again;
    assert.equal(observed.length, 110_000);
    // A quarter of a second each on an idle machine; what this is to catch is work that grows with the square.
    for (const ms of [applyMs, readMs, refreshMs])
      assert.ok(ms < 5_000, `${applyMs}, ${readMs}, ${refreshMs} ms`);
  });
});

function recordWrites(): () => string[] {
  let order: string[] = [];
  for (const name of mapNames)
    for (const method of ['putRange', 'putMany', 'put', 'delete', 'deleteMany'] as const) {
      const map = maps[name];
      const original = map[method].bind(map) as (...args: unknown[]) => unknown;
      Object.assign(map, { [method]: (...args: unknown[]) => (order.push(name), original(...args)) });
    }
  return () => {
    const written = order;
    order = [];
    return written;
  };
}

const counted = (value: bigint): ReturnType<typeof structs.counters.decode> => ({
  connections: value,
  packets: 2n * value,
  bytes: 3n * value,
  replyPackets: 4n * value,
  replyBytes: 5n * value,
});

function extentOf(server: VirtualServer): { first: number; count: number } {
  assert(server.frontend?.kind === 'port');
  const index = u32Of(maps.skep_ports.getRange(server.frontend.port, 1));
  const { firstSlot, slotCount } = structs.virtualServer.decode(maps.skep_virtual_servers.getRange(index, 1));
  return { first: firstSlot, count: slotCount };
}

function realIndices(server: VirtualServer): number[] {
  const { first, count } = extentOf(server);
  return Array.from({ length: count }, (_, i) => u32Of(maps.skep_slots.getRange(first + i, 1)));
}

describe('limits', () => {
  const limits: [map: keyof NodeMaps, entries: number][] = [
    ['skep_virtual_servers', 3],
    ['skep_real_servers', 6],
    ['skep_slots', 5],
    ['skep_addresses', 1],
    ['skep_listeners', 2],
  ];
  for (const [map, entries] of limits)
    test(`${map} is full: nothing of the run is done, and what fits still can be`, async () => {
      start({ [map]: entries });
      const fits = balanced(port(80), 1, 2);
      await converge(fits);
      const before = contents(maps);
      const tooMuch = [...meshObjects, ...fits, ...balanced(port(81), 3, 4, 5), ...balanced(port(82), 6, 7)];
      await assert.rejects(
        converge(tooMuch),
        (err) => err instanceof MapFullError && err.map === map && !err.retryable,
      );
      assert.deepEqual(contents(maps), before);
      await assertHolds(fits);

      const more = [...fits.slice(0, -1), ...balanced(port(90), 9)];
      await converge(more);
      await assertHolds(more);
    });

  test('what was just freed may be had after a while, and the error says so', async () => {
    start({ skep_slots: 4 });
    await converge(balanced(port(80), 1, 2, 3));
    await converge([]);
    await assert.rejects(
      converge(balanced(port(81), 4, 5)),
      (err) => err instanceof MapFullError && err.retryable,
    );
    nowMs += restMs;
    await converge(balanced(port(81), 4, 5));
    await assertHolds(balanced(port(81), 4, 5));
  });
});

describe('somebody else who writes the maps', () => {
  const web = balanced(port(80), 1, 2);
  const stranger = (): BalancerTable => new EbpfTable(byName(maps), clock).view(null, links);
  const foreign = realServer(port(80), 77);

  test('is noticed, wherever he writes, and what he wrote goes', async () => {
    await converge(web);
    assert.equal(await view().refresh(), false);
    for (const op of [
      { op: 'add', object: foreign },
      { op: 'delete', object: realServer(port(80), 1) },
      { op: 'delete', object: port(80) },
    ] as const) {
      await stranger().apply([op]);
      assert.equal(await view().refresh(), true, op.op);
      await converge(web);
      await assertHolds(web);
      assert.equal(await view().refresh(), false);
      nowMs += 60_000;
    }
  });

  test('leaves no index that is given out twice', async () => {
    await converge(web);
    await stranger().apply([{ op: 'add', object: foreign }]);
    await view().refresh();
    // Ours take other entries while his are there, and may have his once they rested.
    const more = balanced(port(81), 3, 4, 5);
    await converge([...web, ...more]);
    await assertHolds([...web, ...more]);
    nowMs += 2 * restMs;
    const most = balanced(port(82), 6, 7, 8, 9);
    await converge([...web, ...more, ...most]);
    await assertHolds([...web, ...more, ...most]);
  });
});
