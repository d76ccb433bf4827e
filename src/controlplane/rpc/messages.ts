/** The messages of proto/dispatcher.proto as this program sees them; assignments have their own file. */
import type { GenericResource } from '../../model/generic-resources.js';
import type { ManagersLock, TlsInfo } from '../../model/objects.js';

export interface RootCaReply {
  readonly certificatePem: string;
}
export interface IssueRequest {
  readonly csrPem: string;
  /** Empty: a renewal, shown to be one by the client certificate. */
  readonly token: string;
  readonly availability: string;
  /** Where others reach the node: an address without port. */
  readonly address: string;
  /** Empty, or the one that the node had: for one that has expired. The request is for its key then. */
  readonly certificatePem: string;
}
export interface IssueReply {
  readonly nodeId: string;
  readonly role: string;
  /** Followed by CA certificates that go with it. */
  readonly certificatePem: string;
  /** Every root to trust. */
  readonly trustPem: string;
  /** For a manager; null: autolock was never on. */
  readonly lock: ManagersLock | null;
}

export interface WireNodeDescription {
  readonly hostname: string;
  readonly architecture: string;
  readonly os: string;
  readonly nanoCpus: number;
  readonly memoryBytes: number;
  readonly engineVersion: string;
  readonly engineLabels: Readonly<Record<string, string>>;
  readonly plugins: readonly { readonly type: string; readonly name: string }[];
  readonly genericResources: readonly GenericResource[];
  readonly routes: readonly { readonly destination: string; readonly device: string }[];
  /** 0: not known now. */
  readonly espEpoch: number;
  readonly tlsInfo: TlsInfo | null;
}
export interface SessionRequest {
  readonly description: WireNodeDescription | null;
  readonly dataPathAddr: string;
}
export interface SessionMessage {
  readonly sessionId: string;
  readonly managers: readonly ManagerAddress[];
  /** Every root that the node is to trust; empty: those that it trusts. */
  readonly rootCaPem: string;
  /** What the node is to be. */
  readonly role: string;
  /** Public key (base64 of the DER) of the CA that the node's certificate is to be of; empty: any. */
  readonly wantedIssuer: string;
  /** More than in the message before: a heartbeat is asked for at once. */
  readonly beatsAsked: number;
}
/** A manager and where it listens, `host:port`. */
export interface ManagerAddress {
  readonly nodeId: string;
  readonly addr: string;
}
/** Every later call names the session it belongs to. */
export interface InSession {
  readonly sessionId: string;
}
export interface AssignmentsRequest extends InSession {
  /** The node understands a complete set in parts. */
  readonly takesParts: boolean;
  /** The node understands packed changes. */
  readonly takesPacked: boolean;
}
export interface HeartbeatRequest extends InSession {
  /** Nodes that do not answer the calling one; null: it cannot tell. */
  readonly silent: { readonly nodeIds: readonly string[] } | null;
}
export interface HeartbeatReply {
  readonly periodMs: number;
}

export interface TaskStatusUpdate {
  readonly taskId: string;
  readonly timestampMs: number;
  readonly state: string;
  readonly message: string;
  /** Empty for none. */
  readonly err: string;
  readonly draining: boolean;
  readonly container: {
    readonly containerId: string;
    readonly pid: number;
    readonly exitCode: number;
  } | null;
  readonly ports: readonly {
    readonly protocol: string;
    readonly targetPort: number;
    readonly publishedPort: number;
  }[];
}
export interface AcknowledgeRevisionRequest extends InSession {
  readonly revision: number;
}
export interface DescribeNodeRequest extends InSession {
  readonly description: WireNodeDescription | null;
}

export interface AwaitAcknowledgedRequest extends InSession {
  readonly taskId: string;
  readonly drained: boolean;
}
export interface AwaitAcknowledgedReply {
  /** Nodes that were not as far when the manager's patience ended. */
  readonly missing: readonly string[];
  /** Some of them are in a session. */
  readonly atWork: boolean;
}

export interface UpdateTaskStatusRequest extends InSession {
  readonly updates: readonly TaskStatusUpdate[];
}

export interface AttachNetworkRequest extends InSession {
  readonly attachmentId: string;
  /** Id or name. */
  readonly network: string;
  /** Empty: not known yet; so the name. */
  readonly containerId: string;
  readonly containerName: string;
  readonly aliases: readonly string[];
  /** Empty: any. */
  readonly address: string;
  readonly nameservers: readonly string[];
}
export interface AttachNetworkReply {
  readonly attachmentId: string;
  readonly networkId: string;
  readonly networkName: string;
  readonly address: string;
  readonly revision: number;
}
export interface DetachNetworksRequest extends InSession {
  readonly attachmentIds: readonly string[];
}

export interface SubscriptionMessage {
  readonly id: string;
  readonly close: boolean;
  readonly taskIds: readonly string[];
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow: boolean;
  readonly tail: number;
  readonly since: string;
}
export interface PublishLogsMessage {
  readonly subscriptionId: string;
  readonly lines: readonly WireLines[];
  readonly ends: readonly LogEnd[];
  readonly close: boolean;
}
export interface LogEnd {
  readonly taskId: string;
  readonly error: string;
}
export interface WireLines {
  readonly taskId: string;
  readonly nodeId: string;
  readonly packed: Buffer;
}

/** A connection that is wanted to the node's engine. */
export interface TunnelOffer {
  readonly id: string;
}
/** A piece of a connection. */
export interface TunnelMessage {
  /** Empty but in the first message of a node. */
  readonly offerId: string;
  /** Empty but in the first message of another manager. */
  readonly nodeId: string;
  readonly data: Buffer;
  readonly end: boolean;
}

/** Between managers. */
export interface JoinManagersRequest {
  readonly peerUrl: string;
}
export interface JoinManagersReply {
  readonly members: readonly { readonly name: string; readonly peerUrl: string }[];
  readonly dataKey: { readonly id: number; readonly key: Buffer } | null;
}
export interface ReadLogsRequest {
  readonly taskIds: readonly string[];
  readonly serviceId: string;
  readonly reached: Readonly<Record<string, string>>;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow: boolean;
  readonly tail: number;
  readonly since: string;
}
export interface ReadLogsReply {
  readonly lines: readonly WireLines[];
}
