/**
 * What both stores do with a transaction's body: give it a view that takes writes, reduce what it did to one change
 * per object, say which objects the commit depends on, and run it again when those changed meanwhile.
 * Reads see the writes so far because every write makes a new snapshot, which is cheap (view.ts).
 */
import assert from 'node:assert';
import { SkepError, controlApiError } from '../../model/errors.js';
import type { NodeId, ServiceId } from '../../model/ids.js';
import type { Cluster, Meta, Task } from '../../model/objects.js';
import { maxWrites } from './store.js';
import type { Change, Ids, Kind, NamedKind, Objects, Transaction } from './store.js';
import { isNamed } from './view.js';
import type { Snapshot } from './view.js';

/** Runs of one body before `aborted`. */
export const attemptsMax = 10;
/** Objects read by id on which a commit depends besides those it writes; the ones read first count. */
const comparedReadsMax = 512;

/** What a body asked for, one change per object in order of the first write, metadata set but for the version. */
export interface Outcome<T> {
  readonly result: T;
  readonly writes: readonly Change[];
  /** Objects the commit depends on, with the version seen; 0: absent. Everything written is among them. */
  readonly seen: readonly Seen[];
  /** Kinds of which nothing may have been created or changed after {@link baseRevision}. */
  readonly wholeKinds: readonly Kind[];
  /** Of the view that the body ran on. */
  readonly baseRevision: number;
}

export interface Seen {
  readonly kind: Kind;
  readonly id: string;
  readonly version: number;
}

/** Runs `body` on `base`. Throws what the body throws, and AssertionError for more than {@link maxWrites} writes. */
export function runBody<T>(base: Snapshot, nowMs: number, body: (tx: Transaction) => T): Outcome<T> {
  const work = new Work(base, nowMs);
  const result = body(work);
  work.end();
  assert(!(result instanceof Promise), 'a transaction body is synchronous');
  return { result, ...work.outcome() };
}

/** True if everything that the commit depends on is still as it was seen. */
export const stillHolds = (
  { seen, wholeKinds, baseRevision }: Pick<Outcome<unknown>, 'seen' | 'wholeKinds' | 'baseRevision'>,
  view: Snapshot,
): boolean =>
  seen.every(({ kind, id, version }) => (view.get(kind, id as Ids[Kind])?.version ?? 0) === version) &&
  wholeKinds.every((kind) => view.list(kind).every(({ version }) => version <= baseRevision));

/** The refusal after {@link attemptsMax} runs, or for an object that was read too long ago. */
export const abortedError = (): SkepError =>
  new SkepError('aborted', 'the object was changed by somebody else at the same time, try again');

/** Freezes a value and all it holds. A frozen part is taken to be frozen to the bottom. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const part of Object.values(value)) deepFreeze(part);
  return Object.freeze(value);
}

class Work implements Transaction {
  #now: Snapshot;
  #ended = false;
  readonly #written = new Map<string, { readonly kind: Kind; readonly id: string }>();
  readonly #read = new Map<string, { readonly kind: Kind; readonly id: string }>();
  readonly #wholeKinds = new Set<Kind>();

  constructor(
    private readonly base: Snapshot,
    readonly nowMs: number,
  ) {
    this.#now = base;
  }

  get revision(): number {
    return this.base.revision;
  }

  get<K extends Kind>(kind: K, id: Ids[K]): Objects[K] | undefined {
    if (this.#read.size < comparedReadsMax) this.#read.set(`${kind}/${id}`, { kind, id });
    return this.#now.get(kind, id);
  }

  list<K extends Kind>(kind: K): readonly Objects[K][] {
    return this.#now.list(kind);
  }

  cluster(): Cluster {
    return this.#now.cluster();
  }

  tasksOfService(id: ServiceId): readonly Task[] {
    return this.#now.tasksOfService(id);
  }

  tasksOnNode(id: NodeId): readonly Task[] {
    return this.#now.tasksOnNode(id);
  }

  servicesOfTasks(): readonly ServiceId[] {
    return this.#now.servicesOfTasks();
  }

  waitingTasks(): readonly Task[] {
    return this.#now.waitingTasks();
  }

  byName<K extends NamedKind>(kind: K, name: string): Objects[K] | undefined {
    return this.#now.byName(kind, name);
  }

  create<K extends Kind>(kind: K, object: Omit<Objects[K], keyof Meta>): void {
    const meta: Meta = { version: 0, createdAtMs: this.nowMs, updatedAtMs: this.nowMs };
    const created = { ...object, ...meta } as unknown as Objects[K];
    assert(!this.#now.get(kind, idOf(created)), `${kind} ${created.id} exists already`);
    this.#write(kind, created);
  }

  update<K extends Kind>(kind: K, object: Objects[K]): void {
    const known = this.#now.get(kind, idOf(object));
    assert(known, `${kind} ${object.id} does not exist`);
    // Made from an older reading, the write would undo what others wrote since. The caller starts again.
    if (object.version !== known.version) throw abortedError();
    const { version, createdAtMs } = known;
    this.#write(kind, { ...object, version, createdAtMs, updatedAtMs: this.nowMs });
  }

  delete(kind: Kind, id: string): void {
    this.#apply({ kind, id, previous: this.#now.get(kind, id as Ids[Kind]) } as Change);
  }

  dependOnAll(kind: Kind): void {
    this.#wholeKinds.add(kind);
  }

  /** After this the transaction takes no more writes: a body that kept it is a bug. */
  end(): void {
    this.#ended = true;
  }

  outcome(): Omit<Outcome<never>, 'result'> {
    const writes: Change[] = [];
    for (const { kind, id } of this.#written.values()) {
      const previous = this.base.get(kind, id as Ids[Kind]);
      const current = this.#now.get(kind, id as Ids[Kind]);
      if (!previous && !current) continue;
      const change = { kind, id, ...(previous && { previous }), ...(current && { current }) };
      writes.push(change as Change);
    }
    assert(writes.length <= maxWrites, `a transaction of ${writes.length} writes, at most ${maxWrites}`);
    const seen = new Map([...this.#read, ...this.#written]);
    return {
      writes,
      seen: Array.from(seen.values(), ({ kind, id }) => ({
        kind,
        id,
        version: this.base.get(kind, id as Ids[Kind])?.version ?? 0,
      })),
      wholeKinds: [...this.#wholeKinds],
      baseRevision: this.base.revision,
    };
  }

  #write<K extends Kind>(kind: K, object: Objects[K]): void {
    if (isNamed(kind)) {
      const { name } = (object as Objects[NamedKind]).spec;
      const holder = this.#now.byName(kind, name);
      if (holder && holder.id !== object.id) throw nameConflict(kind, name);
    }
    const previous = this.#now.get(kind, idOf(object));
    this.#apply({
      kind,
      id: object.id,
      ...(previous && { previous }),
      current: deepFreeze(object),
    } as Change);
  }

  #apply(change: Change): void {
    assert(!this.#ended, 'a transaction was written to after its body ended');
    this.#now = this.#now.apply(this.#now.revision, [change]);
    this.#written.set(`${change.kind}/${change.id}`, change);
  }
}

const idOf = <K extends Kind>(object: Objects[K]): Ids[K] => object.id as Ids[K];

/** Swarm's words: the control API says which service, secret or config; a network's conflict comes raw from the store. */
function nameConflict(kind: NamedKind, name: string): SkepError {
  switch (kind) {
    case 'service':
      return controlApiError(
        'alreadyExists',
        `name conflicts with an existing object: service ${name} already exists`,
      );
    case 'secret':
    case 'config':
      return controlApiError('alreadyExists', `${kind} ${name} already exists`);
    case 'network':
      return controlApiError('unknown', 'name conflicts with an existing object');
  }
}
