/**
 * The gRPC services of a manager, ready to be put on a server with the cluster's TLS. Owns the dispatcher's parts and
 * the checks that come before each of them: every call but a first certificate's is a registered node's.
 */
import type {
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { RandomSource, TaskId } from '../../model/ids.js';
import type { Node, TlsInfo } from '../../model/objects.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { ReadLogs } from '../task-logs.js';
import type { WireAssignmentsMessage } from '../rpc/assignment.js';
import { answersHandler, requestsHandler, unaryHandler } from '../rpc/handlers.js';
import type {
  AttachNetworkReply,
  AttachNetworkRequest,
  DetachNetworksRequest,
  AcknowledgeRevisionRequest,
  AwaitAcknowledgedReply,
  AwaitAcknowledgedRequest,
  HeartbeatReply,
  InSession,
  IssueReply,
  IssueRequest,
  PublishLogsMessage,
  RootCaReply,
  SessionMessage,
  SessionRequest,
  SubscriptionMessage,
  UpdateTaskStatusRequest,
} from '../rpc/messages.js';
import { dispatcherDefinition, nodeCaDefinition } from '../rpc/proto.js';
import { SkepError } from '../../model/errors.js';
import type { Store } from '../store/store.js';
import { Acknowledgements } from './acknowledgements.js';
import { AssignmentStreams } from './assignment-stream.js';
import type { AllocateLeg } from './attachments.js';
import { Attachments } from './attachments.js';
import type { Caller } from './caller.js';
import { authorize, peerAddress } from './caller.js';
import { Heartbeats } from './heartbeat.js';
import { LogBroker } from './log-broker.js';
import type { IssueCertificate } from './node-ca.js';
import { NodeCa } from './node-ca.js';
import type { Session } from './sessions.js';
import { Sessions } from './sessions.js';
import { TaskBarrier } from './task-barrier.js';
import { TaskStatusWriter } from './task-status.js';

/** Any call that a server can receive. */
export type ServerCall =
  | ServerUnaryCall<unknown, unknown>
  | ServerReadableStream<unknown, unknown>
  | ServerWritableStream<unknown, unknown>
  | ServerDuplexStream<unknown, unknown>;

export interface ManagerServicesOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Log;
  /** The verified client certificate of a call, or undefined when it has none. */
  readonly peerOf: (call: ServerCall) => Omit<Caller, 'addr'> | undefined;
  readonly issueCertificate: IssueCertificate;
  readonly allocateLeg: AllocateLeg;
  readonly tlsInfoOf: (rootCaPem: string) => TlsInfo;
}

export interface ManagerServices {
  readonly services: readonly {
    readonly definition: ServiceDefinition;
    readonly implementation: UntypedServiceImplementation;
  }[];
  readonly readLogs: ReadLogs;
  /** Ends every session. Resolves when nothing of the dispatcher runs any more. */
  close(): Promise<void>;
}

export function createManagerServices(options: ManagerServicesOptions): ManagerServices {
  const { store, peerOf } = options;
  const log = options.log.child({ part: 'dispatcher' });
  const parts = { ...options, log };
  const nodeCa = new NodeCa(parts);
  const sessions = new Sessions(parts);
  const heartbeats = new Heartbeats(parts, (nodeId) =>
    sessions.end(nodeId, new SkepError('notFound', 'node not registered')),
  );
  const acknowledgements = new Acknowledgements();
  const assignments = new AssignmentStreams(parts, acknowledgements);
  const barrier = new TaskBarrier(parts, acknowledgements);
  const taskStatus = new TaskStatusWriter(parts);
  const broker = new LogBroker(parts);
  const attachments = new Attachments(parts);

  const stop = new AbortController();
  const watching = heartbeats.run(stop.signal);
  // A bug in the watch must end the process, not only this promise.
  watching.catch((err: unknown) =>
    setImmediate(() => {
      throw err;
    }),
  );

  const callerOf = (call: unknown): Caller | undefined => {
    const known = call as ServerCall;
    const peer = peerOf(known);
    return peer && { ...peer, addr: peerAddress(known.getPeer()) };
  };
  const nodeOf = (call: unknown): Node => authorize(callerOf(call), store.view());
  const sessionOf = (call: unknown, { sessionId }: InSession): Session =>
    sessions.require(nodeOf(call).id, sessionId);

  const nodeCaService = {
    getRootCaCertificate: unaryHandler<object, RootCaReply>(log, () => ({
      certificatePem: nodeCa.rootCaCertificate(),
    })),
    issueNodeCertificate: unaryHandler<IssueRequest, IssueReply>(log, (request, call) =>
      nodeCa.issue(request, callerOf(call)),
    ),
  };
  const dispatcherService = {
    session: answersHandler<SessionRequest, SessionMessage>(log, async (request, answers, call) => {
      const node = nodeOf(call);
      const session = await sessions.register(node, request, callerOf(call)?.addr ?? '');
      heartbeats.beat(node.id);
      await sessions.serve(session, answers);
    }),
    heartbeat: unaryHandler<InSession, HeartbeatReply>(log, (request, call) => ({
      periodMs: heartbeats.beat(sessionOf(call, request).nodeId),
    })),
    assignments: answersHandler<InSession, WireAssignmentsMessage>(log, (request, answers, call) =>
      assignments.serve(sessionOf(call, request), answers),
    ),
    updateTaskStatus: unaryHandler<UpdateTaskStatusRequest, object>(log, async (request, call) => {
      await taskStatus.report(sessionOf(call, request).nodeId, request.updates);
      return {};
    }),
    attachNetwork: unaryHandler<AttachNetworkRequest, AttachNetworkReply>(log, (request, call) =>
      attachments.attach(sessionOf(call, request).nodeId, request),
    ),
    detachNetworks: unaryHandler<DetachNetworksRequest, object>(log, async (request, call) => {
      await attachments.detach(sessionOf(call, request).nodeId, request.attachmentIds);
      return {};
    }),
    acknowledgeRevision: unaryHandler<AcknowledgeRevisionRequest, object>(log, (request, call) => {
      acknowledgements.acknowledge(sessionOf(call, request), request.revision);
      return {};
    }),
    awaitAcknowledged: unaryHandler<AwaitAcknowledgedRequest, AwaitAcknowledgedReply>(log, (request, call) =>
      barrier.wait(sessionOf(call, request), request.taskId as TaskId, request.drained),
    ),
    listenSubscriptions: answersHandler<InSession, SubscriptionMessage>(log, (request, answers, call) =>
      broker.listen(sessionOf(call, request), answers),
    ),
    publishLogs: requestsHandler<PublishLogsMessage, object>(log, async (messages, call) => {
      await broker.publish(nodeOf(call).id, messages);
      return {};
    }),
  };

  return {
    services: [
      { definition: nodeCaDefinition, implementation: nodeCaService },
      { definition: dispatcherDefinition, implementation: dispatcherService },
    ],
    readLogs: broker.read,
    async close() {
      sessions.stop();
      stop.abort();
      assignments[Symbol.dispose]();
      await watching;
    },
  };
}
