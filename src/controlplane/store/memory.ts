/**
 * The store without etcd, for unit tests and the simulation. Commits happen before `update` returns its promise, so
 * a test needs no waiting; a conflict can only come from a body that writes to the store itself. Values pass through
 * JSON as they do on their way to etcd: what does not survive it is not there to be read here either.
 */
import assert from 'node:assert';
import { pino } from 'pino';
import { SkepError } from '../../model/errors.js';
import type { Clock } from '../../runtime/clock.js';
import { systemClock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { Change, ChangeBatch, Objects, Kind, Store, Transaction, View } from './store.js';
import { Subscribers } from './subscribers.js';
import { abortedError, attemptsMax, deepFreeze, runBody, stillHolds } from './transaction.js';
import { Snapshot } from './view.js';

export interface MemoryStoreOptions {
  readonly clock?: Pick<Clock, 'nowMs'>;
  readonly log?: Log;
}

export class MemoryStore implements Store {
  readonly #clock: Pick<Clock, 'nowMs'>;
  readonly #subscribers: Subscribers;
  #view = Snapshot.empty;
  #closed = false;

  constructor({ clock = systemClock, log = pino({ enabled: false }) }: MemoryStoreOptions = {}) {
    this.#clock = clock;
    this.#subscribers = new Subscribers(log);
  }

  view(): View {
    return this.#view;
  }

  async update<T>(body: (tx: Transaction) => T): Promise<T> {
    if (this.#closed) throw new SkepError('unavailable', 'the store is closed');
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const outcome = runBody(this.#view, this.#clock.nowMs(), body);
      const { result, writes } = outcome;
      if (writes.length === 0) return result;
      if (!stillHolds(outcome, this.#view) || !namesHold(writes, this.#view)) continue;
      this.#commit(writes);
      return result;
    }
    throw abortedError();
  }

  subscribe(listener: (batch: ChangeBatch) => void): () => void {
    return this.#subscribers.add(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#subscribers.clear();
  }

  #commit(writes: readonly Change[]): void {
    const revision = this.#view.revision + 1;
    const changes = writes.map((change) =>
      change.current ? ({ ...change, current: stored(change.current, revision) } as Change) : change,
    );
    this.#view = this.#view.apply(revision, changes);
    this.#subscribers.deliver({ revision, changes });
  }
}

function stored(object: Objects[Kind], version: number): Objects[Kind] {
  const copy = JSON.parse(JSON.stringify(object)) as Objects[Kind];
  assert(copy.id === object.id);
  return deepFreeze({ ...copy, version });
}

/** False if a name to be taken was taken while the body ran. */
const namesHold = (writes: readonly Change[], view: Snapshot): boolean =>
  writes.every((change) => {
    if ((change.kind !== 'service' && change.kind !== 'network') || !change.current) return true;
    const holder = view.byName(change.kind, change.current.spec.name);
    if (!holder || holder.id === change.id) return true;
    // Given up by its holder in this very transaction.
    return writes.some(({ kind, id }) => kind === change.kind && id === holder.id);
  });
