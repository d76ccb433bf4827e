/** What the API needs of the node besides the store, injected by main.ts: the node's own membership. */
import type { NodeId } from '../../model/ids.js';
import type { ClusterSpec, NodeDescription } from '../../model/objects.js';
import type { Backup } from '../backup/backup-content.js';
import type { AttachControl } from '../attach-control.js';
import type { Store } from '../store/store.js';
import type { StoreState } from '../upkeep/store-state.js';

/** Swarm's words of a node that is asked for what only managers can. */
export const workerNode =
  "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this " +
  'command on a manager node or promote the current node to a manager.';

/** Swarm's words of a manager whose unlock key is not known. */
export const swarmLocked =
  'Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.';

/** Of a manager whose certificate has expired, and that nobody renews. */
export const certificatesExpired =
  'Swarm certificates have expired. To replace them, leave the swarm and join again.';

export type LocalNodeState = 'inactive' | 'pending' | 'active' | 'error' | 'locked';

export interface Membership {
  readonly localNodeState: LocalNodeState;
  /** Empty while inactive, pending or locked. */
  readonly nodeId: NodeId | '';
  /** Advertised IP, without port. */
  readonly nodeAddr: string;
  readonly error: string;
  /** Null while inactive or locked. */
  readonly remoteManagers: readonly { readonly nodeId: string; readonly addr: string }[] | null;
  /** What the node is to be, serving or not. */
  readonly isManager: boolean;
  /** Present exactly while this node is a serving manager. */
  readonly store?: Store;
  /** With the store: for how long nobody has led the managers, in ms; 0: somebody does. */
  readonly leaderlessMs?: number;
  /** With the store: how it stands against its bounds; absent until that was looked at. */
  readonly storeState?: StoreState;
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
  /** As sent; empty: active. */
  readonly availability: string;
  readonly defaultAddrPool: readonly string[];
  /** 0: 24. */
  readonly subnetSize: number;
}

export interface RestoreRequest {
  /** Empty: the usual, or what this node had in the swarm. */
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  readonly dataPathAddr: string;
}

export interface JoinRequest {
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  readonly dataPathAddr: string;
  readonly remoteAddrs: readonly string[];
  readonly joinToken: string;
  /** As sent; empty: active. */
  readonly availability: string;
}

/** Refusals are SkepErrors with the texts of swarm-semantics section 16.1. */
export interface SwarmControl {
  membership(): Membership;
  /** Places for users' own containers on the swarm's networks; undefined while this node is in no swarm. */
  attachments(): AttachControl | undefined;
  init(request: InitRequest): Promise<NodeId>;
  /** Resolves when the agent is ready; after 20 s rejects while the attempt goes on. */
  join(request: JoinRequest): Promise<void>;
  leave(force: boolean): Promise<void>;
  /** Starts a locked manager; resolves when it serves, or is on its way for long. `unauthenticated` for a wrong key. */
  unlock(key: Uint8Array): Promise<void>;
  /** Brings back the swarm that the backup is of, with this node as its only manager. */
  restoreSwarm(backup: Backup, request: RestoreRequest): Promise<NodeId>;
  /** This host, as its node object describes it. */
  describe(): Promise<NodeDescription>;
}
