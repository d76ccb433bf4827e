/**
 * The gRPC services of a manager, ready to be put on a server with the cluster's TLS. Owns the dispatcher's parts and
 * the checks that come before each of them: every call but a first certificate's is a registered node's.
 */
import assert from 'node:assert';
import type {
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { SkepError } from '../../model/errors.js';
import { leaderId } from '../../model/ids.js';
import type { RandomSource, TaskId } from '../../model/ids.js';
import type { Node } from '../../model/objects.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { ReadLogs } from '../task-logs.js';
import type { EncodedAssignmentsMessage } from '../rpc/assignment.js';
import { answersHandler, bothWaysHandler, requestsHandler, unaryHandler } from '../rpc/handlers.js';
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
} from '../rpc/messages.js';
import { serveLogs, serveTunnel } from '../managers/managers-service.js';
import type { ManagersService } from '../managers/managers-service.js';
import { NotLeaderError } from '../rpc/not-leader.js';
import { dispatcherDefinition, managersDefinition, nodeCaDefinition } from '../rpc/proto.js';
import type { Store } from '../store/store.js';
import { Acknowledgements } from './acknowledgements.js';
import type { AcknowledgementFigures } from './acknowledgements.js';
import { AssignmentStreams } from './assignment-stream.js';
import type { DispatcherObserver } from './assignment-stream.js';
import type { AllocateLeg } from './attachments.js';
import { Attachments } from './attachments.js';
import type { Caller, IsTrusted } from './caller.js';
import { authorize, Callers } from './caller.js';
import { Heartbeats } from './heartbeat.js';
import { LogBroker } from './log-broker.js';
import type { IssueCertificate, NodeCaOptions } from './node-ca.js';
import { NodeCa } from './node-ca.js';
import type { Session } from './sessions.js';
import { Sessions } from './sessions.js';
import { firstTunnelMessage } from '../rpc/tunnel-stream.js';
import type { OpenTunnel } from '../tunnels.js';
import { TaskBarrier } from './task-barrier.js';
import { TaskStatusWriter } from './task-status.js';
import { TunnelBroker } from './tunnel-broker.js';

/** Any call that a server can receive. */
export type ServerCall =
  | ServerUnaryCall<unknown, unknown>
  | ServerReadableStream<unknown, unknown>
  | ServerWritableStream<unknown, unknown>
  | ServerDuplexStream<unknown, unknown>;

/** Who calls, and what certificates are given: by the cluster's CA. */
export interface ManagerSecurity {
  /** The verified client certificate of a call, or undefined when it has none. */
  readonly peerOf: (call: ServerCall) => Omit<Caller, 'addr'> | undefined;
  readonly isTrusted: IsTrusted;
  readonly shownIdentity: NodeCaOptions['shownIdentity'];
  readonly issueCertificate: IssueCertificate;
}

export interface ManagerServicesOptions extends ManagerSecurity {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Log;
  readonly allocateLeg: AllocateLeg;
  /** Absent: nobody can become a manager here. */
  readonly managers?: Pick<ManagersService, 'join'>;
  readonly observer?: DispatcherObserver;
}

/** How the dispatcher stands. */
export interface DispatcherFigures extends AcknowledgementFigures {
  readonly sessions: number;
}

export interface ManagerServices {
  readonly services: readonly {
    readonly definition: ServiceDefinition;
    readonly implementation: UntypedServiceImplementation;
  }[];
  /** Reads logs of the nodes that are here; undefined while this manager does not lead. */
  readonly readLogs: () => ReadLogs | undefined;
  /** Opens connections to the nodes that are here; undefined while this manager does not lead. */
  readonly openTunnel: () => OpenTunnel | undefined;
  /** Undefined while this manager does not lead. */
  readonly figures: () => DispatcherFigures | undefined;
  /**
   * Takes nodes' sessions until the signal aborts; resolves when nothing of the dispatcher runs any more. Rejects with a bug.
   * @param inOffice the store of this term
   */
  lead(inOffice: Store, signal: AbortSignal): Promise<void>;
}

/** Whoever opens a connection says at once what for. */
const firstMsMax = 10_000;

type Parts = Omit<ManagerServicesOptions, 'store'> & { readonly store: Store };

/** What knows of nodes, in memory: one term of office long. */
function startDispatcher(parts: Parts) {
  const sessions = new Sessions(parts);
  const heartbeats = new Heartbeats(parts, sessions);
  const { clock, observer } = parts;
  const acknowledgements = new Acknowledgements(clock, (tookMs) => observer?.acknowledged(tookMs));
  return {
    sessions,
    heartbeats,
    acknowledgements,
    assignments: new AssignmentStreams(parts, acknowledgements),
    barrier: new TaskBarrier(parts, acknowledgements),
    taskStatus: new TaskStatusWriter(parts),
    broker: new LogBroker(parts),
    attachments: new Attachments(parts),
  };
}

export function createManagerServices(options: ManagerServicesOptions): ManagerServices {
  const { store, peerOf, isTrusted } = options;
  const log = options.log.child({ part: 'dispatcher' });
  const parts = { ...options, log };
  const nodeCa = new NodeCa(parts);
  // Connections outlast terms of office.
  const tunnels = new TunnelBroker(parts);
  let current: ReturnType<typeof startDispatcher> | undefined;
  const now = () => {
    if (current) return current;
    const leader = store.view().get('leader', leaderId);
    throw new NotLeaderError((leader && store.view().get('manager', leader.nodeId)?.addr) ?? '');
  };

  const callers = new Callers(peerOf);
  const callerOf = (call: unknown): Caller | undefined => callers.of(call as ServerCall);
  const nodeOf = (call: unknown): Node => authorize(callerOf(call), store.view(), isTrusted);
  const sessionOf = (call: unknown, { sessionId }: InSession): Session => {
    const { sessions, heartbeats } = now();
    const session = sessions.require(nodeOf(call).id, sessionId);
    heartbeats.hear(session.nodeId);
    return session;
  };

  const nodeCaService = {
    getRootCaCertificate: unaryHandler<object, RootCaReply>(log, () => ({
      certificatePem: nodeCa.rootCaCertificate(),
    })),
    issueNodeCertificate: unaryHandler<IssueRequest, IssueReply>(log, (request, call) =>
      nodeCa.issue(request, callerOf(call)),
    ),
  };
  const managerOf = (call: unknown): Node => {
    const node = authorize(callerOf(call), store.view(), isTrusted, ['manager']);
    if (node.role !== 'manager')
      throw new SkepError('permissionDenied', `node ${node.id} is no manager any more`);
    return node;
  };
  const managersService = {
    join: unaryHandler<JoinManagersRequest, JoinManagersReply>(log, (request, call) => {
      const node = managerOf(call);
      if (!options.managers) throw new SkepError('unimplemented', 'this manager takes nobody in');
      return options.managers.join(node, request);
    }),
    readLogs: answersHandler<ReadLogsRequest, ReadLogsReply>(log, (request, { write, signal }, call) => {
      managerOf(call);
      return serveLogs(now().broker.read, request, write, signal);
    }),
    openTunnel: bothWaysHandler<TunnelMessage, TunnelMessage>(log, async (call) => {
      managerOf(call);
      now();
      await serveTunnel(tunnels.open, await firstTunnelMessage(call, AbortSignal.timeout(firstMsMax)), call);
    }),
  };
  const dispatcherService = {
    session: answersHandler<SessionRequest, SessionMessage>(log, async (request, answers, call) => {
      const caller = callerOf(call);
      const node = authorize(caller, store.view(), isTrusted);
      const { sessions, heartbeats } = now();
      assert(caller, 'it is authorized');
      // Before it is written down: a term that begins would take a node that it has not heard of for a silent one.
      heartbeats.beat(node.id, null);
      const session = await sessions.register(node, request, caller);
      heartbeats.beat(node.id, null);
      await sessions.serve(session, answers);
    }),
    describeNode: unaryHandler<DescribeNodeRequest, object>(log, async (request, call) => {
      await now().sessions.describe(sessionOf(call, request), request.description);
      return {};
    }),
    heartbeat: unaryHandler<HeartbeatRequest, HeartbeatReply>(log, (request, call) => {
      const { nodeId } = sessionOf(call, request);
      return { periodMs: now().heartbeats.beat(nodeId, request.silent?.nodeIds ?? null) };
    }),
    assignments: answersHandler<AssignmentsRequest, EncodedAssignmentsMessage>(
      log,
      (request, answers, call) => now().assignments.serve(sessionOf(call, request), answers, request),
    ),
    updateTaskStatus: unaryHandler<UpdateTaskStatusRequest, object>(log, async (request, call) => {
      await now().taskStatus.report(sessionOf(call, request).nodeId, request.updates);
      return {};
    }),
    attachNetwork: unaryHandler<AttachNetworkRequest, AttachNetworkReply>(log, (request, call) =>
      now().attachments.attach(sessionOf(call, request).nodeId, request),
    ),
    detachNetworks: unaryHandler<DetachNetworksRequest, object>(log, async (request, call) => {
      await now().attachments.detach(sessionOf(call, request).nodeId, request.attachmentIds);
      return {};
    }),
    acknowledgeRevision: unaryHandler<AcknowledgeRevisionRequest, object>(log, (request, call) => {
      now().acknowledgements.acknowledge(sessionOf(call, request), request.revision);
      return {};
    }),
    acknowledgeRevisions: requestsHandler<AcknowledgeRevisionRequest, object>(log, async (_, call) => {
      nodeOf(call);
      await now().acknowledgements.take(call, (request) => sessionOf(call, request));
      return {};
    }),
    awaitAcknowledged: unaryHandler<AwaitAcknowledgedRequest, AwaitAcknowledgedReply>(log, (request, call) =>
      now().barrier.wait(sessionOf(call, request), request.taskId as TaskId, request.drained),
    ),
    listenSubscriptions: answersHandler<InSession, SubscriptionMessage>(log, (request, answers, call) =>
      now().broker.listen(sessionOf(call, request), answers),
    ),
    publishLogs: requestsHandler<PublishLogsMessage, object>(log, async (messages, call) => {
      await now().broker.publish(nodeOf(call).id, messages);
      return {};
    }),
    listenTunnels: answersHandler<InSession, TunnelOffer>(log, (request, answers, call) =>
      tunnels.listen(sessionOf(call, request), answers),
    ),
    tunnel: bothWaysHandler<TunnelMessage, TunnelMessage>(log, async (call) => {
      const { id } = nodeOf(call);
      tunnels.bring(id, await firstTunnelMessage(call, AbortSignal.timeout(firstMsMax)), call);
    }),
  };

  return {
    services: [
      { definition: nodeCaDefinition, implementation: nodeCaService },
      { definition: dispatcherDefinition, implementation: dispatcherService },
      { definition: managersDefinition, implementation: managersService },
    ],
    readLogs: () => current?.broker.read,
    openTunnel: () => current && tunnels.open,
    figures: () => current && { sessions: current.sessions.count, ...current.acknowledgements.figures() },
    async lead(inOffice, signal) {
      assert(!current, 'one term ends before the next begins');
      const term = startDispatcher({ ...parts, store: inOffice });
      current = term;
      try {
        await term.heartbeats.run(signal);
      } finally {
        current = undefined;
        term.broker.stop();
        term.sessions.stop();
        term.assignments[Symbol.dispose]();
      }
    },
  };
}
