/**
 * Random changes of several scopes from seeds, with processes that end anywhere and entries that are overwritten: in the end
 * the maps hold what is wanted, and at no point between two writes is a packet led to what is not there.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'vitest';
import type { BalancerObject, BalancerOp, LinkIndices } from '../../../../src/dataplane/balancer/engine.js';
import { structs } from '../../../../src/dataplane/ebpf/layout.js';
import type { MapName } from '../../../../src/dataplane/ebpf/layout.js';
import { EbpfTable } from '../../../../src/dataplane/ebpf/table.js';
import { u32Octets, u32Of } from '../../../../src/dataplane/ebpf/struct.js';
import { KernelError } from '../../../../src/dataplane/kernel/kernel-error.js';
import { diff } from '../../../../src/dataplane/plan/diff.js';
import { line } from '../../../../src/dataplane/plan/objects.js';
import type { RealServer, VirtualServer } from '../../../../src/dataplane/plan/objects.js';
import { schedulers } from '../../../../src/model/balancing.js';
import type { Vni } from '../../../../src/model/ids.js';
import { seededNumbers } from '../../../support/cluster-objects.js';
import { meshObjects, port, realServer, vip } from './balanced-objects.js';
import { byName, contents, nodeMaps } from './node-maps.js';
import type { NodeMaps } from './node-maps.js';

const scopes = [null, 5000, 70_000] as const;
type Scope = (typeof scopes)[number];
const links: LinkIndices = {
  indexOf: async () => 7,
  nameOf: async (index) => (index === 7 ? 'sk-ingress' : null),
};
/** Small ones: they are read whole all the time. */
const capacities = {
  skep_ports: 64,
  skep_virtual_servers: 256,
  skep_virtual_counters: 256,
  skep_real_servers: 4096,
  skep_counters: 8192,
  skep_active: 4096,
  skep_slots: 262_144,
};
/** Maps that the daemon writes and programs only read. */
const written = [
  'skep_settings',
  'skep_ports',
  'skep_addresses',
  'skep_listeners',
  'skep_vips',
  'skep_virtual_servers',
  'skep_slots',
  'skep_real_servers',
  'skep_alias_nodes',
] as const satisfies MapName[];

class World {
  readonly random: () => number;
  readonly maps = nodeMaps(capacities);
  readonly wanted = new Map<Scope, BalancerObject[]>(scopes.map((scope) => [scope, []]));
  table: EbpfTable;
  nowMs = 0;

  constructor(readonly seed: number) {
    this.random = seededNumbers(seed);
    this.table = this.newTable();
  }

  newTable(): EbpfTable {
    return new EbpfTable(byName(this.maps), { nowMs: () => this.nowMs });
  }

  below(limit: number): number {
    return Math.floor(this.random() * limit);
  }

  /** Another wish in one scope: virtual servers with some of the real servers that they had. */
  wish(scope: Scope): void {
    const kept = (this.wanted.get(scope) ?? []).filter(() => this.random() < 0.8);
    const servers = new Map<number, VirtualServer>();
    const reals = new Map<string, RealServer>();
    const addServer = (server: VirtualServer): unknown => servers.set(server.mark, server);
    const addReal = (real: RealServer): unknown => reals.set(`${real.mark} ${real.address}`, real);
    for (const object of kept) {
      if (object.kind === 'virtualServer')
        addServer(this.random() < 0.2 ? { ...object, scheduler: this.anyScheduler() } : object);
      if (object.kind === 'realServer')
        addReal(this.random() < 0.2 ? { ...object, weight: this.below(4) } : object);
    }
    for (let i = this.below(4); i > 0; i--) {
      const number = 1 + this.below(12);
      const made = scope === null ? port(number) : vip(number);
      const server = { ...made, scheduler: this.anyScheduler(), affinityS: this.below(2) * 60 || null };
      addServer(server);
      for (let j = this.below(9); j > 0; j--) addReal(realServer(server, this.below(40), this.below(4)));
    }
    this.wanted.set(scope, [
      ...(scope === null && this.random() < 0.9 ? meshObjects : []),
      ...servers.values(),
      ...[...reals.values()].filter(({ mark }) => servers.has(mark)),
    ]);
  }

  anyScheduler(): VirtualServer['scheduler'] {
    return schedulers[this.below(schedulers.length)] ?? 'rr';
  }

  async pass(): Promise<BalancerOp[]> {
    const all: BalancerOp[] = [];
    for (const scope of scopes) {
      const view = this.table.view(scope as Vni | null, links);
      const ops = diff(this.wanted.get(scope) ?? [], await view.observe(true), () => true) as BalancerOp[];
      // As the reconciler does: what is put, then what is removed.
      await view.apply(ops.filter(({ op }) => op !== 'delete'));
      await view.apply(ops.filter(({ op }) => op === 'delete'));
      all.push(...ops);
    }
    return all;
  }

  async assertConverged(): Promise<void> {
    for (const table of [this.table, this.newTable()])
      for (const scope of scopes) {
        const observed = await table.view(scope as Vni | null, links).observe(true);
        assert.deepEqual(
          observed.map(line).sort(),
          (this.wanted.get(scope) ?? []).map(line).sort(),
          `seed ${this.seed}`,
        );
      }
    this.assertSound();
  }

  /** Whatever leads somewhere leads to something that is whole. */
  assertSound(): void {
    const { maps } = this;
    const ports = maps.skep_ports.getRange(0, 20);
    const reals = maps.skep_real_servers.getRange(0, capacities.skep_real_servers);
    const targets: [
      index: number,
      is: (entry: ReturnType<typeof structs.virtualServer.decode>) => boolean,
    ][] = [];
    for (let number = 0; number < 20; number++)
      targets.push([u32Of(ports.subarray(4 * number)), ({ vni, port }) => vni === 0 && port === number]);
    for (const { key, value } of maps.skep_vips.getAll()) {
      const { address } = structs.vipKey.decode(key);
      targets.push([u32Of(value), (entry) => entry.vni !== 0 && entry.address === address]);
    }
    for (const [index, is] of targets) {
      if (index === 0) continue;
      const entry = structs.virtualServer.decode(maps.skep_virtual_servers.getRange(index, 1));
      assert.ok(entry.mark !== 0 && is(entry), `seed ${this.seed}: virtual server ${index} is another's`);
      const slots = maps.skep_slots.getRange(entry.firstSlot, entry.slotCount);
      for (let at = 0; at < slots.length; at += 4) {
        const real = u32Of(slots.subarray(at));
        const virtualServer = u32Of(reals.subarray(real * structs.realServer.bytes));
        assert.equal(virtualServer, index, `seed ${this.seed}: slot ${at / 4} of virtual server ${index}`);
      }
    }
  }
}

/** After so many more entries every write fails, the one in which it happens half done; negative: never. */
function failAfter(maps: NodeMaps, onWrite: () => void): { left: number } {
  const state = { left: -1 };
  const fail = (): never => {
    throw new KernelError('write', 'EINTR');
  };
  for (const name of written) {
    const map = maps[name];
    const [putRange, putMany, deleteMany] = [
      map.putRange.bind(map),
      map.putMany.bind(map),
      map.deleteMany.bind(map),
    ];
    const allowed = (count: number): number => {
      onWrite();
      if (state.left < 0) return count;
      const now = Math.min(count, state.left);
      state.left -= now;
      return now;
    };
    map.putRange = (first, values) => {
      const now = allowed(values.length / map.valueBytes);
      putRange(first, values.subarray(0, now * map.valueBytes));
      if (now * map.valueBytes < values.length) fail();
    };
    map.putMany = (entries) => {
      const now = allowed(entries.length);
      putMany(entries.slice(0, now));
      if (now < entries.length) fail();
    };
    map.deleteMany = (keys) => {
      const now = allowed(keys.length);
      const deleted = deleteMany(keys.slice(0, now));
      return now < keys.length ? fail() : deleted;
    };
  }
  return state;
}

const seeds = Array.from({ length: 4 }, (_, i) => i + 1);

describe.each(seeds)('seed %i', { timeout: 60_000 }, (seed) => {
  test('wishes come true, one after the other, now and then in a new process', async () => {
    const world = new World(seed);
    for (let step = 0; step < 40; step++) {
      for (const scope of scopes) if (world.random() < 0.6) world.wish(scope);
      if (world.random() < 0.2) world.table = world.newTable();
      world.nowMs += world.below(4000);
      await world.pass();
      await world.assertConverged();
      assert.deepEqual(await world.pass(), []);
    }
    for (const scope of scopes) world.wanted.set(scope, []);
    await world.pass();
    await world.assertConverged();
    const left = contents(world.maps, written).filter((text) => !/^skep_(slots|real_servers) /.test(text));
    assert.deepEqual(left, []);
  });

  test('a process that ends or fails at any write leaves what the next pass puts right', async () => {
    const world = new World(seed);
    const writes = failAfter(world.maps, () => world.assertSound());
    for (let step = 0; step < 25; step++) {
      for (const scope of scopes) world.wish(scope);
      writes.left = world.below(30);
      try {
        await world.pass();
      } catch (err) {
        assert.ok(err instanceof KernelError, String(err));
      }
      writes.left = -1;
      world.assertSound();
      if (world.random() < 0.5) world.table = world.newTable();
      world.nowMs += world.below(4000);
      await world.pass();
      await world.assertConverged();
    }
  });

  test('an entry that was overwritten is seen and repaired, and nobody else loses an entry', async () => {
    const world = new World(seed);
    for (let step = 0; step < 40; step++) {
      world.wish(scopes[step % scopes.length] ?? null);
      await world.pass();
      const before = contents(world.maps, ['skep_real_servers', 'skep_virtual_counters']);
      const name = written[world.below(written.length)] ?? 'skep_ports';
      const damaged = damage(world, name);
      const ops = await world.pass();
      if (damaged) assert.ok(ops.length > 0, `seed ${seed}: damage of ${name} is not seen`);
      await world.assertConverged();
      assert.deepEqual(
        contents(world.maps, ['skep_real_servers', 'skep_virtual_counters']),
        before,
        `seed ${seed}: ${name}`,
      );
    }
  });

  test('what a new process finds damaged it repairs', async () => {
    const world = new World(seed);
    for (let step = 0; step < 40; step++) {
      world.wish(scopes[step % scopes.length] ?? null);
      await world.pass();
      for (let i = world.below(4); i >= 0; i--)
        damage(world, written[world.below(written.length)] ?? 'skep_ports');
      world.table = world.newTable();
      await world.pass();
      await world.assertConverged();
    }
  });
});

/** Overwrites one octet of an entry in use, or the whole of it; false when there is none in use. */
function damage(world: World, name: MapName): boolean {
  const map = world.maps[name];
  const inUse = entriesInUse(world, name);
  const [, id = '', octets = ''] = (inUse[world.below(inUse.length)] ?? '').split(' ');
  if (id === '') return false;
  const value = Buffer.from(octets, 'hex');
  const at = world.below(value.length);
  if (world.random() < 0.3) value.fill(0);
  else value[at] = (value[at] ?? 0) ^ (1 + world.below(255));
  const key = map.kind === 'hash' ? Buffer.from(id, 'hex') : u32Octets(Number(id));
  if (map.kind === 'hash' && world.random() < 0.3) map.delete(key);
  else map.put(key, value);
  return true;
}

/** Entries of a map that mean something: free slots keep what was last in them, and free real servers their generation. */
function entriesInUse(world: World, name: MapName): string[] {
  const all = contents(world.maps, [name]);
  if (name === 'skep_real_servers') return all.filter((text) => !/ 0{8}\w*$/.test(text));
  if (name !== 'skep_slots') return all;
  const { bytes } = structs.virtualServer;
  const entries = world.maps.skep_virtual_servers.getRange(0, capacities.skep_virtual_servers);
  const inUse = new Set<number>();
  for (let at = 0; at < entries.length; at += bytes) {
    const { firstSlot, slotCount } = structs.virtualServer.decode(entries, at);
    // Damaged ones may claim all there is.
    for (let slot = 0; slot < Math.min(slotCount, 20_000); slot++) inUse.add(firstSlot + slot);
  }
  return all.filter((text) => inUse.has(Number(text.split(' ')[1])));
}
