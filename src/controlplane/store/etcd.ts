/**
 * The store on etcd. One copy in memory, fed by one watch in revision order; a write is one etcd transaction that
 * compares the revision of every object it depends on, and is done when the watch has brought it back. What must
 * stay true: the view only ever holds what etcd has committed; a retried commit cannot be applied twice.
 * Cost: one fsync and one watch event for a transaction; a full read at start and after a compaction.
 *
 * The watch follows all keys of this etcd, which is Skep's alone: so every revision there is passes by, and "the view
 * has reached revision N" can be waited for whatever N was.
 */
import assert from 'node:assert';
import { OutsideError, SkepError } from '../../model/errors.js';
import { backoffMs } from '../../runtime/backoff.js';
import type { Clock } from '../../runtime/clock.js';
import { systemClock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { EtcdError } from '../etcd/channel.js';
import { CompactedError } from '../etcd/client.js';
import type { Compare, EtcdClient, KeyValue, WatchEvent, WriteOp } from '../etcd/client.js';
import { objectPut } from './fill.js';
import {
  allKinds,
  keyPrefix,
  kindPrefix,
  nameEntryKey,
  objectKey,
  parseObjectKey,
  revisionBaseKey,
} from './keys.js';
import { RevisionWaiters } from './revision-waiters.js';
import type { Sealer } from './seal.js';
import { TurnQueue } from './turn-queue.js';
import type { Change, ChangeBatch, Ids, Kind, Objects, Store, Transaction, View } from './store.js';
import { Subscribers } from './subscribers.js';
import { abortedError, attemptsMax, deepFreeze, runBody } from './transaction.js';
import type { Outcome } from './transaction.js';
import { Snapshot, isNamed } from './view.js';

export interface EtcdStoreOptions {
  readonly client: Pick<EtcdClient, 'readPrefix' | 'txn' | 'watchAll'>;
  readonly sealer: Sealer;
  readonly log: Log;
  /** Default the system's. */
  readonly clock?: Clock;
  /** How long `open` and `update` try to reach etcd. */
  readonly unavailableMs?: number;
  /** Takes a bug or a value that does not open, found while following etcd. Default: the process ends with it. */
  readonly onCrash?: (err: unknown) => void;
}

const unavailableMsDefault = 20_000;
const callMsMax = 5_000;
/** A write that a dead leader of Raft has taken with it is made again as soon as there can be another one. */
const commitMsMax = 1_500;
const retryMsMax = 1_000;

export class EtcdStore implements Store {
  readonly #options: EtcdStoreOptions;
  readonly #clock: Clock;
  readonly #subscribers: Subscribers;
  readonly #waiters: RevisionWaiters;
  /** Writers that lost a race take turns, so that with many of them each one still gets through. */
  readonly #retries = new TurnQueue();
  readonly #closing = new AbortController();
  #view = Snapshot.empty;
  /** See {@link revisionBaseKey}. Revisions are etcd's in what is sent to it and comes from it, and nowhere else. */
  #revisionBase = 0;
  #following: Promise<void> = Promise.resolve();

  private constructor(options: EtcdStoreOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#waiters = new RevisionWaiters(this.#clock);
    this.#subscribers = new Subscribers(options.log);
  }

  /**
   * Reads everything and starts following. Throws `unavailable` when etcd cannot be reached in time, AssertionError
   * for a value that does not open.
   */
  static async open(options: EtcdStoreOptions): Promise<EtcdStore> {
    const store = new EtcdStore(options);
    const deadlineMs = store.#deadline();
    await store.#untilReached(deadlineMs, () => store.#readAll(callMsMax));
    store.#following = store.#follow();
    return store;
  }

  view(): View {
    return this.#view;
  }

  async update<T>(body: (tx: Transaction) => T): Promise<T> {
    const deadlineMs = this.#deadline();
    const first = await this.#attempt(body, deadlineMs);
    if (first) return first.result;
    return this.#retries.run(async () => {
      for (let attempt = 1; attempt < attemptsMax; attempt++) {
        const done = await this.#attempt(body, deadlineMs);
        if (done) return done.result;
      }
      throw abortedError();
    });
  }

  subscribe(listener: (batch: ChangeBatch) => void): () => void {
    return this.#subscribers.add(listener);
  }

  async close(): Promise<void> {
    this.#closing.abort(new SkepError('unavailable', 'the store is closed'));
    this.#subscribers.clear();
    this.#waiters.rejectAll(this.#closing.signal.reason as Error);
    await this.#following;
  }

  /** One run and commit; undefined if somebody else was quicker, and then the view is newer. */
  async #attempt<T>(body: (tx: Transaction) => T, deadlineMs: number): Promise<Outcome<T> | undefined> {
    this.#closing.signal.throwIfAborted();
    const outcome = runBody(this.#view, this.#clock.nowMs(), body);
    if (outcome.writes.length === 0) return outcome;
    const { committed, revision } = await this.#commit(outcome, deadlineMs);
    await this.#reached(revision, deadlineMs);
    return committed ? outcome : undefined;
  }

  async #commit(
    outcome: Outcome<unknown>,
    deadlineMs: number,
  ): Promise<{ committed: boolean; revision: number }> {
    const { client, sealer } = this.#options;
    const compares: Compare[] = [
      ...outcome.seen.map(({ kind, id, version }) => ({
        key: objectKey(kind, id),
        modRevision: version === 0 ? 0 : version - this.#revisionBase,
      })),
      ...outcome.wholeKinds.map((kind) => ({
        prefix: kindPrefix(kind),
        unwrittenSince: outcome.baseRevision - this.#revisionBase,
      })),
    ];
    const names = nameOps(sealer, outcome.writes);
    const ops = [...outcome.writes.map((change) => writeOp(sealer, change)), ...names.ops];
    // The sealed bytes are unique to this commit (random nonce): finding them under the key after a refusal means
    // that an earlier try of this same commit went through though its answer was lost.
    const mark = ops.find((op) => op.op === 'put');
    return this.#untilReached(deadlineMs, async () => {
      const { succeeded, revision, read } = await client.txn([...compares, ...names.compares], ops, {
        deadlineMs: Math.min(commitMsMax, this.#remainingMs(deadlineMs)),
        ...(mark && { readOnFailure: mark.key }),
      });
      const ours = mark !== undefined && read !== undefined && read.value.equals(mark.value);
      return { committed: succeeded || ours, revision: this.#revisionBase + revision };
    });
  }

  /** Calls until it succeeds; failures that can pass are retried up to the deadline, then `unavailable`. */
  async #untilReached<T>(deadlineMs: number, call: () => Promise<T>): Promise<T> {
    for (let failures = 1; ; failures++) {
      try {
        return await call();
      } catch (err) {
        this.#closing.signal.throwIfAborted();
        if (err instanceof EtcdError && err.isOutOfSpace) throw storeFull(err);
        if (!(err instanceof OutsideError) || !err.retryable) throw err;
        const pauseMs = backoffMs(failures, retryMsMax);
        if (this.#remainingMs(deadlineMs) <= pauseMs) throw unavailable(err);
        await this.#clock.sleep(pauseMs, this.#closing.signal);
      }
    }
  }

  async #reached(revision: number, deadlineMs: number): Promise<void> {
    if (this.#view.revision >= revision) return;
    const late = (): SkepError => unavailable(new Error(`revision ${revision} was not seen in time`));
    await this.#waiters.wait(revision, this.#remainingMs(deadlineMs), late);
  }

  /** Follows etcd until closed: a broken watch starts again where it was, a compacted one after a full read. */
  async #follow(): Promise<void> {
    const { client, log, onCrash = crash } = this.#options;
    const { signal } = this.#closing;
    let failures = 0;
    let compacted = false;
    while (!signal.aborted) {
      try {
        if (compacted) await this.#readAll(callMsMax);
        compacted = false;
        await client.watchAll(
          this.#view.revision - this.#revisionBase + 1,
          (events) => {
            failures = 0;
            this.#take(events);
          },
          signal,
        );
      } catch (err) {
        if (signal.aborted) return;
        if (!(err instanceof OutsideError)) return onCrash(err);
        if (err instanceof CompactedError) compacted = true;
        failures += 1;
        log.warn({ err, failures, revision: this.#view.revision }, 'the watch ended, will follow again');
        await this.#clock.sleep(backoffMs(failures, retryMsMax), signal).catch(() => undefined);
      }
    }
  }

  /** Events of one or more whole revisions. */
  #take(events: readonly WatchEvent[]): void {
    let changes: Change[] = [];
    for (const [i, { type, kv }] of events.entries()) {
      const object = parseObjectKey(kv.key);
      if (object) {
        const change = this.#change(object, type === 'put' ? this.#open(kv) : undefined);
        if (change) changes.push(change);
      }
      if (events[i + 1]?.kv.modRevision === kv.modRevision) continue;
      this.#advance(this.#revisionBase + kv.modRevision, changes);
      changes = [];
    }
  }

  /** Reads all objects and brings the view to them, as one batch of the differences. */
  async #readAll(deadlineMs: number): Promise<void> {
    const objects = new Map<string, Objects[Kind]>();
    const { revision } = await this.#options.client.readPrefix(
      keyPrefix,
      (kvs) => {
        for (const kv of kvs)
          if (kv.key === revisionBaseKey)
            this.#revisionBase = Number(this.#options.sealer.open(kv.key, kv.value).toString());
          else if (parseObjectKey(kv.key)) objects.set(kv.key, this.#open(kv));
      },
      deadlineMs,
    );
    const changes: Change[] = [];
    for (const kind of allKinds)
      for (const { id } of this.#view.list(kind)) {
        if (objects.has(objectKey(kind, id))) continue;
        const gone = this.#change({ kind, id }, undefined);
        if (gone) changes.push(gone);
      }
    for (const [key, current] of objects) {
      const object = parseObjectKey(key);
      assert(object);
      const known = this.#view.get(object.kind, object.id as Ids[Kind]);
      if (known?.version === current.version) continue;
      const change = this.#change(object, current);
      if (change) changes.push(change);
    }
    this.#advance(this.#revisionBase + revision, changes);
  }

  #change(object: { kind: Kind; id: string }, current: Objects[Kind] | undefined): Change | undefined {
    const previous = this.#view.get(object.kind, object.id as Ids[Kind]);
    if (!previous && !current) return undefined;
    return { ...object, ...(previous && { previous }), ...(current && { current }) } as Change;
  }

  #advance(revision: number, changes: readonly Change[]): void {
    this.#view = this.#view.apply(revision, changes);
    if (changes.length > 0) this.#subscribers.deliver({ revision, changes });
    this.#waiters.reached(revision);
  }

  #open({ key, value, modRevision }: KeyValue): Objects[Kind] {
    const plain = this.#options.sealer.open(key, value);
    return deepFreeze({
      ...(JSON.parse(plain.toString()) as Objects[Kind]),
      version: this.#revisionBase + modRevision,
    });
  }

  /** @param deadlineMs by the steady clock */
  #remainingMs(deadlineMs: number): number {
    return Math.max(1, deadlineMs - this.#clock.steadyMs());
  }

  #deadline(): number {
    return this.#clock.steadyMs() + (this.#options.unavailableMs ?? unavailableMsDefault);
  }
}

const writeOp = (sealer: Sealer, { kind, id, current }: Change): WriteOp =>
  current ? objectPut(sealer, kind, current) : { op: 'delete', key: objectKey(kind, id) };

/**
 * The index entries of names taken and given up. An entry taken must be absent, unless this same transaction gives
 * it up: then the compared object of the old holder guards it.
 */
function nameOps(sealer: Sealer, writes: readonly Change[]): { compares: Compare[]; ops: WriteOp[] } {
  const taken = new Map<string, string>();
  const released = new Set<string>();
  for (const { kind, id, previous, current } of writes) {
    if (!isNamed(kind)) continue;
    const entry = (object: Objects[Kind] | undefined): string | undefined =>
      object && nameEntryKey(sealer, kind, (object as Objects[typeof kind]).spec.name);
    const [from, to] = [entry(previous), entry(current)];
    if (from === to) continue;
    if (from !== undefined) released.add(from);
    if (to !== undefined) taken.set(to, id);
  }
  const puts = Array.from(taken, ([key, id]): WriteOp => {
    return { op: 'put', key, value: sealer.seal(key, Buffer.from(id)) };
  });
  const free = [...released].filter((key) => !taken.has(key));
  const claimed = [...taken.keys()].filter((key) => !released.has(key));
  return {
    compares: claimed.map((key) => ({ key, modRevision: 0 })),
    ops: [...puts, ...free.map((key): WriteOp => ({ op: 'delete', key }))],
  };
}

const storeFull = (cause: unknown): SkepError =>
  new SkepError(
    'unavailable',
    'the store of the cluster is full: it takes no changes but removals until there is room; "docker info" says what makes some',
    { cause },
  );

const unavailable = (cause: unknown): SkepError =>
  new SkepError('unavailable', 'the store of the cluster cannot be reached', { cause });

/** Bugs crash: the daemon restarts and reads everything anew. */
const crash = (err: unknown): void => {
  process.nextTick(() => {
    throw err;
  });
};
