/**
 * What control loops write: a draft over a view collects writes, and a plan is those writes as a value. A loop plans
 * inside the store's transaction, so a lost race costs a second plan and nothing else, and having nothing to do no commit. A draft holds at most one transaction; units that belong together are never split, because
 * planners ask {@link Draft.fits} before each unit.
 */
import assert from 'node:assert';
import { maxWrites } from './store/store.js';
import type { Ids, Kind, Objects, Store, Transaction, View } from './store/store.js';
import type { ServiceId } from '../model/ids.js';
import type { Meta, Task } from '../model/objects.js';
import type { Looked, Scope, Touched } from './touched.js';

/** An object as its creator gives it. */
export type New<K extends Kind> = Omit<Objects[K], keyof Meta>;

export type Write = {
  [K in Kind]:
    | { readonly op: 'create'; readonly kind: K; readonly object: Objects[K] }
    | { readonly op: 'update'; readonly kind: K; readonly object: Objects[K] }
    | { readonly op: 'delete'; readonly kind: K; readonly id: Ids[K] };
}[Kind];

export interface Plan extends Looked {
  /** At most {@link maxWrites}, to be committed together. */
  readonly writes: readonly Write[];
  /** True when there is more to do than fits one transaction. */
  readonly more: boolean;
  /** When the plan may change by time alone, in ms since the epoch. */
  readonly wakeAtMs?: number;
}

export type Planner = (view: View, nowMs: number, scope?: Scope) => Plan;

/** Of managers whose clocks are kept right. */
const clockDifferenceMsMax = 5_000;

export class Draft {
  readonly #writes = new Map<string, Write>();
  /** The tasks of each service that was written to, since they were last asked for; the others' are the view's. */
  readonly #tasksOfServices = new Map<ServiceId, readonly Task[] | undefined>();
  #more = false;
  #wakeAtMs: number | undefined;
  #unit: ServiceId | undefined;
  readonly #unfinished = new Set<ServiceId>();
  readonly #wakes = new Map<ServiceId, number>();

  constructor(
    readonly view: View,
    readonly nowMs: number,
    private readonly limit = maxWrites,
  ) {}

  /** What follows is about this unit. False when there is no room for any write: it is to be left for the next plan. */
  begin(unit: ServiceId): boolean {
    this.#unit = unit;
    return this.fits(1);
  }

  /**
   * True when `count` more writes fit; false marks the plan as unfinished, and the caller leaves its unit out. A unit
   * larger than a transaction never fits and is no reason to plan again.
   */
  fits(count: number): boolean {
    if (count > this.limit) return false;
    if (this.#writes.size + count <= this.limit) return true;
    this.#more = true;
    if (this.#unit !== undefined) this.#unfinished.add(this.#unit);
    return false;
  }

  /** Asks for a pass at this time even if nothing changes; the earliest wins. */
  wakeAt(timeMs: number): void {
    this.#wakeAtMs = Math.min(timeMs, this.#wakeAtMs ?? timeMs);
    if (this.#unit === undefined) return;
    this.#wakes.set(this.#unit, Math.min(timeMs, this.#wakes.get(this.#unit) ?? timeMs));
  }

  /**
   * Whether so long has passed since a time that some leader has written down; if not, asks for a pass when it will have. A time
   * that is still to come, by more than managers' clocks differ, was written by a clock that was wrong, or this one is: nothing
   * waits for it, or it could be for hours.
   */
  hasPassed(sinceMs: number, waitMs: number): boolean {
    const dueMs = sinceMs + waitMs;
    if (dueMs <= this.nowMs || sinceMs > this.nowMs + clockDifferenceMsMax) return true;
    this.wakeAt(dueMs);
    return false;
  }

  get<K extends Kind>(kind: K, id: Ids[K]): Objects[K] | undefined {
    const write = this.#writes.size === 0 ? undefined : this.#writes.get(key(kind, id));
    if (!write) return this.view.get(kind, id);
    return write.op === 'delete' ? undefined : (write.object as Objects[K]);
  }

  /** The service's tasks with the draft's writes applied. */
  tasksOfService(id: ServiceId): readonly Task[] {
    if (!this.#tasksOfServices.has(id)) return this.view.tasksOfService(id);
    const tasks = this.#tasksOfServices.get(id) ?? this.#applied(id);
    this.#tasksOfServices.set(id, tasks);
    return tasks;
  }

  #applied(id: ServiceId): readonly Task[] {
    const known = this.view.tasksOfService(id).flatMap((task): Task | readonly Task[] => {
      const write = this.#writes.get(key('task', task.id));
      if (!write) return task;
      return write.op === 'delete' ? [] : (write.object as Task);
    });
    const created = [...this.#writes.values()].flatMap((write) =>
      write.op === 'create' && write.kind === 'task' && write.object.serviceId === id ? [write.object] : [],
    );
    return created.length === 0 ? known : [...known, ...created];
  }

  create<K extends Kind>(kind: K, object: New<K>): Objects[K] {
    const created = { ...object, version: 0, createdAtMs: this.nowMs, updatedAtMs: this.nowMs } as Objects[K];
    assert(!this.get(kind, created.id as Ids[K]), `${kind} ${created.id} exists`);
    this.#set({ op: 'create', kind, object: created } as never);
    return created;
  }

  update<K extends Kind>(kind: K, object: Objects[K]): Objects[K] {
    const before = this.#writes.get(key(kind, object.id));
    assert(before?.op !== 'delete', `${kind} ${object.id} was deleted`);
    this.#set({ op: before?.op ?? 'update', kind, object } as never);
    return object;
  }

  delete<K extends Kind>(kind: K, id: Ids[K]): void {
    this.#touch(kind, this.get(kind, id));
    if (this.#writes.get(key(kind, id))?.op === 'create') this.#writes.delete(key(kind, id));
    else this.#writes.set(key(kind, id), { op: 'delete', kind, id } as Write);
    this.#checkSize();
  }

  plan(): Plan {
    const writes = [...this.#writes.values()];
    return {
      writes,
      more: this.#more,
      ...(this.#wakeAtMs === undefined ? {} : { wakeAtMs: this.#wakeAtMs }),
      ...{ wakes: this.#wakes, unfinished: this.#unfinished },
    };
  }

  #set(write: Exclude<Write, { op: 'delete' }>): void {
    this.#touch(write.kind, write.object);
    this.#writes.set(key(write.kind, write.object.id), write);
    this.#checkSize();
  }

  #touch(kind: Kind, object: Objects[Kind] | undefined): void {
    if (kind === 'task' && object) this.#tasksOfServices.set((object as Task).serviceId, undefined);
  }

  #checkSize(): void {
    assert(this.#writes.size <= this.limit, 'the draft is full: ask fits() first');
  }
}

const key = (kind: Kind, id: string): string => `${kind}/${id}`;

/** Puts a plan's writes into a transaction. */
export function writePlan(tx: Transaction, writes: readonly Write[]): void {
  for (const write of writes) {
    if (write.op === 'delete') tx.delete(write.kind, write.id);
    else if (write.op === 'update') tx.update(write.kind, write.object);
    else {
      const { version: _v, createdAtMs: _c, updatedAtMs: _u, ...object } = write.object;
      tx.create(write.kind, object);
    }
  }
}

/** Transactions of one pass, at most: 20,000 writes. What is left waits for the next pass. */
const transactionsMax = 100;

/**
 * Plans and commits until nothing is left, telling `onCommit` of each transaction. Returns when the planner next wants to run, in ms since the epoch.
 * Throws what {@link Store.update} throws.
 * @param touched what has to be looked at; absent: everything, each time
 */
export async function applyPlanner(
  store: Store,
  planner: Planner,
  nowMs: () => number,
  onCommit: (plan: Plan) => void = () => undefined,
  touched?: Touched,
): Promise<number | undefined> {
  for (let round = 0; round < transactionsMax; round++) {
    const scope = touched?.take(nowMs(), store.view());
    // Without writes nothing is committed, and nobody waited for.
    const done = await store
      .update((tx) => {
        // One time for all: what is written is compared with when it was written.
        const plan = planner(tx, tx.nowMs, scope);
        writePlan(tx, plan.writes);
        return plan;
      })
      .catch((err: unknown) => {
        touched?.everything();
        throw err;
      });
    touched?.planned(scope, done);
    if (done.writes.length > 0) onCommit(done);
    if (!done.more || done.writes.length === 0) return touched ? touched.wakeAtMs() : done.wakeAtMs;
  }
  return nowMs();
}
