/**
 * One run of operations on the virtual servers of a scope, in two steps. Making a Change works out all that is to be written
 * and takes the entries for it, without writing: what does not fit is known before anything was done. `write` then makes
 * it so in a constant number of batches, in an order in which programs never meet what is half made:
 *
 * 1. counters of entries that had another owner, and the real servers but those that begin to drain: nothing leads to the
 *    new ones yet;
 * 2. slots, always in an extent that no program reads;
 * 3. virtual servers: the update of an entry switches it to its new slots;
 * 4. the weight 0 of real servers that begin to drain: sooner, a program would find in the old slots nobody to serve, and refuse;
 * 5. ports and VIPs, which lead to virtual servers;
 * 6. what is no longer wanted, now that nothing leads there; its counts are added to those of its virtual server.
 *
 * Costs are those of the virtual servers named by an operation, whatever else the maps hold.
 */
import assert from 'node:assert';
import { KernelError } from '../kernel/kernel-error.js';
import type { Op } from '../plan/diff.js';
import { opLine } from '../plan/diff.js';
import type { RealServer, VirtualServer } from '../plan/objects.js';
import { addToRetired, clearCounters } from './counters.js';
import type { Extent } from './extent-pool.js';
import type { FormerFrontend } from './frontends.js';
import { sameFrontend, writeFrontends } from './frontends.js';
import type { Image, Maps } from './image.js';
import { ipv4Number } from './ipv4.js';
import { structs } from './layout.js';
import type { RealRecord, VirtualRecord } from './records.js';
import { candidateOf, hostVni, realEntry, realKey, virtualEntry } from './records.js';
import type { SlotCandidate } from './slots.js';
import { planSlots } from './slots.js';
import { u32 } from './struct.js';

export type ServerOp = Op & { readonly object: VirtualServer | RealServer };

/** A virtual server as the run shall leave it. `object` null: gone; `record` null: not there yet. */
interface Wanted {
  readonly record: VirtualRecord | null;
  object: VirtualRecord['object'] | null;
  readonly reals: Map<number, RealRecord['object']>;
}

/** A virtual server that stays or comes, and what becomes of its record. */
interface Staged {
  readonly record: VirtualRecord;
  readonly object: VirtualRecord['object'];
  readonly reals: Map<number, RealRecord>;
  /** Null: they stay as they are. */
  readonly slots: { readonly extent: Extent | null; readonly values: Uint32Array } | null;
}

export class Change {
  readonly #wanted = new Map<number, Wanted>();
  readonly #staged: Staged[] = [];
  /** Those of the staged whose entry, or whose frontend's, is to be written. */
  readonly #entries: VirtualRecord[] = [];
  readonly #frontends: VirtualRecord[] = [];
  readonly #formerFrontends: FormerFrontend[] = [];
  readonly #newVirtuals: VirtualRecord[] = [];
  readonly #goneVirtuals: VirtualRecord[] = [];
  readonly #newReals: RealRecord[] = [];
  readonly #changedReals: { readonly record: RealRecord; readonly object: RealRecord['object'] }[] = [];
  /** Those of the changed that take no new flows from now on. */
  readonly #drainingReals = new Set<RealRecord>();
  readonly #goneReals: RealRecord[] = [];
  readonly #newExtents: Extent[] = [];
  readonly #goneExtents: Extent[] = [];

  /** Throws MapFullError, or KernelError for a real server without its virtual server; nothing was done then. */
  constructor(
    private readonly maps: Maps,
    private readonly image: Image,
    private readonly vni: number,
    ops: readonly ServerOp[],
  ) {
    for (const op of ops) this.#want(op);
    try {
      for (const wanted of this.#wanted.values()) this.#stage(wanted);
    } catch (err) {
      for (const { index } of this.#newReals) image.realIndices.putBack(index);
      for (const { index } of this.#newVirtuals) image.virtualIndices.putBack(index);
      image.extents.putBack(this.#newExtents);
      throw err;
    }
  }

  /** Once. Throws KernelError; what the maps hold is then to be read again. */
  write(): void {
    const { maps, image } = this;
    this.#updateRecords();
    clearCounters(
      maps,
      this.#newReals.flatMap(({ index, generation }) => (generation > 1 ? [index] : [])),
      this.#newVirtuals.map(({ index }) => index),
    );
    const changed = this.#changedReals.map(({ record }) => record);
    this.#writeReals([...this.#newReals, ...changed.filter((record) => !this.#drainingReals.has(record))]);
    this.#writeSlots();
    image.virtualEntries.write(
      this.#entries.map(({ index }) => index),
      (view, at, index) => structs.virtualServer.set(view, at, virtualEntry(image.virtual(index))),
    );
    this.#writeReals([...this.#drainingReals]);
    writeFrontends(maps, image, this.#frontends, this.#formerFrontends);
    this.#removeGone();
  }

  #writeReals(records: readonly RealRecord[]): void {
    const { image } = this;
    image.realEntries.write(
      records.map(({ index }) => index),
      (view, at, index) => structs.realServer.set(view, at, realEntry(image.real(index))),
    );
  }

  #want(op: ServerOp): void {
    const { object } = op;
    let wanted = this.#wanted.get(object.mark);
    if (wanted === undefined) {
      const record = this.image.scope(this.vni).get(object.mark) ?? null;
      wanted = { record, object: record?.object ?? null, reals: new Map() };
      if (record !== null) for (const [key, real] of record.reals) wanted.reals.set(key, real.object);
      this.#wanted.set(object.mark, wanted);
    }
    if (object.kind === 'virtualServer') {
      if (op.op === 'delete') {
        wanted.object = null;
        wanted.reals.clear();
        return;
      }
      assert(hasFrontend(object), 'a virtual server has a frontend here');
      assert(
        (object.frontend.kind === 'port') === (this.vni === hostVni),
        'ports in the host, VIPs in overlays',
      );
      wanted.object = object;
      return;
    }
    const key = realKey(ipv4Number(object.address), object.port);
    if (op.op === 'delete') {
      wanted.reals.delete(key);
      return;
    }
    assert(hasMac(object), 'a real server has a MAC here');
    if (wanted.object === null) throw new KernelError(opLine(op), 'ENOENT');
    wanted.reals.set(key, object);
  }

  #stage({ record: known, object, reals: wantedReals }: Wanted): void {
    if (object === null) {
      if (known !== null) this.#stageRemoval(known);
      return;
    }
    const record = known ?? this.#newRecord(object);
    const { damaged } = record;
    const { reals, candidates, rebalanced } = this.#stageReals(record, wantedReals);
    const newScheduler = record.object.scheduler !== object.scheduler;
    const slots =
      rebalanced || newScheduler || damaged.slots
        ? this.#stageSlots(record, planSlots(object.scheduler, candidates))
        : null;
    this.#staged.push({ record, object, reals, slots });

    const newFrontend = known === null || !sameFrontend(known.object.frontend, object.frontend);
    if (newFrontend && known !== null)
      this.#formerFrontends.push({ vni: this.vni, frontend: known.object.frontend, index: known.index });
    if (newFrontend || damaged.frontend) this.#frontends.push(record);
    const changed = newScheduler || record.object.affinityS !== object.affinityS;
    if (newFrontend || changed || slots !== null || damaged.entry) this.#entries.push(record);
  }

  #stageRemoval(record: VirtualRecord): void {
    this.#goneVirtuals.push(record);
    for (const real of record.reals.values()) this.#goneReals.push(real);
    if (record.extent !== null) this.#goneExtents.push(record.extent);
    const { vni, index, object } = record;
    this.#formerFrontends.push({ vni, frontend: object.frontend, index });
  }

  #newRecord(object: VirtualRecord['object']): VirtualRecord {
    const record: VirtualRecord = {
      index: this.image.virtualIndices.take(),
      vni: this.vni,
      object,
      extent: null,
      reals: new Map(),
      damaged: { entry: false, slots: false, frontend: false },
    };
    this.#newVirtuals.push(record);
    return record;
  }

  /** Real servers that stay keep their entries, and so their flows. */
  #stageReals(
    owner: VirtualRecord,
    wanted: Wanted['reals'],
  ): { reals: Map<number, RealRecord>; candidates: SlotCandidate[]; rebalanced: boolean } {
    const reals = new Map<number, RealRecord>();
    const candidates: SlotCandidate[] = [];
    let rebalanced = false;
    for (const [key, object] of wanted) {
      let record = owner.reals.get(key);
      if (record === undefined) {
        const index = this.image.realIndices.take();
        record = { index, generation: nextGeneration(this.image, index), owner, object, damaged: false };
        this.#newReals.push(record);
        rebalanced = true;
      } else if (record.damaged || record.object !== object) {
        this.#changedReals.push({ record, object });
        if (object.weight === 0 && record.object.weight > 0) this.#drainingReals.add(record);
        rebalanced ||= record.object.weight !== object.weight || record.object.mac !== object.mac;
      }
      reals.set(key, record);
      candidates.push(candidateOf(record.index, object));
    }
    for (const [key, record] of owner.reals)
      if (!wanted.has(key)) {
        this.#goneReals.push(record);
        rebalanced = true;
      }
    return { reals, candidates, rebalanced };
  }

  /** Null when they are right already, e.g. after another weight with rr. */
  #stageSlots(record: VirtualRecord, values: Uint32Array): Staged['slots'] {
    if (!record.damaged.slots && this.image.slotsAreRight(record, values)) return null;
    if (record.extent !== null) this.#goneExtents.push(record.extent);
    if (values.length === 0) return { extent: null, values };
    const extent = this.image.extents.take(values.length);
    this.#newExtents.push(extent);
    return { extent, values };
  }

  /** The image first: what is written is read from it. */
  #updateRecords(): void {
    const { image } = this;
    for (const record of this.#newVirtuals) {
      image.virtuals[record.index] = record;
      image.scope(this.vni).set(record.object.mark, record);
    }
    for (const { record, object, reals, slots } of this.#staged) {
      record.object = object;
      record.reals = reals;
      if (slots !== null) {
        record.extent = slots.extent;
        record.damaged.slots = false;
      }
    }
    for (const record of this.#entries) record.damaged.entry = false;
    for (const record of this.#newReals) image.reals[record.index] = record;
    for (const { record, object } of this.#changedReals) {
      record.object = object;
      record.damaged = false;
    }
  }

  #writeSlots(): void {
    const written = this.#staged
      .flatMap(({ slots }) => (slots?.extent ? [{ ...slots.extent, values: slots.values }] : []))
      .sort((a, b) => a.first - b.first);
    const places: number[] = [];
    const values: number[] = [];
    for (const { first, values: some } of written)
      for (let i = 0; i < some.length; i++) {
        places.push(first + i);
        values.push(some[i] ?? 0);
      }
    let next = 0;
    this.image.slots.write(places, (view, at) => u32.set(view, at, values[next++] ?? 0));
  }

  #removeGone(): void {
    const { maps, image } = this;
    for (const extent of this.#goneExtents) image.extents.giveBack(extent);
    image.clearVirtuals(this.#goneVirtuals.map(({ index }) => index));
    image.clearReals(this.#goneReals.map(({ index }) => index));
    for (const { object } of this.#goneVirtuals) image.scope(this.vni).delete(object.mark);
    const gone = new Set(this.#goneVirtuals);
    addToRetired(
      maps,
      this.#goneReals.filter(({ owner }) => !gone.has(owner)),
    );
  }
}

/** Never 0: that is an entry that nobody ever had. */
const nextGeneration = (image: Image, index: number): number => (image.generationOf(index) + 1) >>> 0 || 1;

const hasFrontend = (server: VirtualServer): server is VirtualRecord['object'] =>
  server.frontend !== undefined;
const hasMac = (server: RealServer): server is RealRecord['object'] => server.mac !== undefined;
