/** What a node consists of, as its state machine (swarm-node.ts) sees it; the real parts are parts.ts'. */
import type { Ip } from '../../model/addresses.js';
import type { NodeId } from '../../model/ids.js';
import type { HostRoute } from '../../model/host-routes.js';
import type { NodeDescription } from '../../model/objects.js';
import type { JoinRequest } from '../api/swarm-control.js';
import type { AttachControl } from '../attach-control.js';
import type { Backup } from '../backup/backup-content.js';
import type { Store } from '../store/store.js';
import type { StoreState } from '../upkeep/store-state.js';
import type { CheckedInitRequest } from './initial-cluster.js';
import type { MembershipFile, RemoteManager } from './membership-file.js';
import type { InterfaceAddress, NodeAddresses } from './node-addresses.js';

/** A manager's half of a node: etcd, store, loops, dispatcher. */
export interface RunningManager {
  readonly store: Store;
  /** For how long nobody has led the managers, in ms; 0: somebody does. */
  leaderlessMs(): number;
  /** How the store stands against its bounds; undefined until that was looked at. */
  storeState(): StoreState | undefined;
  /** Why its etcd is away now; empty: it is not. */
  error(): string;
  /** Resolves when its etcd goes on no more: only a start anew, which may ask the others for their copy, can help. */
  readonly lost: Promise<Error>;
  close(): Promise<void>;
}

/** An agent's half. */
export interface RunningAgent {
  /** Resolves when a manager has registered the node for the first time; rejects when it never will (removed node). */
  readonly ready: Promise<void>;
  /** Managers as the last session message named them. */
  managers(): readonly RemoteManager[];
  readonly attachments: AttachControl;
  /** A new certificate, for the role that the node has now. */
  renew(): Promise<MembershipFile['role']>;
  /** Stops talking to managers. Tasks and network stay as they are. */
  close(): Promise<void>;
}

/** What managers say of a node. */
export interface Told {
  readonly role: MembershipFile['role'];
  readonly managers: readonly RemoteManager[];
}

/** What the state machine needs done for real. */
export interface NodeParts {
  interfaces(): readonly InterfaceAddress[];
  /** The address that this host uses towards another; undefined: it has no way there. */
  addressTowards(host: string, port: number): Promise<Ip | undefined>;
  /** Where this host has routes to. */
  routes(): Promise<readonly HostRoute[]>;
  describe(): Promise<NodeDescription>;
  readMembership(): Promise<MembershipFile | undefined>;
  writeMembership(membership: MembershipFile): Promise<void>;
  /** Reads what this node keeps of keys. @returns false: they are sealed, see {@link unlock} */
  openKeys(): Promise<boolean>;
  /** Throws `unauthenticated` for a wrong key. */
  unlock(key: Uint8Array): void;
  /** Makes keys, certificates and etcd's first objects; gives the running manager. Undoes itself when it fails. */
  foundCluster(
    request: CheckedInitRequest,
    addresses: NodeAddresses,
  ): Promise<{ membership: MembershipFile; manager: RunningManager }>;
  /**
   * Has a cluster begin again with all that the backup holds, and this node as its only manager. Undoes itself when it fails.
   * @param former what this node is of that cluster, whose store it has lost; undefined: of none
   */
  restoreCluster(
    backup: Backup,
    addresses: NodeAddresses,
    former: MembershipFile | undefined,
  ): Promise<{ membership: MembershipFile; manager: RunningManager }>;
  /** Gets a certificate with the token. Temporary failures are OutsideErrors marked retryable. */
  obtainCertificate(
    request: JoinRequest,
    addresses: NodeAddresses,
    signal: AbortSignal,
  ): Promise<MembershipFile>;
  /**
   * Joins the other managers first, if it has not yet. Refusals are theirs; all else may pass.
   * @param alone as the only member from now on, with all that its own copy of the store has
   * @param signal ends the wait for a store that the others have no quorum for; rejects then
   */
  startManager(membership: MembershipFile, alone: boolean, signal: AbortSignal): Promise<RunningManager>;
  /** Ends etcd and removes what a worker must not have. */
  removeManager(): Promise<void>;
  /** @param onTold called with what a manager says of the node, at the begin of each session and when it changes */
  startAgent(membership: MembershipFile, onTold: (told: Told) => void): Promise<RunningAgent>;
  /** Removes this node's containers and local networks from the engine, once no agent runs. */
  removeTasks(nodeId: NodeId): Promise<void>;
  /** Ends etcd, clears the node's network from the kernel and empties the swarm directory. */
  wipe(): Promise<void>;
}
