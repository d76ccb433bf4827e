/**
 * Typed clients of a manager. Unary calls reject with {@link SkepError} and have a deadline; streams end with the
 * error that gRPC gives and are cancelled by the signal. Credentials come from the caller.
 */
import type {
  ChannelCredentials,
  ChannelOptions,
  Client,
  ClientDuplexStream,
  ClientReadableStream,
  ClientWritableStream,
  ServiceError,
} from '@grpc/grpc-js';
import { fromServiceError } from './status.js';
import type { WireAssignmentsMessage } from './assignment.js';
import type {
  AttachNetworkReply,
  AttachNetworkRequest,
  DetachNetworksRequest,
  AcknowledgeRevisionRequest,
  AssignmentsRequest,
  AwaitAcknowledgedReply,
  AwaitAcknowledgedRequest,
  HeartbeatReply,
  DescribeNodeRequest,
  HeartbeatRequest,
  InSession,
  IssueReply,
  IssueRequest,
  JoinManagersReply,
  JoinManagersRequest,
  PublishLogsMessage,
  ReadLogsReply,
  ReadLogsRequest,
  RootCaReply,
  SessionMessage,
  SessionRequest,
  SubscriptionMessage,
  TunnelMessage,
  TunnelOffer,
  UpdateTaskStatusRequest,
} from './messages.js';
import { DispatcherConstructor, ManagersConstructor, messageBytesMax, NodeCaConstructor } from './proto.js';

/** Swarm's agent gives every call five seconds. */
export const rpcTimeoutMs = 5_000;

/** The longest that Swarm's agent waits after a session failed (swarmkit agent/session.go). */
export const sessionRetryMsMax = 8_000;

type Callback<T> = (err: ServiceError | null, reply: T) => void;
type Unary<Q, R> = (request: Q, options: { deadline: number }, callback: Callback<R>) => unknown;

interface RawDispatcher extends Client {
  session(request: SessionRequest): ClientReadableStream<SessionMessage>;
  describeNode: Unary<DescribeNodeRequest, object>;
  heartbeat: Unary<HeartbeatRequest, HeartbeatReply>;
  assignments(request: AssignmentsRequest): ClientReadableStream<WireAssignmentsMessage>;
  updateTaskStatus: Unary<UpdateTaskStatusRequest, object>;
  acknowledgeRevision: Unary<AcknowledgeRevisionRequest, object>;
  acknowledgeRevisions(callback: Callback<object>): ClientWritableStream<AcknowledgeRevisionRequest>;
  awaitAcknowledged: Unary<AwaitAcknowledgedRequest, AwaitAcknowledgedReply>;
  listenSubscriptions(request: InSession): ClientReadableStream<SubscriptionMessage>;
  publishLogs(callback: Callback<object>): ClientWritableStream<PublishLogsMessage>;
  attachNetwork: Unary<AttachNetworkRequest, AttachNetworkReply>;
  detachNetworks: Unary<DetachNetworksRequest, object>;
  listenTunnels(request: InSession): ClientReadableStream<TunnelOffer>;
  tunnel(): ClientDuplexStream<TunnelMessage, TunnelMessage>;
}
interface RawNodeCa extends Client {
  getRootCaCertificate: Unary<object, RootCaReply>;
  issueNodeCertificate: Unary<IssueRequest, IssueReply>;
}

interface RawManagers extends Client {
  join: Unary<JoinManagersRequest, JoinManagersReply>;
  readLogs(request: ReadLogsRequest): ClientReadableStream<ReadLogsReply>;
  openTunnel(): ClientDuplexStream<TunnelMessage, TunnelMessage>;
}

const channelOptions: ChannelOptions = {
  'grpc.max_receive_message_length': messageBytesMax,
  // A manager whose power was cut sends no FIN: until it is missed, its nodes do not turn to the next one.
  'grpc.keepalive_time_ms': 2_000,
  'grpc.keepalive_timeout_ms': 2_000,
  'grpc.keepalive_permit_without_calls': 1,
  // Reconnecting is the session's decision, with its own backoff; a channel left over must not be shared with it.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_retries': 0,
};

/** Opens a stream that ends when the signal aborts. */
function abortable<S extends { cancel(): void; on(event: 'close', done: () => void): unknown }>(
  stream: S,
  signal: AbortSignal,
): S {
  const cancel = (): void => stream.cancel();
  if (signal.aborted) cancel();
  signal.addEventListener('abort', cancel, { once: true });
  stream.on('close', () => signal.removeEventListener('abort', cancel));
  return stream;
}

/** A manager's dispatcher, over one channel that {@link close} ends. */
export class DispatcherClient {
  readonly #raw: RawDispatcher;

  /**
   * `address` is `host:port`; `options` go over the defaults, e.g. `grpc.ssl_target_name_override`.
   * @param Constructor of the service, for who reads messages in another way
   */
  constructor(
    address: string,
    credentials: ChannelCredentials,
    options: ChannelOptions = {},
    Constructor = DispatcherConstructor,
  ) {
    const raw = new Constructor(address, credentials, { ...channelOptions, ...options });
    this.#raw = raw as unknown as RawDispatcher;
  }

  session(request: SessionRequest, signal: AbortSignal): ClientReadableStream<SessionMessage> {
    return abortable(this.#raw.session(request), signal);
  }

  /** Refused with `unimplemented` by a manager that is told in a session of its own only. */
  describeNode(request: DescribeNodeRequest): Promise<object> {
    return unary((done) => this.#raw.describeNode(request, deadline(), done));
  }

  heartbeat(request: HeartbeatRequest): Promise<HeartbeatReply> {
    return unary((done) => this.#raw.heartbeat(request, deadline(), done));
  }

  assignments(
    request: AssignmentsRequest,
    signal: AbortSignal,
  ): ClientReadableStream<WireAssignmentsMessage> {
    return abortable(this.#raw.assignments(request), signal);
  }

  updateTaskStatus(request: UpdateTaskStatusRequest): Promise<object> {
    return unary((done) => this.#raw.updateTaskStatus(request, deadline(), done));
  }

  attachNetwork(request: AttachNetworkRequest): Promise<AttachNetworkReply> {
    return unary((done) => this.#raw.attachNetwork(request, deadline(), done));
  }

  detachNetworks(request: DetachNetworksRequest): Promise<object> {
    return unary((done) => this.#raw.detachNetworks(request, deadline(), done));
  }

  acknowledgeRevision(request: AcknowledgeRevisionRequest): Promise<object> {
    return unary((done) => this.#raw.acknowledgeRevision(request, deadline(), done));
  }

  /** Refused with `unimplemented` by a manager that takes acknowledgements one by one only. */
  acknowledgeRevisions(signal: AbortSignal): Requests<AcknowledgeRevisionRequest> {
    return requests((done) => this.#raw.acknowledgeRevisions(done), signal);
  }

  awaitAcknowledged(request: AwaitAcknowledgedRequest): Promise<AwaitAcknowledgedReply> {
    return unary((done) => this.#raw.awaitAcknowledged(request, deadline(), done));
  }

  listenSubscriptions(request: InSession, signal: AbortSignal): ClientReadableStream<SubscriptionMessage> {
    return abortable(this.#raw.listenSubscriptions(request), signal);
  }

  listenTunnels(request: InSession, signal: AbortSignal): ClientReadableStream<TunnelOffer> {
    return abortable(this.#raw.listenTunnels(request), signal);
  }

  tunnel(signal: AbortSignal): ClientDuplexStream<TunnelMessage, TunnelMessage> {
    return abortable(this.#raw.tunnel(), signal);
  }

  publishLogs(signal: AbortSignal): Requests<PublishLogsMessage> {
    return requests((done) => this.#raw.publishLogs(done), signal);
  }

  close(): void {
    this.#raw.close();
  }
}

/** A manager's dispatcher, however it is reached. */
export type SessionClient = Pick<DispatcherClient, keyof DispatcherClient>;

/** A manager's certificate authority: what a host needs before it has a certificate, and for renewals. */
export class NodeCaClient {
  readonly #raw: RawNodeCa;

  constructor(address: string, credentials: ChannelCredentials, options: ChannelOptions = {}) {
    const raw = new NodeCaConstructor(address, credentials, { ...channelOptions, ...options });
    this.#raw = raw as unknown as RawNodeCa;
  }

  getRootCaCertificate(): Promise<RootCaReply> {
    return unary((done) => this.#raw.getRootCaCertificate({}, deadline(), done));
  }

  /** Refused with `invalidArgument` for a token that is not current. */
  issueNodeCertificate(request: IssueRequest): Promise<IssueReply> {
    return unary((done) => this.#raw.issueNodeCertificate(request, deadline(), done));
  }

  close(): void {
    this.#raw.close();
  }
}

/** What managers ask each other. */
export class ManagersClient {
  readonly #raw: RawManagers;

  constructor(address: string, credentials: ChannelCredentials, options: ChannelOptions = {}) {
    const raw = new ManagersConstructor(address, credentials, { ...channelOptions, ...options });
    this.#raw = raw as unknown as RawManagers;
  }

  join(request: JoinManagersRequest): Promise<JoinManagersReply> {
    return unary((done) => this.#raw.join(request, deadline(), done));
  }

  readLogs(request: ReadLogsRequest, signal: AbortSignal): ClientReadableStream<ReadLogsReply> {
    return abortable(this.#raw.readLogs(request), signal);
  }

  openTunnel(signal: AbortSignal): ClientDuplexStream<TunnelMessage, TunnelMessage> {
    return abortable(this.#raw.openTunnel(), signal);
  }

  close(): void {
    this.#raw.close();
  }
}

const deadline = (): { deadline: number } => ({ deadline: Date.now() + rpcTimeoutMs });

/** A stream of requests, and the manager's answer: `done` settles once, and may before the stream has ended. */
export interface Requests<Q> {
  readonly stream: ClientWritableStream<Q>;
  readonly done: Promise<object>;
}

/** Opens a stream of requests that is cancelled when the signal aborts. */
function requests<Q>(
  open: (done: Callback<object>) => ClientWritableStream<Q>,
  signal: AbortSignal,
): Requests<Q> {
  let settle: Callback<object> | undefined;
  const answer = unary<object>((done) => (settle = done));
  const stream = open((err, reply) => settle?.(err, reply));
  const cancel = (): void => stream.cancel();
  if (signal.aborted) cancel();
  signal.addEventListener('abort', cancel, { once: true });
  return { stream, done: answer.finally(() => signal.removeEventListener('abort', cancel)) };
}

function unary<T>(call: (done: Callback<T>) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    call((err, reply) => (err ? reject(fromServiceError(err)) : resolve(reply)));
  });
}
