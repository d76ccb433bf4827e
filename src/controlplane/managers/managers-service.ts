/** What managers ask each other: to be taken in, and for what only the leader can read. */
import { isIP } from 'node:net';
import type { NodeId, ServiceId, TaskId } from '../../model/ids.js';
import { SkepError } from '../../model/errors.js';
import type { Node } from '../../model/objects.js';
import { status } from '@grpc/grpc-js';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { Log } from '../../runtime/log.js';
import { EtcdError } from '../etcd/channel.js';
import type { EtcdMember, EtcdMembers } from '../etcd/members.js';
import type {
  JoinManagersReply,
  JoinManagersRequest,
  ReadLogsReply,
  ReadLogsRequest,
  TunnelMessage,
} from '../rpc/messages.js';
import type { DataKey } from '../store/seal.js';
import type { Store } from '../store/store.js';
import { lastLine } from '../packed-lines.js';
import type { LogOptions, LogSubject, ReadLogs } from '../task-logs.js';
import { tunnelMessage, TunnelStream } from '../rpc/tunnel-stream.js';
import type { OpenTunnel } from '../tunnels.js';
import { keepsQuorum } from './members-plan.js';

export interface ManagersServiceOptions {
  readonly store: Store;
  readonly members: Pick<EtcdMembers, 'list' | 'addLearner' | 'remove'>;
  readonly dataKey: DataKey;
  readonly log: Log;
}

export class ManagersService {
  constructor(private readonly options: ManagersServiceOptions) {}

  /** @param node of the caller, who is authorized as a manager */
  async join(node: Node, { peerUrl }: JoinManagersRequest): Promise<JoinManagersReply> {
    const { dataKey, log } = this.options;
    checkPeerUrl(peerUrl);
    // Its member was removed, and it has not been told yet that it is a worker.
    if (node.spec.role !== 'manager')
      throw new SkepError('permissionDenied', `node ${node.id} is to be a worker`);
    const members = await this.#withLearner(node.id, peerUrl);
    log.info({ node: node.id, peerUrl }, 'manager taken in');
    return {
      members: members.map(({ name, peerUrls }) => ({ name: name || node.id, peerUrl: peerUrls[0] ?? '' })),
      dataKey: { id: dataKey.id, key: Buffer.from(dataKey.key) },
    };
  }

  async #withLearner(nodeId: NodeId, peerUrl: string): Promise<readonly EtcdMember[]> {
    const { members, store } = this.options;
    const present = await members.list();
    // Taken in before, and never started since.
    if (present.some(({ name, peerUrls }) => name === '' && peerUrls.includes(peerUrl))) return present;
    // It asks as it has no data: the member it was has lost its own, and could not be told from one that never had any.
    const former = present.find(({ name, peerUrls }) => name === nodeId || peerUrls.includes(peerUrl));
    if (former) {
      if (former.name !== nodeId)
        throw new SkepError('invalidArgument', `another manager is reached at ${peerUrl}`);
      if (!former.isLearner && !keepsQuorum(store.view(), present, former.id))
        throw new SkepError('unavailable', "can't replace the member: this would result in a loss of quorum");
      await members.remove(former.id);
    }
    try {
      return await members.addLearner(peerUrl);
    } catch (err) {
      // The latter also for the first seconds of a member that has just come: etcd adds none before all are well.
      if (err instanceof EtcdError && (err.code === status.FAILED_PRECONDITION || err.retryable))
        throw new SkepError('unavailable', 'another manager is being taken in, or too few are alive', {
          cause: err,
        });
      throw err;
    }
  }
}

/** etcd would believe whatever it is told. */
function checkPeerUrl(peerUrl: string): void {
  const url = URL.canParse(peerUrl) ? new URL(peerUrl) : undefined;
  const host = url?.hostname.replace(/^\[|\]$/g, '') ?? '';
  if (url?.protocol !== 'https:' || isIP(host) === 0 || url.port === '' || url.pathname !== '/')
    throw new SkepError('invalidArgument', `not the address of a member: ${peerUrl}`);
}

/** A request for logs, served by the leader. */
export async function serveLogs(
  read: ReadLogs,
  { taskIds, serviceId, ...options }: ReadLogsRequest,
  write: (reply: ReadLogsReply) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const subject: LogSubject =
    serviceId === '' ? { taskId: (taskIds[0] ?? '') as TaskId } : { serviceId: serviceId as ServiceId };
  for await (const lines of read(subject, options, signal)) await write({ lines });
}

/** What to ask another manager. */
export const logsRequest = (subject: LogSubject, options: LogOptions): ReadLogsRequest =>
  'taskId' in subject
    ? { reached: {}, ...options, taskIds: [subject.taskId], serviceId: '' }
    : { reached: {}, ...options, taskIds: [], serviceId: subject.serviceId };

/** The same, asked by another manager. */
export async function* readLogReplies(replies: AsyncIterable<ReadLogsReply>): ReturnType<ReadLogs> {
  for await (const { lines } of replies)
    yield lines.map(({ taskId, nodeId, packed }) => {
      lastLine(packed);
      return { taskId: taskId as TaskId, nodeId: nodeId as NodeId, packed };
    });
}

/** A connection to a node, served by the leader: the two halves are one once it is open. @param first names the node */
export async function serveTunnel(
  open: OpenTunnel,
  { nodeId }: TunnelMessage,
  call: ServerDuplexStream<TunnelMessage, TunnelMessage>,
): Promise<void> {
  const gone = new AbortController();
  const leave = (): void => gone.abort(new SkepError('aborted', 'the other manager is gone'));
  call.on('cancelled', leave);
  if (call.cancelled) leave();
  const toNode = await open(nodeId as NodeId, gone.signal);
  call.write(tunnelMessage({}));
  const asked = new TunnelStream(call, () => new Error('the other manager is gone'));
  for (const [from, to] of [
    [toNode, asked],
    [asked, toNode],
  ] as const) {
    from.on('error', () => undefined);
    from.once('close', () => (from.readableEnded ? to.end(() => to.destroy()) : to.destroy()));
    from.pipe(to);
  }
}
