/**
 * The Docker Engine API of a node: one HTTP server on a unix socket (0660 root:docker), and by setting on TCP for clients with
 * certificates, that answers what is the swarm's and streams the rest to the local engine. Owns the socket file, the version in the path, the headers every
 * reply carries and the one place where a refusal becomes a reply.
 *
 * Must stay true: a request is answered exactly once; nothing of the swarm's reaches the engine; a client that goes
 * away ends all work done for it.
 */
import assert, { AssertionError } from 'node:assert';
import { chmod, chown, mkdir, readFile, unlink } from 'node:fs/promises';
import { createServer, STATUS_CODES } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import type { Duplex } from 'node:stream';
import { OutsideError, SkepError } from '../../model/errors.js';
import type { RandomSource } from '../../model/ids.js';
import type { Cluster, TlsInfo } from '../../model/objects.js';
import type { ClusterCa } from '../ca/cluster-ca.js';
import type { Clock } from '../../runtime/clock.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import { authorizeRequest, clientOf } from './access.js';
import type { Role } from './access.js';
import type { ApiContext } from './context.js';
import { EngineClient } from './engine-client.js';
import { errorReply } from '../http-status.js';
import { passThrough, passUpgrade, refusalOfUpgrade } from '../dockerd/passthrough.js';
import { ApiRequest } from './request.js';
import { RequestLog } from './request-log.js';
import type { ListenSettings } from './listen-settings.js';
import { findRoute } from './routes.js';
import { findRemote, passToNode, upgradeAtNode } from './remote-containers.js';
import { TlsListener } from './tls-listener.js';
import type { SwarmControl } from './swarm-control.js';
import type { SwarmEvents } from './swarm-events.js';
import type { ReadLogs } from '../task-logs.js';
import type { OpenTunnel } from '../tunnels.js';
import type { EngineIdentity } from './versions.js';
import { readsJsonErrors, splitVersion } from './versions.js';

/** A request that is over. */
export interface AnsweredRequest {
  readonly method: string;
  /** Null: the connection ended before the answer did. */
  readonly status: number | null;
  /** Who answered: this daemon, the engine of this host, or another node's. */
  readonly handler: Handler;
  readonly tookMs: number;
}
type Handler = 'swarm' | 'engine' | 'node';

export interface ApiServerOptions {
  readonly control: SwarmControl;
  /** Path of the local engine's unix socket. */
  readonly engineSocket: string;
  readonly readLogs: ReadLogs;
  readonly swarmEvents: SwarmEvents;
  readonly openTunnel: OpenTunnel;
  /** Name of the balancer engine; undefined: it cannot be asked. */
  readonly balancer: () => Promise<string | undefined>;
  readonly log: Log;
  readonly clock: Clock;
  readonly random: RandomSource;
  /** What the root certificate (PEM) says of itself. */
  readonly changeRoots: ClusterCa['changeRoots'];
  readonly tlsInfoOf: (cluster: Cluster) => TlsInfo;
  /** A join token with the same root digest and a new secret. */
  readonly rotateToken: (token: string) => string;
  /** Longest that a request's head, and a swarm request's body, may take to come, in ms. */
  readonly headersMsMax?: number;
  readonly bodyMsMax?: number;
  /** Is told of each request that is over, those aside that changed protocol. Must not throw. */
  readonly onAnswered?: (request: AnsweredRequest) => void;
}

export interface ApiServer {
  /**
   * Makes the socket and answers on it, and where the settings say so on TCP for clients with certificates. Rejects when another
   * daemon is listening there, or a setting cannot be kept.
   */
  listen(path: string, settings?: ListenSettings): Promise<void>;
  /** The ports of TCP in the settings' order, for 0. */
  ports(): readonly number[];
  /** Stops accepting, cuts every connection and removes the socket. */
  close(): Promise<void>;
}

/** Credentials and long labels travel in headers; Go's own limit. */
const headerLimitBytes = 1024 * 1024;

/** Nobody writes a head for longer than this. */
const headersMsMaxDefault = 10_000;
/** Eight megabytes over a slow line. */
const bodyMsMaxDefault = 60_000;
/** Followed logs and attached terminals hold one each. */
const connectionsMax = 4_096;

/** The answer to what is no request, in the form of any other refusal. */
function malformed(code: string | undefined): string {
  const status =
    code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? '408 Request Timeout'
        : '400 Bad Request';
  const body = `${JSON.stringify({ message: status.slice(4) })}\n`;
  return `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

export function createApiServer(options: ApiServerOptions): ApiServer {
  const { control, readLogs, openTunnel, balancer, log, clock, random, tlsInfoOf, changeRoots, rotateToken } =
    options;
  const engine = new EngineClient(options.engineSocket, () => clock.nowMs());
  const context: ApiContext = {
    control,
    engine,
    readLogs,
    swarmEvents: options.swarmEvents,
    openTunnel,
    balancer,
    log,
    clock,
    random,
    tlsInfoOf,
    changeRoots,
    rotateToken,
    bodyMsMax: options.bodyMsMax ?? bodyMsMaxDefault,
  };
  const sockets = new Set<Duplex>();
  const listeners: TlsListener[] = [];
  let path: string | undefined;

  const server = createServer({
    maxHeaderSize: headerLimitBytes,
    // dockerd has no limits here: a build context may take an hour, and a pooled connection may rest for days.
    requestTimeout: 0,
    keepAliveTimeout: 0,
    // A head is written in one go, though, and Node sets no limit of its own where there is none for requests.
    headersTimeout: options.headersMsMax ?? headersMsMaxDefault,
    connectionsCheckingInterval: 1_000,
  });
  server.timeout = 0;
  server.maxConnections = connectionsMax;
  server.on('clientError', (err: NodeJS.ErrnoException, socket) => {
    if (socket.writable && err.code !== 'ECONNRESET') socket.end(malformed(err.code));
    else socket.destroy();
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('request', (request, reply) => {
    let handler: Handler = 'swarm';
    const begunMs = clock.steadyMs();
    reply.once('close', () =>
      options.onAnswered?.({
        ...{ method: request.method ?? '', handler, tookMs: clock.steadyMs() - begunMs },
        status: reply.writableFinished ? reply.statusCode : null,
      }),
    );
    const passed = (to: Handler): void => void (handler = to);
    handle(context, request, reply, passed).catch((err: unknown) => {
      if (err instanceof AssertionError) throw err;
      log.error({ err, url: request.url }, 'request failed after its answer had begun');
      reply.destroy();
    });
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // What Node could not emit on the socket any more must not end the daemon.
    socket.on('error', (err) => log.debug({ err }, 'upgraded connection failed'));
    upgrade(context, request, socket, head).catch((err: unknown) => {
      if (err instanceof AssertionError) throw err;
      const { status, message } = errorReply(err);
      log.info({ err, url: request.url }, 'upgrade refused');
      if (!socket.destroyed) socket.end(refusalOfUpgrade(status, STATUS_CODES[status] ?? '', message));
    });
  });

  return {
    async listen(at, settings = { tcp: [] }) {
      const group = await groupId(settings.group);
      await mkdir(dirname(at), { recursive: true });
      await removeStale(at);
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(at, () => {
          server.off('error', reject);
          resolve();
        });
      });
      path = at;
      await chmod(at, 0o660);
      if (group !== undefined) await chown(at, 0, group);
      await engine.identity();
      for (const host of settings.tcp) {
        assert(settings.tls, 'TCP is served with TLS alone');
        listeners.push(
          await TlsListener.start({
            ...{ files: settings.tls, at: host, connectionsMax, clock, log },
            onConnection: (socket) => server.emit('connection', socket),
          }),
        );
      }
    },
    ports: () => listeners.map(({ port }) => port),
    async close() {
      for (const listener of listeners) listener.close();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      if (path !== undefined) {
        await closed;
        await unlink(path).catch(() => undefined);
      }
    },
  };
}

async function handle(
  context: ApiContext,
  http: IncomingMessage,
  reply: ServerResponse,
  passed: (to: Handler) => void,
): Promise<void> {
  const gone = new AbortController();
  reply.once('close', () => gone.abort());
  const { pathname, query } = splitTarget(http.url);
  const isPing = /^(\/v[^/]+)?\/_ping$/.test(pathname);
  // Ping is where clients negotiate: it must not name the version of an engine that was replaced since.
  const identity = await context.engine.identity(isPing);
  let isVersionServed = false;
  let line: RequestLog | undefined;
  try {
    const { minor, path } = splitVersion(pathname, identity);
    isVersionServed = true;
    admit(context, http, path);
    const remote = await findRemote(context, http.method ?? 'GET', path, identity, gone.signal);
    if (remote) {
      passed('node');
      return await passToNode(context, remote, http, reply, gone.signal);
    }
    const route = findRoute(http.method ?? 'GET', path, identity);
    if (route.kind === 'engine') {
      passed('engine');
      return await passThrough(context.engine.socketPath, http, reply);
    }
    if (route.kind === 'unknown' && http.method === 'OPTIONS') {
      setVersionHeaders(reply, identity);
      reply.writeHead(200, { 'Content-Length': 0 }).end();
      return;
    }
    if (route.kind === 'unknown' && pathname.includes('//')) {
      const query = (http.url ?? '').slice(pathname.length);
      reply.writeHead(301, { Location: pathname.replace(/\/{2,}/g, '/') + query, 'Content-Length': 0 }).end();
      return;
    }
    if (route.kind === 'unknown') {
      // dockerd sends no version headers here.
      sendError(reply, 404, 'page not found', readsJsonErrors(pathname));
      return;
    }
    setVersionHeaders(reply, identity);
    line = RequestLog.begin(context, http, reply, route);
    await route.handler(
      line ? { ...context, trace: line.trace } : context,
      new ApiRequest(http, reply, minor, path, query, route.params, identity, gone.signal, context.bodyMsMax),
    );
  } catch (err) {
    if (err instanceof AssertionError) throw err;
    if (!(err instanceof SkepError) && !(err instanceof OutsideError))
      context.log.error({ err, method: http.method, path: pathname }, 'request failed');
    if (reply.headersSent || reply.destroyed) {
      reply.destroy();
      return;
    }
    setVersionHeaders(reply, identity);
    // dockerd has not come to this header yet when it looks at the version.
    if (!isVersionServed) reply.removeHeader('Docker-Experimental');
    const { status, message } = errorReply(err);
    sendError(reply, status, message, readsJsonErrors(pathname));
  } finally {
    line?.end();
    // A body that nobody wanted must not stay in front of the connection's next request.
    if (!http.complete && !http.destroyed) http.resume();
  }
}

/** Refuses what a client on TCP may not ask, and writes down what it changes. */
function admit({ clock, log }: ApiContext, http: IncomingMessage, path: string, least?: Role): void {
  const client = clientOf(http.socket);
  if (!client) return;
  const { method = 'GET' } = http;
  const { name, role } = client;
  const about = { client: name, role, peer: http.socket.remoteAddress, method, path };
  try {
    authorizeRequest(client, method, path, clock.nowMs(), least);
  } catch (err) {
    decide(log, 'request.refused', { ...about, role: role ?? 'none' });
    throw err;
  }
  if (method !== 'GET' && method !== 'HEAD') log.info(about, 'request over TCP');
}

function splitTarget(target = '/'): { readonly pathname: string; readonly query: URLSearchParams } {
  const mark = target.indexOf('?');
  if (mark < 0) return { pathname: target, query: new URLSearchParams() };
  return { pathname: target.slice(0, mark), query: new URLSearchParams(target.slice(mark + 1)) };
}

/** A connection that wants to change protocol: only what is an engine's can, here or on another node. */
async function upgrade(
  context: ApiContext,
  http: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  const { engine } = context;
  const identity = await engine.identity();
  const { path } = splitVersion(splitTarget(http.url).pathname, identity);
  const method = http.method ?? 'GET';
  // What follows such a request is read by nobody here.
  admit(context, http, path, 'admin');
  if (findRoute(method, path, identity).kind !== 'engine')
    throw new SkepError('invalidArgument', 'this request cannot be an upgrade');
  const gone = new AbortController();
  const leave = (): void => gone.abort();
  socket.once('close', leave);
  const remote = await findRemote(context, method, path, identity, gone.signal);
  socket.off('close', leave);
  if (remote) await upgradeAtNode(context, remote, http, socket, head);
  else await passUpgrade(engine.socketPath, http, socket, head);
}

function setVersionHeaders(
  reply: ServerResponse,
  { version, maxMinor, os, experimental }: EngineIdentity,
): void {
  reply.setHeader('Api-Version', `1.${maxMinor}`);
  reply.setHeader('Docker-Experimental', String(experimental));
  reply.setHeader('Ostype', os);
  reply.setHeader('Server', `Docker/${version} (${os})`);
}

/** Docker's error body, with the newline that Go puts behind it in either form. */
function sendError(reply: ServerResponse, status: number, message: string, asJson: boolean): void {
  const body = `${asJson ? JSON.stringify({ message }) : message}\n`;
  if (!asJson) reply.setHeader('X-Content-Type-Options', 'nosniff');
  reply.writeHead(status, {
    'Content-Type': asJson ? 'application/json' : 'text/plain; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
  });
  reply.end(body);
}

/** Removes the socket of a daemon that is gone; throws when one answers on it. */
async function removeStale(path: string): Promise<void> {
  const answers = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (answers) throw new OutsideError(`another daemon is listening on ${path}`, false);
  await unlink(path).catch(() => undefined);
}

/** The id of a group by its name or number; `docker`, where there is one, if none is wanted. Throws for one that is not there. */
async function groupId(wanted: string | undefined): Promise<number | undefined> {
  if (wanted !== undefined && /^\d+$/.test(wanted)) return Number(wanted);
  const groups = await readFile('/etc/group', 'utf8').catch(() => '');
  const found = groups.split('\n').find((line) => line.startsWith(`${wanted ?? 'docker'}:`));
  const id = found?.split(':')[2];
  if (id !== undefined) return Number(id);
  // dockerd's flag knows the empty name, too: root's alone.
  if (wanted === undefined || wanted === '') return undefined;
  throw new OutsideError(
    `[api] group (SKEP_GROUP): this host has no group ${JSON.stringify(wanted)}, so nobody could open the socket as it says; skepd does not start. Make the group, or name another`,
    false,
  );
}
