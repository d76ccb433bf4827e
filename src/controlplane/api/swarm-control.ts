/**
 * What the API needs of the node besides the store, injected by main.ts: the node's own membership, and logs.
 */
import type { NodeId, TaskId } from '../../model/ids.js';
import type { ClusterSpec, NodeDescription } from '../../model/objects.js';
import type { Store } from '../store/store.js';

export type LocalNodeState = 'inactive' | 'pending' | 'active' | 'error' | 'locked';

export interface Membership {
  readonly localNodeState: LocalNodeState;
  /** Empty while inactive or pending. */
  readonly nodeId: NodeId | '';
  /** Advertised IP, without port. */
  readonly nodeAddr: string;
  readonly error: string;
  /** Null while inactive. */
  readonly remoteManagers: readonly { readonly nodeId: string; readonly addr: string }[] | null;
  /** Present exactly while this node is a serving manager. */
  readonly store?: Store;
}

export interface InitRequest {
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  readonly dataPathAddr: string;
  /** 0: 4789. */
  readonly dataPathPort: number;
  readonly forceNewCluster: boolean;
  /** Non-zero fields win over the defaults. */
  readonly spec: Partial<ClusterSpec>;
  readonly autoLockManagers: boolean;
  readonly availability: 'active' | 'pause' | 'drain';
  readonly defaultAddrPool: readonly string[];
  /** 0: 24. */
  readonly subnetSize: number;
}

export interface JoinRequest {
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  readonly dataPathAddr: string;
  readonly remoteAddrs: readonly string[];
  readonly joinToken: string;
  readonly availability: 'active' | 'pause' | 'drain';
}

/** Refusals are SkepErrors with the texts of swarm-semantics section 16.1. */
export interface SwarmControl {
  membership(): Membership;
  init(request: InitRequest): Promise<NodeId>;
  /** Resolves when the agent is ready; after 20 s rejects while the attempt goes on. */
  join(request: JoinRequest): Promise<void>;
  leave(force: boolean): Promise<void>;
  /** This host, as its node object describes it. */
  describe(): Promise<NodeDescription>;
}

/** One line of a task's output. */
export interface LogLine {
  readonly taskId: TaskId;
  readonly nodeId: NodeId;
  readonly stream: 1 | 2;
  /** RFC 3339 with nine fractional digits. */
  readonly timestamp: string;
  readonly attrs: Readonly<Record<string, string>>;
  /** Ends with a newline unless the task has a terminal. */
  readonly data: Buffer;
}

export interface LogOptions {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow: boolean;
  /** -1: all. */
  readonly tail: number;
  /** Docker's form, empty for all. */
  readonly since: string;
}

/** Reads tasks' output wherever they run. The iterable ends by itself without `follow`; aborting closes all. */
export type ReadLogs = (
  tasks: readonly TaskId[],
  options: LogOptions,
  signal: AbortSignal,
) => AsyncIterable<LogLine>;
