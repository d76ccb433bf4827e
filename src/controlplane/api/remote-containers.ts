/**
 * Containers of tasks on other nodes: a manager that is asked for one asks that node. The local engine is asked first and wins;
 * what it does not know is looked for among the tasks by the container's id, name, or prefix of the id, in the engine's own
 * order. Costs the local container nothing but a look at the tasks: the engine is asked whether it knows what a request names
 * only where a task elsewhere has that, too.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { SkepError } from '../../model/errors.js';
import type { NodeId } from '../../model/ids.js';
import { taskName } from '../../model/objects.js';
import type { Node, Task } from '../../model/objects.js';
import type { ContainerRequest } from '../container-requests.js';
import {
  formatRemoteExec,
  isOutput,
  isRemoteOperation,
  parseContainerRequest,
  parseRemoteExec,
} from '../container-requests.js';
import { OutputWatch } from '../dockerd/output-watch.js';
import { passThrough, passUpgrade } from '../dockerd/passthrough.js';
import type { View } from '../store/store.js';
import { nodeLost } from '../tunnels.js';
import type { ApiContext } from './context.js';
import { formatJson, memberOf, parseJson, withMember } from './convert/json.js';
import type { Json } from './convert/json.js';
import { isModern } from './versions.js';
import type { EngineIdentity } from './versions.js';

/**
 * A shorter prefix names nothing on another node: words such as `db` or `cafe` are hexadecimal, and with thousands of
 * tasks one of their containers' ids would begin so. Six digits meet one of 10,000 ids by chance in one case of 1,700.
 */
const prefixMin = 6;

/** A request that another node answers. */
export interface RemoteRequest {
  readonly asked: ContainerRequest;
  readonly node: Node;
  /** As that node's engine knows what the request names. */
  readonly engineId: string;
}

/** Tasks on other nodes whose container the argument names: by the first of id, name and prefix that any has. */
export function findRemoteTasks(view: View, ownNodeId: NodeId | '', argument: string): Task[] {
  const elsewhere = view
    .list('task')
    .filter(({ nodeId, status }) => nodeId && nodeId !== ownNodeId && status.container?.containerId);
  const name = argument.replace(/^\//, '');
  const isPrefix = argument.length >= prefixMin && /^[0-9a-f]+$/.test(argument);
  for (const isNamed of [
    ({ status }: Task): boolean => status.container?.containerId === argument,
    (task: Task): boolean => taskName(task) === name,
    ({ status }: Task): boolean => isPrefix && status.container?.containerId.startsWith(argument) === true,
  ]) {
    const found = elsewhere.filter(isNamed);
    if (found.length > 0) return found;
  }
  return [];
}

/**
 * Whether another node is to answer; undefined: the local engine is. Throws where the argument names several containers, and
 * for what is not asked of a task's container from afar.
 */
export async function findRemote(
  { control, engine }: ApiContext,
  method: string,
  path: string,
  identity: EngineIdentity,
  signal: AbortSignal,
): Promise<RemoteRequest | undefined> {
  const asked = parseContainerRequest(method, path);
  const { store, nodeId } = control.membership();
  if (!asked || !store) return undefined;
  const view = store.view();
  if (asked.subject === 'exec') {
    const exec = parseRemoteExec(asked.argument);
    const node = exec && view.get('node', exec.nodeId as NodeId);
    return exec && node && isRemoteOperation(asked) ? { asked, node, engineId: exec.execId } : undefined;
  }
  const [task, another] = findRemoteTasks(view, nodeId, asked.argument);
  if (!task) return undefined;
  const path404 = `/containers/${encodeURIComponent(asked.argument)}/json`;
  const { status } = await engine.call('GET', path404, undefined, signal);
  if (status !== 404) return undefined;
  if (another)
    throw isModern(identity)
      ? new SkepError('invalidArgument', `multiple IDs found with provided prefix: ${asked.argument}`)
      : new SkepError('unknown', `Multiple IDs found with provided prefix: ${asked.argument}`);
  const node = view.get('node', task.nodeId!);
  if (!node) return undefined;
  if (!isRemoteOperation(asked)) {
    if (method === 'GET' || method === 'HEAD') return undefined;
    throw new SkepError(
      'failedPrecondition',
      `container ${taskName(task)} is of service ${task.serviceName} and runs on node ${nameOf(node)}: ` +
        'change it by its service, or on that node',
    );
  }
  return { asked, node, engineId: task.status.container!.containerId };
}

const nameOf = ({ id, description }: Node): string => description?.hostname ?? id;

/** Has the node answer. Throws `unavailable` when it cannot be reached, as long as nothing was answered. */
export async function passToNode(
  { openTunnel }: Pick<ApiContext, 'openTunnel'>,
  remote: RemoteRequest,
  http: IncomingMessage,
  reply: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const key = execMembers[`${remote.asked.subject} ${remote.asked.operation}`];
  const tunnel = await openTunnel(remote.node.id, signal);
  try {
    await passThrough(tunnel, http, reply, {
      url: urlAt(http, remote),
      ...(isOutput(remote.asked) && { watch: watchOf(remote) }),
      ...(key !== undefined && { rewrite: (body) => withRemoteExecs(body, key, remote.node.id) }),
    });
  } finally {
    tunnel.destroy();
  }
}

/** The same of a connection that changes protocol. */
export async function upgradeAtNode(
  { openTunnel }: Pick<ApiContext, 'openTunnel'>,
  remote: RemoteRequest,
  http: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  const gone = new AbortController();
  const leave = (): void => gone.abort(new SkepError('aborted', 'the client is gone'));
  socket.once('close', leave);
  if (socket.destroyed) leave();
  const tunnel = await openTunnel(remote.node.id, gone.signal);
  await passUpgrade(tunnel, http, socket, head, {
    url: urlAt(http, remote),
    ...(isOutput(remote.asked) && { watch: watchOf(remote) }),
  });
}

const watchOf = ({ node }: RemoteRequest): OutputWatch => new OutputWatch(nodeLost(node).message);

const urlAt = ({ url = '' }: IncomingMessage, { engineId }: RemoteRequest): string =>
  url.replace(/\/(containers|exec)\/[^/?]+/, `/$1/${engineId}`);

/** Where small answers name exec instances. */
const execMembers: Readonly<Record<string, string>> = {
  'container POST exec': 'Id',
  'exec GET json': 'ID',
  'container GET json': 'ExecIDs',
};

/** Exec instances as this node's clients are to call them. */
function withRemoteExecs(body: Buffer, key: string, nodeId: NodeId): Buffer {
  const answer = parseJson(body.toString('utf8'), { truncated: 'unexpected EOF', allowTrailing: true });
  const execs = memberOf(answer, key);
  const named = (id: Json): Json => (typeof id === 'string' ? formatRemoteExec(id, nodeId) : id);
  if (typeof execs !== 'string' && !Array.isArray(execs)) return body;
  const renamed = Array.isArray(execs) ? (execs as Json[]).map(named) : named(execs);
  return Buffer.from(`${formatJson(withMember(answer, key, renamed))}\n`);
}
