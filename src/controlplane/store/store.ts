/**
 * The store as every loop and every API handler sees it: an indexed copy in memory, fed in revision order, that is
 * read synchronously; and optimistic transactions that are committed with compare-and-swap. Two implementations:
 * etcd.ts (the product) and memory.ts (unit tests and the simulation); the same conformance test runs on both.
 */
import type {
  ClusterId,
  ConfigId,
  LeaderId,
  NetworkId,
  NodeId,
  SecretId,
  ServiceId,
  TaskId,
} from '../../model/ids.js';
import type {
  Cluster,
  Config,
  Leader,
  ManagerPresence,
  Network,
  Node,
  Secret,
  Service,
  Task,
} from '../../model/objects.js';

/** Every kind of object, and its identifier. */
export interface Objects {
  cluster: Cluster;
  node: Node;
  service: Service;
  task: Task;
  network: Network;
  secret: Secret;
  config: Config;
  manager: ManagerPresence;
  leader: Leader;
}
export interface Ids {
  cluster: ClusterId;
  node: NodeId;
  service: ServiceId;
  task: TaskId;
  network: NetworkId;
  secret: SecretId;
  config: ConfigId;
  manager: NodeId;
  leader: LeaderId;
}
export type Kind = keyof Objects;

/** Kinds whose names are unique. */
export type NamedKind = 'service' | 'network' | 'secret' | 'config';

/** An object and its kind. */
export type StoredObject = { [K in Kind]: { readonly kind: K; readonly object: Objects[K] } }[Kind];

/** What reads can ask. All answers are frozen values of one revision; lists are ordered by id. */
export interface View {
  readonly revision: number;
  get<K extends Kind>(kind: K, id: Ids[K]): Objects[K] | undefined;
  list<K extends Kind>(kind: K): readonly Objects[K][];
  /** The one cluster object; throws AssertionError before the cluster is written. */
  cluster(): Cluster;
  tasksOfService(id: ServiceId): readonly Task[];
  /** Services that there are tasks of, whether or not they still are; the one without a name is attachments'. */
  servicesOfTasks(): readonly ServiceId[];
  tasksOnNode(id: NodeId): readonly Task[];
  /** Those that wait for addresses or a node: `new` and `pending`. Of many tasks they are few, and what is theirs to get is for them alone. */
  waitingTasks(): readonly Task[];
  /** Names are unique case-insensitively within each of these kinds. */
  byName<K extends NamedKind>(kind: K, name: string): Objects[K] | undefined;
}

/**
 * A view that also takes writes. Reads see the writes made so far. Pass objects with the meta they were read with:
 * the store sets version, createdAtMs and updatedAtMs.
 */
export interface Transaction extends View {
  /** Of what it writes, as creation and as update; in ms since the epoch. */
  readonly nowMs: number;
  /** Throws AssertionError if the id exists; `alreadyExists` if the name is taken. */
  create<K extends Kind>(kind: K, object: Omit<Objects[K], 'version' | 'createdAtMs' | 'updatedAtMs'>): void;
  /**
   * Replaces an object read in this transaction; throws AssertionError if it does not exist, `aborted` if the version
   * passed is not the current one: it was read earlier, and the write would undo what others wrote since.
   */
  update<K extends Kind>(kind: K, object: Objects[K]): void;
  /** Deleting what does not exist is no error. */
  delete(kind: Kind, id: string): void;
  /**
   * What the body concludes hangs on which objects of this kind there are: it is run again when another one was created, or one was
   * changed, before the commit. For conclusions that some object is not there; one that is there is better read with `get`.
   */
  dependOnAll(kind: Kind): void;
}

/** One object's change. `previous` absent: created; `current` absent: deleted. */
export type Change = {
  [K in Kind]: {
    readonly kind: K;
    readonly id: Ids[K];
    readonly previous?: Objects[K];
    readonly current?: Objects[K];
  };
}[Kind];

export interface ChangeBatch {
  readonly revision: number;
  readonly changes: readonly Change[];
}

export interface Store {
  /** The copy as it is now. Cheap; take one for a whole pass. */
  view(): View;
  /**
   * Runs `body` on the current view and commits its writes in one transaction if nothing it wrote, read with `get`
   * (the first 512 of those) or depends on as a whole has changed meanwhile; otherwise waits for the newer view and runs it again (at most 10 times, then `aborted`). When the
   * promise resolves, `view()` holds the writes. `body` must be synchronous and may throw to give up: nothing is
   * written then. At most {@link maxWrites} writes; more is a bug.
   * Throws `unavailable` when the store cannot be reached within 20 s.
   */
  update<T>(body: (tx: Transaction) => T): Promise<T>;
  /** Calls `listener` after each batch was applied to the view, in revision order, until the result is called. */
  subscribe(listener: (batch: ChangeBatch) => void): () => void;
  close(): Promise<void>;
}

/** Largest transaction, in object writes; swarmkit's limit too (MaxChangesPerTransaction). Loops split at it. */
export const maxWrites = 200;
