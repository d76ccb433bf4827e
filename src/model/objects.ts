/**
 * What the store holds. Specs are what users asked for, the rest is what Skep made of it. Field names are
 * Docker's in camelCase; Docker's capitalised JSON stops at controlplane/api/convert. Durations are nanoseconds
 * where Docker's are (suffix `Ns`), times are milliseconds since the epoch (suffix `Ms`).
 */
import type { Cidr, Ip, Mac } from './addresses.js';
import type { GenericResource } from './generic-resources.js';
import type { HostRoute } from './host-routes.js';
import type {
  ClusterId,
  ConfigId,
  LeaderId,
  NetworkId,
  NodeId,
  SecretId,
  ServiceId,
  TaskId,
  Vni,
} from './ids.js';
import type { NetworkSubnets } from './network-subnets.js';
import type { PayloadSpec } from './payloads.js';
import type { EndpointSpec, Labels, LogDriver, PortConfig, ServiceSpec, TaskSpec } from './service-spec.js';
import type { TaskState } from './task-state.js';
import type { Traced } from './trace.js';

/** What every stored object has. The store sets all three; writers pass them through unchanged. */
export interface Meta {
  /** Store-wide revision of the last write: Docker's `Version.Index`. 0 in an object not yet written. */
  readonly version: number;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

export interface ClusterSpec {
  readonly name: string;
  readonly labels: Labels;
  readonly taskHistoryRetentionLimit: number;
  readonly raft: {
    readonly snapshotInterval: number;
    readonly keepOldSnapshots: number;
    readonly logEntriesForSlowFollowers: number;
    readonly electionTick: number;
    readonly heartbeatTick: number;
  };
  readonly heartbeatPeriodNs: number;
  readonly nodeCertExpiryNs: number;
  readonly forceRotate: number;
  /** Who signs instead of the managers; absent: nobody. */
  readonly externalCas?: readonly ExternalCa[];
  readonly autoLockManagers: boolean;
  readonly taskDefaultsLogDriver?: LogDriver;
}

/** A certificate authority outside of the swarm, spoken to as cfssl is. */
export interface ExternalCa {
  readonly protocol: 'cfssl';
  readonly url: string;
  readonly options: Labels;
  /** PEM of the root that it signs with; empty: the swarm's. */
  readonly caCert: string;
}

/** A root certificate (PEM) and its key (PKCS#8 PEM); an empty key: only external CAs sign with it. */
export interface RootKeys {
  readonly certPem: string;
  readonly keyPem: string;
}

export interface RootCa extends RootKeys {
  /**
   * Certificates of this root's key, signed by roots before it; they go with every node certificate for as long as a manager's
   * etcd still trusts such a root alone. Absent: there is none.
   */
  readonly intermediates?: readonly string[];
}

/** On the way from one root to another: both are trusted, and certificates are signed with this one. */
export interface RootRotation extends RootKeys {
  /** The certificate for its key that the root before it signed; absent: it is that root again. */
  readonly crossSigned?: string;
  /** Roots that were to be next before this one: certificates of theirs are about. */
  readonly abandoned: readonly string[];
  /** When nodes were last told to get new certificates. */
  readonly toldAtMs: number;
}

export interface Cluster extends Meta, Traced {
  readonly id: ClusterId;
  readonly spec: ClusterSpec;
  /** Sealed at rest like everything in the store. */
  readonly rootCa: RootCa;
  /** Absent: none is under way. */
  readonly rootRotation?: RootRotation;
  readonly joinTokens: { readonly worker: string; readonly manager: string };
  /** Absent: autolock was never on. */
  readonly managersLock?: ManagersLock;
  readonly defaultAddrPool: readonly Cidr[];
  /** Prefix length of a subnet cut from the pool. */
  readonly subnetSize: number;
  /** VXLAN's UDP port. */
  readonly dataPathPort: number;
  /** Absent until there is an encrypted network. */
  readonly encryption?: ClusterEncryption;
}

/** What managers seal what they have on their own disks with (ADR 26). */
export interface ManagersLock {
  /** Counts the changes, from 1. */
  readonly version: number;
  /** As users are shown it (unlock-key.ts); absent: autolock is off. */
  readonly unlockKey?: string;
}

/** Keys of encrypted networks: made by the leader, sealed at rest like everything in the store. */
export interface ClusterEncryption {
  /** Oldest first; empty while there is no encrypted network. All of them are received with. */
  readonly keys: readonly ClusterKey[];
  /** Sequence number of the key that nodes send with. */
  readonly sends: number;
  /** When that began. */
  readonly sendsSinceMs: number;
}

export interface ClusterKey {
  /** Counts the cluster's keys, from 1; never given twice. */
  readonly sequence: number;
  /** Base64 of 32 octets. */
  readonly key: string;
}

export type NodeRole = 'worker' | 'manager';
export type NodeState = 'unknown' | 'down' | 'ready' | 'disconnected';

export interface NodeDescription {
  readonly hostname: string;
  readonly platform: { readonly architecture: string; readonly os: string };
  readonly resources: {
    readonly nanoCpus: number;
    readonly memoryBytes: number;
    /** Absent: none. */
    readonly genericResources?: readonly GenericResource[];
  };
  readonly engine: {
    readonly engineVersion: string;
    readonly labels: Labels;
    readonly plugins: readonly { readonly type: string; readonly name: string }[];
  };
  readonly tlsInfo: TlsInfo;
  /** Where the host has a route to; absent: it did not say. */
  readonly routes?: readonly HostRoute[];
}

export interface TlsInfo {
  readonly trustRoot: string;
  /** Base64 of the DER. */
  readonly certIssuerSubject: string;
  readonly certIssuerPublicKey: string;
}

export interface Node extends Meta, Traced {
  readonly id: NodeId;
  readonly spec: {
    readonly name: string;
    readonly labels: Labels;
    /** The desired role. */
    readonly role: NodeRole;
    readonly availability: 'active' | 'pause' | 'drain';
  };
  /** The observed role. */
  readonly role: NodeRole;
  readonly description?: NodeDescription;
  readonly status: { readonly state: NodeState; readonly message: string; readonly addr: string };
  /** Present exactly while the node is a manager. */
  readonly managerStatus?: {
    readonly leader: boolean;
    readonly reachability: 'unknown' | 'unreachable' | 'reachable';
    readonly addr: string;
  };
  /** Where peers send VXLAN to. Set when the node registers. */
  readonly dataPathAddr?: Ip;
  /** Of the keys that the node sends ESP with (dataplane/plan/esp.ts). Absent: it never said. */
  readonly espEpoch?: number;
  /** The public key (base64 of the DER) of the CA that the node has been told to get a certificate of. */
  readonly wantedIssuer?: string;
  /** This node's own address on each overlay it takes part in (always on ingress), by the allocator. */
  readonly attachments: readonly NodeAttachment[];
}

/**
 * A manager whose daemon is alive: the object goes when a majority of the managers has not heard of it for a few seconds,
 * whatever it believes itself.
 */
export interface ManagerPresence extends Meta {
  readonly id: NodeId;
  /** Where nodes and other managers reach it, `host:port`. */
  readonly addr: string;
  /** The roots that its etcd trusts, by ca/etcd-trust.ts' name for them. */
  readonly etcdTrust?: string;
}

/** The manager that leads: whoever wrote the object last, for as long as nobody else does. Its version is the term of office. */
export interface Leader extends Meta {
  readonly id: LeaderId;
  readonly nodeId: NodeId;
  /** Of Raft, when office was taken; grows with every election. */
  readonly raftTerm: number;
}

export interface NodeAttachment {
  readonly networkId: NetworkId;
  readonly address: Ip;
  readonly mac: Mac;
}

export interface NetworkSpec {
  readonly name: string;
  readonly labels: Labels;
  readonly driver: string;
  readonly driverOptions: Labels;
  readonly ipv6: boolean;
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly ingress: boolean;
  /** The network of each node (made with `--config-only`) whose settings it takes there; absent: none. */
  readonly configFrom?: string;
  readonly ipam: {
    readonly driver: string;
    readonly options: Labels;
    readonly configs: readonly IpamConfig[];
  };
}

export interface IpamConfig {
  readonly subnet: Cidr;
  readonly range?: Cidr;
  readonly gateway?: Ip;
  /** By the user's names for them: never handed out. */
  readonly auxiliaryAddresses?: Readonly<Record<string, Ip>>;
}

export interface Network extends Meta, Traced {
  readonly id: NetworkId;
  readonly spec: NetworkSpec;
  /** Absent until the allocator has given the network its VNI and subnets; tasks on it stay `new` until then. */
  readonly allocation?: NetworkSubnets & { readonly vni: Vni };
  /** The number of the last address handed out (network-subnets.ts): they are serial (next fit). */
  readonly addressCursor: number;
  /** Who of its hosts were busy when the allocator looked last; absent: none ever was. Its alone to read and write. */
  readonly addressLedger?: AddressLedger;
}

/** Addresses' numbers (network-subnets.ts) as ranges in ascending order, `2-17,20`. */
export interface AddressLedger {
  readonly held: string;
  /** Those that rest since their holders went, the longest freed first. */
  readonly freed: readonly { readonly atMs: number; readonly hosts: string }[];
}

/** Never shown with its data, and told to those nodes only that run a task with it. */
export interface Secret extends Meta, Traced {
  readonly id: SecretId;
  readonly spec: PayloadSpec;
}

/** As a secret, but users may read it. */
export interface Config extends Meta, Traced {
  readonly id: ConfigId;
  readonly spec: PayloadSpec;
}

/** A port as allocated: `publishedPort` is never 0 here. */
export type AllocatedPort = PortConfig & { readonly publishedPort: number };

export interface ServiceEndpoint {
  readonly spec: EndpointSpec;
  readonly ports: readonly AllocatedPort[];
  /** Ingress first. `address` carries no prefix length; `subnet` gives it. */
  readonly virtualIps: readonly {
    readonly networkId: NetworkId;
    readonly address: Ip;
    readonly prefixLength: number;
  }[];
}

export interface Service extends Meta, Traced {
  readonly id: ServiceId;
  readonly spec: ServiceSpec;
  /** Store revision at which the present spec was written; tasks made of it carry the same. */
  readonly specVersion: number;
  readonly previousSpec?: ServiceSpec;
  readonly previousSpecVersion?: number;
  /** Absent until allocated. */
  readonly endpoint?: ServiceEndpoint;
  readonly updateStatus?: {
    readonly state:
      'updating' | 'paused' | 'completed' | 'rollback_started' | 'rollback_paused' | 'rollback_completed';
    readonly startedAtMs: number;
    readonly completedAtMs?: number;
    readonly message: string;
  };
  /** The rebalancer's alone to write; absent: it has moved nothing yet. */
  readonly rebalancing?: Rebalancing;
  /** Present exactly in jobs. */
  readonly jobStatus?: JobStatus;
}

/** How often a job has been run: at its creation, with each update, and when its schedule says so. */
export interface JobStatus {
  /** Counts the runs, from 0. Tasks carry that of the run they were made for. */
  readonly iteration: number;
  /** When the present run began. */
  readonly lastExecutionMs: number;
  /** Firings of the job's schedule up to here have been seen to. Absent: those up to when the run began, which no firing did. */
  readonly scheduledForMs?: number;
}

/** Of a service whose tasks are moved to emptier nodes (ADR 32). */
export interface Rebalancing {
  /** When moves began, the last one's at the end; before it only those that counted against the budget then. */
  readonly movesAtMs: readonly number[];
  /** The task that the last move was to replace. */
  readonly of: TaskId;
  /** Moves in a row before the last one that came to nothing. */
  readonly failures: number;
}

export interface TaskStatus {
  /** Clock of whoever wrote the status. */
  readonly timestampMs: number;
  /** Clock of the manager that stored it. */
  readonly appliedAtMs: number;
  /** Manager's time at which it was first stored as running; absent: it never was. Kept when it has ended. */
  readonly runningAtMs?: number;
  readonly state: TaskState;
  readonly message: string;
  readonly err?: string;
  /** Its node is about to stop it although it is desired to run: it takes no new flows any more. */
  readonly draining?: true;
  readonly container?: { readonly containerId: string; readonly pid: number; readonly exitCode: number };
  readonly ports?: readonly PortConfig[];
}

/** One leg of a task: its address on one network. */
export interface NetworkAttachment {
  readonly networkId: NetworkId;
  readonly address: Ip;
  readonly prefixLength: number;
  /** Derived from the task's id, so an entry left behind for an earlier holder of the address never matches. */
  readonly mac: Mac;
  readonly aliases: readonly string[];
}

/** A network of the nodes' own driver (node-networks.ts) as a task is given it: it never changes, and its node knows it as long as the task. */
export interface NodeNetworkAttachment {
  readonly networkId: NetworkId;
  readonly spec: NetworkSpec;
  readonly aliases: readonly string[];
}

export interface Task extends Meta, Traced {
  readonly id: TaskId;
  readonly serviceId: ServiceId;
  readonly serviceName: string;
  readonly serviceLabels: Labels;
  /**
   * The number of the instance: 1 and up for replicated services, 0 and up for replicated jobs. Absent: the task is its node's, as
   * those of global services and jobs and attachments are.
   */
  readonly slot?: number;
  readonly nodeId?: NodeId;
  readonly spec: TaskSpec;
  readonly specVersion: number;
  readonly endpointSpec?: EndpointSpec;
  /** What its service held when the task was allocated: it is reached by that until it has ended, whatever becomes of the service. */
  readonly endpoint?: Pick<ServiceEndpoint, 'ports' | 'virtualIps'>;
  readonly desiredState: TaskState;
  readonly status: TaskStatus;
  /** Its legs on overlays; empty until allocated. */
  readonly networks: readonly NetworkAttachment[];
  /** What it is on besides, of its node's own; absent: nothing. */
  readonly nodeNetworks?: readonly NodeNetworkAttachment[];
  readonly logDriver?: LogDriver;
  /** What the scheduler claimed for it on its node; absent: nothing. */
  readonly assignedGenericResources?: readonly GenericResource[];
  /** Present exactly in tasks of jobs: the run of {@link JobStatus} that the task is part of. */
  readonly jobIteration?: number;
  /** Present when the task follows another one in its slot (or, for global services, on its node). */
  readonly succession?: Succession;
}

/**
 * Why and when a replacement starts. Written with the task, so that delays and update progress outlive the leader that
 * began them.
 */
export interface Succession {
  /** The task it replaces. */
  readonly of: TaskId;
  readonly cause: 'restart' | 'update' | 'rebalance';
  /** Desired `ready` becomes `running` at this time, once the old task has stopped… */
  readonly startNotBeforeMs: number;
  /** …or at this time whether it has or not. */
  readonly startAnywayMs: number;
  /** Of an update's task: when that update started, which is what it is known by. */
  readonly updateStartedAtMs?: number;
  /** How many tasks in a row before it in its place ended early (orchestrator/back-off.ts); absent: none. */
  readonly earlyEnds?: number;
}

/** `<service>.<slot or node>.<task>`: the container's name and the task's full name. Slot 0, too, reads as the node: as in Swarm. */
export const taskName = (task: Pick<Task, 'id' | 'serviceName' | 'slot' | 'nodeId'>): string =>
  `${task.serviceName}.${task.slot || (task.nodeId ?? '')}.${task.id}`;

/** What shares an instance of a service: the slot of a replicated one or job, the node of a global one. */
export const instanceOf = ({ slot, nodeId }: Pick<Task, 'slot' | 'nodeId'>): string =>
  slot === undefined ? (nodeId ?? '') : String(slot);
