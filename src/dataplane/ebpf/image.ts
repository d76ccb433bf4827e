/**
 * What the maps hold, as records: the virtual servers of every scope with their real servers, each at its index, and what is
 * there without belonging to any (`Leftovers`: a process that died between two writes leaves some, damage as well).
 *
 * Reading takes nothing from before but the maps, so a new process goes on where the last one was. Reading again compares
 * octets with those last read and written: an entry that differs marks its record as damaged until it is written anew, and
 * the record keeps its index, so that flows outlive the repair. Costs: the octets in use, no work an entry where nothing
 * differs.
 */
import assert from 'node:assert';
import type { Mac } from '../../model/addresses.js';
import type { Clock } from '../../runtime/clock.js';
import type { Frontend } from '../plan/objects.js';
import type { BpfMap } from './bpf.js';
import type { Extent } from './extent-pool.js';
import { ExtentPool } from './extent-pool.js';
import { IndexPool } from './index-pool.js';
import type { MapName } from './layout.js';
import { structs } from './layout.js';
import { MirroredArray, sameEntries } from './mirrored-array.js';
import type { RealRecord, VirtualRecord } from './records.js';
import { candidateOf, portIndex, realKey, realObject, vipKeyText, virtualObject } from './records.js';
import { planSlots } from './slots.js';
import { u32, u32Of } from './struct.js';

export type Maps = Readonly<Record<MapName, BpfMap>>;

/** Entries that belong to no record: what they held is void, and they are to be cleared. */
export interface Leftovers {
  readonly virtuals: Set<number>;
  readonly reals: Set<number>;
  readonly ports: Set<number>;
  /** Keys of skep_vips, in hex. */
  readonly vips: Set<string>;
}

export class Image {
  /** By VNI and mark. */
  readonly scopes = new Map<number, Map<number, VirtualRecord>>();
  readonly virtuals: (VirtualRecord | undefined)[] = [];
  readonly reals: (RealRecord | undefined)[] = [];
  readonly leftovers: Leftovers = {
    virtuals: new Set(),
    reals: new Set(),
    ports: new Set(),
    vips: new Set(),
  };
  /** Index of the virtual server by {@link vipKeyText}. */
  vips = new Map<string, number>();
  readonly virtualEntries: MirroredArray;
  readonly realEntries: MirroredArray;
  readonly slots: MirroredArray;
  readonly ports: MirroredArray;
  readonly virtualIndices: IndexPool;
  readonly realIndices: IndexPool;
  readonly extents: ExtentPool;
  readonly #maps: Maps;

  /** Reads the maps whole. Throws KernelError. */
  constructor(maps: Maps, clock: Pick<Clock, 'nowMs'>) {
    this.#maps = maps;
    const whole = (map: BpfMap): MirroredArray => new MirroredArray(map, map.entriesMax);
    this.virtualEntries = whole(maps.skep_virtual_servers);
    this.realEntries = whole(maps.skep_real_servers);
    this.ports = whole(maps.skep_ports);
    this.#readVirtualServers();
    this.#readRealServers();
    const used = this.#claimExtents(maps.skep_slots.entriesMax);
    const last = used.at(-1);
    this.slots = new MirroredArray(maps.skep_slots, last === undefined ? 0 : last.first + last.count);
    for (const record of this.#records())
      if (record.extent !== null && !this.slotsAreRight(record, slotsOf(record))) record.damaged.slots = true;
    this.#readVips();
    this.#findFrontends();

    const { virtuals, reals } = this.leftovers;
    this.virtualIndices = new IndexPool(
      { map: maps.skep_virtual_servers, clock },
      1,
      this.virtualEntries.count,
      (index) => this.virtuals[index] !== undefined || virtuals.has(index),
    );
    this.realIndices = new IndexPool(
      { map: maps.skep_real_servers, clock },
      1,
      this.realEntries.count,
      (index) => this.reals[index] !== undefined || reals.has(index),
    );
    this.extents = new ExtentPool({ map: maps.skep_slots, clock }, used);
  }

  /**
   * Reads again, and marks what differs; true when anything does from what was last read and written. Of real servers, whose map
   * is megabytes, those in use and some behind them are read. Throws KernelError.
   */
  refresh(): boolean {
    const changedVirtuals = this.virtualEntries.refresh();
    for (const index of changedVirtuals) {
      const record = this.virtuals[index];
      if (record) record.damaged.entry = true;
      else
        noteLeftover(this.leftovers.virtuals, this.virtualIndices, index, !this.virtualEntries.isZero(index));
    }
    const changedReals = this.realEntries.refresh(realsBeyond);
    for (const index of changedReals) {
      const record = this.reals[index];
      if (record) record.damaged = true;
      else noteLeftover(this.leftovers.reals, this.realIndices, index, this.#ownerIndex(index) !== 0);
    }
    // What nobody's slots are leads nowhere.
    const changedSlots = this.slots.refresh(0);
    if (changedSlots.length > 0)
      for (const record of this.#records())
        if (record.extent !== null && !this.slotsAreRight(record, slotsOf(record)))
          record.damaged.slots = true;
    const changedPorts = this.ports.refresh();
    const { vips } = this;
    this.#readVips();
    const changed =
      changedVirtuals.length + changedReals.length + changedSlots.length + changedPorts.length > 0 ||
      !sameEntries(vips, this.vips);
    if (changed) this.#findFrontends();
    return changed;
  }

  scope(vni: number): Map<number, VirtualRecord> {
    let scope = this.scopes.get(vni);
    if (scope === undefined) {
      scope = new Map<number, VirtualRecord>();
      this.scopes.set(vni, scope);
    }
    return scope;
  }

  /** True when the record's slots in the kernel are these. */
  slotsAreRight({ extent }: VirtualRecord, slots: Uint32Array): boolean {
    return extent === null
      ? slots.length === 0
      : slots.length === extent.count && this.slots.holds(extent.first, new Uint8Array(slots.buffer));
  }

  /** The record at an index that is in use. */
  virtual(index: number): VirtualRecord {
    const record = this.virtuals[index];
    assert(record, `virtual server ${index} is in use`);
    return record;
  }

  /** As {@link virtual}. */
  real(index: number): RealRecord {
    const record = this.reals[index];
    assert(record, `real server ${index} is in use`);
    return record;
  }

  /** Empties entries of virtual servers. Throws KernelError. */
  clearVirtuals(indices: number[]): void {
    this.virtualEntries.write(indices, () => undefined);
    for (const index of indices) {
      this.virtuals[index] = undefined;
      this.leftovers.virtuals.delete(index);
      if (index > 0) this.virtualIndices.giveBack(index);
    }
  }

  /** Empties entries of real servers, but for the generation: whoever comes next must get a higher one. Throws KernelError. */
  clearReals(indices: number[]): void {
    const generations = new Map(indices.map((index) => [index, this.generationOf(index)]));
    this.realEntries.write(indices, (view, at, index) =>
      structs.realServer.set(view, at, { ...noRealServer, generation: generations.get(index) ?? 0 }),
    );
    for (const index of indices) {
      this.reals[index] = undefined;
      this.leftovers.reals.delete(index);
      if (index > 0) this.realIndices.giveBack(index);
    }
  }

  /** Index of the virtual server to which a frontend leads, 0 when to none. */
  leadsTo(vni: number, frontend: Frontend): number {
    return frontend.kind === 'vip'
      ? (this.vips.get(vipKeyText(vni, frontend.address)) ?? 0)
      : this.portLeadsTo(portIndex(frontend));
  }

  portLeadsTo(index: number): number {
    return index < this.ports.count ? u32.get(this.ports.view, this.ports.at(index)) : 0;
  }

  /** What a real server's entry holds, in use or not. */
  generationOf(index: number): number {
    const { view, count } = this.realEntries;
    return index < count ? structs.realServer.get(view, this.realEntries.at(index)).generation : 0;
  }

  *#records(): Generator<VirtualRecord> {
    for (const scope of this.scopes.values()) yield* scope.values();
  }

  #ownerIndex(index: number): number {
    return u32.get(this.realEntries.view, this.realEntries.at(index));
  }

  #readVirtualServers(): void {
    const { view, count } = this.virtualEntries;
    for (let index = 0; index < count; index++) {
      if (this.virtualEntries.isZero(index)) continue;
      const entry = structs.virtualServer.get(view, this.virtualEntries.at(index));
      const object = virtualObject(entry);
      const scope = this.scope(entry.vni);
      if (index === 0 || object === null || scope.has(object.mark)) {
        this.leftovers.virtuals.add(index);
        continue;
      }
      const { vni, firstSlot, slotCount } = entry;
      const record: VirtualRecord = {
        index,
        vni,
        object,
        extent: slotCount > 0 ? { first: firstSlot, count: slotCount } : null,
        reals: new Map(),
        damaged: { entry: false, slots: false, frontend: false },
      };
      scope.set(object.mark, record);
      this.virtuals[index] = record;
    }
  }

  #readRealServers(): void {
    const { view, count } = this.realEntries;
    for (let index = 0; index < count; index++) {
      if (this.#ownerIndex(index) === 0) continue;
      const entry = structs.realServer.get(view, this.realEntries.at(index));
      const owner = this.virtuals[entry.virtualServer];
      const key = realKey(entry.address, entry.port);
      if (index === 0 || owner === undefined || owner.reals.has(key)) {
        this.leftovers.reals.add(index);
        continue;
      }
      const object = realObject(owner, entry);
      const record = { index, generation: entry.generation, owner, object, damaged: false };
      owner.reals.set(key, record);
      this.reals[index] = record;
    }
  }

  /** Every record's extent but those that lie in another's or outside: these are damaged and hold none. */
  #claimExtents(slotsMax: number): Extent[] {
    const used: Extent[] = [];
    let end = 0;
    const holders = [...this.#records()].sort((a, b) => (a.extent?.first ?? 0) - (b.extent?.first ?? 0));
    for (const record of holders) {
      const { extent } = record;
      if (extent === null) record.damaged.slots = slotsOf(record).length > 0;
      else if (extent.first >= end && extent.first + extent.count <= slotsMax) {
        used.push(extent);
        end = extent.first + extent.count;
      } else {
        record.extent = null;
        record.damaged.slots = true;
      }
    }
    return used;
  }

  #readVips(): void {
    this.vips = new Map(
      this.#maps.skep_vips.getAll().map(({ key, value }) => [key.toString('hex'), u32Of(value)]),
    );
  }

  /** Which frontends do not lead where they should, and which lead to nobody. */
  #findFrontends(): void {
    const { ports, vips } = this.leftovers;
    ports.clear();
    vips.clear();
    for (const record of this.#records())
      record.damaged.frontend = this.leadsTo(record.vni, record.object.frontend) !== record.index;

    for (let index = 0; index < this.ports.count; index++) {
      const target = this.portLeadsTo(index);
      if (target === 0) continue;
      const frontend = this.virtuals[target]?.object.frontend;
      if (frontend?.kind !== 'port' || portIndex(frontend) !== index) ports.add(index);
    }
    for (const [key, target] of this.vips) {
      const record = this.virtuals[target];
      const frontend = record?.object.frontend;
      if (!record || frontend?.kind !== 'vip' || vipKeyText(record.vni, frontend.address) !== key)
        vips.add(key);
    }
  }
}

/** Whoever adds a real server takes the first index that is free. */
const realsBeyond = 256;

/** A virtual server's slots as its real servers demand them. */
const slotsOf = ({ object, reals }: VirtualRecord): Uint32Array =>
  planSlots(
    object.scheduler,
    Array.from(reals.values(), (real) => candidateOf(real.index, real.object)),
  );

const noRealServer = {
  virtualServer: 0,
  address: 0,
  port: 0,
  mac: '00:00:00:00:00:00' as Mac,
  weight: 0,
} as const;

/** An entry of nobody's that came, or went again: as long as it is there, its index is not free. */
function noteLeftover(leftovers: Set<number>, pool: IndexPool, index: number, is: boolean): void {
  if (is === leftovers.has(index)) return;
  if (is) leftovers.add(index);
  else leftovers.delete(index);
  if (index === 0) return;
  if (is) pool.claim(index);
  else pool.giveBack(index);
}
