/**
 * What managers get of this node's engine: what a user of a manager may ask of a task's container that runs here, and nothing
 * else. Each connection that a manager wants is brought to it and served as HTTP. Must stay true: a request reaches the engine
 * only when it is in the table of container-requests.ts, names a whole id, and that container is one of a task that this node
 * was given; `exec --privileged` only where the host's administrator allows privileges (docs/adr/0033). A manager may be wrong.
 *
 * Each has a connection of its own to the manager: a copy of gigabytes holds up no heartbeat.
 */
import { AssertionError } from 'node:assert';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { status } from '@grpc/grpc-js';
import { OutsideError, SkepError } from '../../model/errors.js';
import type { HostAllowance } from '../../model/host-access.js';
import { privilegedLabel } from '../../model/host-access.js';
import type { NodeId, TaskId } from '../../model/ids.js';
import type { Log } from '../../runtime/log.js';
import type { ContainerRequest } from '../container-requests.js';
import { errorReply } from '../http-status.js';
import { isEngineId, isRemoteOperation, parseContainerRequest } from '../container-requests.js';
import type { Engine } from '../dockerd/client.js';
import { passThrough, passUpgrade, refusalOfUpgrade } from '../dockerd/passthrough.js';
import type { SessionClient } from '../rpc/clients.js';
import type { TunnelOffer } from '../rpc/messages.js';
import { isServiceError } from '../rpc/status.js';
import { tunnelMessage, TunnelStream } from '../rpc/tunnel-stream.js';
import { taskLabels } from '../../model/task-labels.js';

/** As many as one manager asks for (dispatcher/tunnel-broker.ts), and those of its predecessor that still go on. */
const tunnelsMax = 128;
/** A request of an exec names a command and its environment. */
const execBytesMax = 1024 * 1024;

export interface ContainerTunnelsOptions {
  readonly nodeId: NodeId;
  readonly engine: Pick<Engine, 'container' | 'containerOfExec' | 'apiMinors' | 'socketPath'>;
  /** Whether the task is one that this node was given. */
  readonly hasTask: (taskId: TaskId) => boolean;
  readonly allowance: HostAllowance;
  readonly log: Log;
}

export class ContainerTunnels {
  readonly #http;
  readonly #open = new Set<TunnelStream>();

  constructor(private readonly options: ContainerTunnelsOptions) {
    this.#http = createServer({ requestTimeout: 0, keepAliveTimeout: 0 });
    this.#http.on('request', (request, reply) => {
      this.#serve(request, reply).catch((err: unknown) => {
        if (err instanceof AssertionError) throw err;
        refuse(reply, err);
      });
    });
    this.#http.on('upgrade', (request: IncomingMessage, connection: Duplex, head: Buffer) => {
      connection.on('error', () => undefined);
      this.#serveUpgrade(request, connection, head).catch((err: unknown) => {
        if (err instanceof AssertionError) throw err;
        const { status: code, message } = errorReply(err);
        if (!connection.destroyed) connection.end(refusalOfUpgrade(code, 'Refused', message));
      });
    });
  }

  /**
   * Brings connections until the stream of offers ends or the signal aborts; those that are open go on.
   * @param connect a further connection to the same manager
   */
  async run(
    client: SessionClient,
    connect: () => SessionClient,
    sessionId: string,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      for await (const offer of client.listenTunnels({ sessionId }, signal))
        this.#bring(connect(), (offer as TunnelOffer).id);
    } catch (err) {
      // A manager of an earlier version wants none.
      if (!isServiceError(err) || err.code !== status.UNIMPLEMENTED) throw err;
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    }
  }

  /** Cuts what is open. */
  close(): void {
    for (const tunnel of this.#open) tunnel.destroy();
  }

  #bring(client: SessionClient, offerId: string): void {
    if (this.#open.size >= tunnelsMax) {
      this.options.log.warn(
        { open: this.#open.size },
        'too many connections of managers, one is not brought',
      );
      return client.close();
    }
    const call = client.tunnel(new AbortController().signal);
    call.once('close', () => client.close());
    const tunnel = new TunnelStream(call, () => new OutsideError('the manager is gone', true));
    this.#open.add(tunnel);
    tunnel.once('close', () => this.#open.delete(tunnel));
    tunnel.on('error', (err) => this.options.log.debug({ err }, 'connection of a manager ended'));
    call.write(tunnelMessage({ offerId }));
    this.#http.emit('connection', tunnel);
  }

  async #serve(request: IncomingMessage, reply: ServerResponse): Promise<void> {
    const asked = await this.#allowed(request);
    const socketPath = this.#socketPath();
    const url = await this.#spoken(request);
    if (asked.operation !== 'POST exec') return passThrough(socketPath, request, reply, { url });
    await passThrough(socketPath, request, reply, { url, body: await this.#checkedExec(request) });
  }

  async #serveUpgrade(request: IncomingMessage, connection: Duplex, head: Buffer): Promise<void> {
    const asked = await this.#allowed(request);
    if (!isUpgradable(asked)) throw notServed();
    const url = await this.#spoken(request);
    await passUpgrade(this.#socketPath(), request, connection, head, { url });
  }

  /**
   * The request's target in the nearest version that this node's engine speaks: clients have agreed on one with the engine of the
   * manager they ask, which may be another.
   */
  async #spoken({ url = '' }: IncomingMessage): Promise<string> {
    const [version, minor] = /^\/v1\.(\d+)(?=\/)/.exec(url) ?? [];
    if (version === undefined) return url;
    const { min, max } = await this.options.engine.apiMinors();
    return `/v1.${Math.min(Math.max(Number(minor), min), max)}${url.slice(version.length)}`;
  }

  #socketPath(): string {
    const { socketPath } = this.options.engine;
    if (socketPath === undefined)
      throw new SkepError('unimplemented', 'this node reaches its engine by TCP, and serves no managers');
    return socketPath;
  }

  /** What is asked, if it may be. */
  async #allowed({ method = '', url = '' }: IncomingMessage): Promise<ContainerRequest> {
    const path = url.replace(/\?.*$/s, '').replace(/^\/v\d+\.\d+(?=\/)/, '');
    const asked = parseContainerRequest(method, path);
    // The path goes to the engine as it is: it must say no more than was understood.
    if (!asked || !isRemoteOperation(asked) || !isEngineId(asked.argument) || path.includes('%'))
      throw notServed();
    const { engine } = this.options;
    const id = asked.subject === 'exec' ? await engine.containerOfExec(asked.argument) : asked.argument;
    if (id === undefined) throw new SkepError('notFound', `No such exec instance: ${asked.argument}`);
    const container = await engine.container(id);
    if (!container) throw new SkepError('notFound', `No such container: ${id}`);
    const taskId = container.labels[taskLabels.taskId] as TaskId | undefined;
    const isOurs = container.labels[taskLabels.nodeId] === this.options.nodeId;
    // What a stranger's container is called, or that there is one, is no manager's business.
    if (!isOurs || taskId === undefined || !this.options.hasTask(taskId))
      throw new SkepError('notFound', `No such container: ${id}`);
    return asked;
  }

  /** The body of a request to make an exec, as the engine is to read it. */
  async #checkedExec(request: IncomingMessage): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > execBytesMax)
        throw new SkepError('invalidArgument', `request body is larger than ${execBytesMax} bytes`);
      chunks.push(chunk);
    }
    const body = Buffer.concat(chunks);
    if (this.options.allowance.privileged || !isPrivileged(body)) return body;
    throw new SkepError(
      'permissionDenied',
      `exec --privileged: ${privilegedLabel} is not allowed on this node`,
    );
  }
}

const isUpgradable = ({ operation }: ContainerRequest): boolean =>
  ['POST attach', 'GET attach/ws', 'POST start'].includes(operation);

/** Whether it asks for privileges: Go takes any case of the name. What cannot be judged is refused. */
function isPrivileged(body: Buffer): boolean {
  let seen = false;
  try {
    JSON.parse(body.toString('utf8'), (key, value: unknown) => {
      if (key.toLowerCase() === 'privileged' && value !== false && value !== null) seen = true;
      return value;
    });
  } catch (cause) {
    throw new SkepError('invalidArgument', 'the request is no JSON', { cause });
  }
  return seen;
}

const notServed = (): SkepError =>
  new SkepError('permissionDenied', 'this node serves managers only what its tasks have');

function refuse(reply: ServerResponse, err: unknown): void {
  if (reply.headersSent || reply.destroyed) return void reply.destroy();
  const { status: code, message } = errorReply(err);
  const body = `${JSON.stringify({ message })}\n`;
  // What is left of the request's body is not waited for.
  reply.writeHead(code, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(body),
    Connection: 'close',
  });
  reply.end(body);
}
