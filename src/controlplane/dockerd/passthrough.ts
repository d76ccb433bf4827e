/**
 * Everything that is not swarm's goes to the local engine byte by byte: headers and their order kept, nothing
 * buffered, both directions at the slower side's pace, and the end of either side ends the other. Connections that
 * change protocol (attach, exec, session, build over h2c) become a plain tunnel with half-close in both directions.
 *
 * Each request gets a connection of its own: a kept-alive one may have died with an engine restart, and a request
 * that is not idempotent could not be sent again.
 */
import { request } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { OutsideError } from '../../model/errors.js';
import { BodyMeter } from './body-meter.js';
import type { OutputWatch } from './output-watch.js';

/** The refusal for an engine that cannot be reached; clients show the text. */
export const engineDown = (cause: unknown): OutsideError =>
  new OutsideError(
    `the Docker Engine behind Skep cannot be reached: ${cause instanceof Error ? cause.message : String(cause)}`,
    true,
    { cause },
  );

/** The refusal for a connection that ended before an engine had answered on it. */
const connectionLost = (cause: unknown): OutsideError =>
  new OutsideError(cause instanceof Error ? cause.message : String(cause), true, { cause });

/** The way to an engine: the path of its unix socket, or a connection to it that is open already, for one request. */
export type EngineWay = string | Duplex;

/** Headers that belong to one connection and not to the message (RFC 9110, 7.6.1). */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
]);

/** An inspection with thousands of mounts. */
const rewriteBytesMax = 4 * 1024 * 1024;

/** The header block of an answer to an upgrade is refused beyond this. */
const headLimitBytes = 64 * 1024;

const withoutHopByHop = (raw: readonly string[], keep: readonly string[] = []): string[] => {
  const kept: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    if (!hopByHop.has(name.toLowerCase()) || keep.includes(name.toLowerCase()))
      kept.push(name, raw[i + 1] ?? '');
  }
  return kept;
};

export interface PassOptions extends WatchOptions {
  /** A body that was read already. */
  readonly body?: Buffer;
  /** Makes the client's answer of the engine's whole one, where that is a success: a small one. */
  readonly rewrite?: (body: Buffer) => Buffer;
  /** Called with the engine's status before the client hears of it. Must not reject. */
  readonly beforeReply?: (status: number) => Promise<void>;
}

export interface WatchOptions {
  /** Replaces the request target. */
  readonly url?: string;
  /** Sees the answer's bytes and has its last words, should the connection to the engine be lost within them. */
  readonly watch?: OutputWatch;
}

/**
 * Hands one request to the engine and its answer to the client; resolves when both are done. Throws a retryable
 * OutsideError while nothing was answered yet; after that a failure of either side cuts the other.
 */
export async function passThrough(
  engine: EngineWay,
  client: IncomingMessage,
  reply: ServerResponse,
  options: PassOptions = {},
): Promise<void> {
  const hasBody =
    client.headers['transfer-encoding'] !== undefined || client.headers['content-length'] !== undefined;
  const headers = withoutHopByHop(client.rawHeaders, options.body ? [] : ['transfer-encoding']).filter(
    (_, i, all) => !options.body || all[i - (i % 2)]?.toLowerCase() !== 'content-length',
  );
  // Without either header Node would announce a chunked body for a POST that has none.
  if (options.body) headers.push('Content-Length', String(options.body.length));
  else if (!hasBody && client.method !== 'GET' && client.method !== 'HEAD')
    headers.push('Content-Length', '0');
  // Not `close`: told so, the engine would shut the connection on a body it has not read (an unknown container) while
  // the rest of it is still being sent, and its answer would be lost to the write error.
  headers.push('Connection', 'keep-alive');

  const call = request({
    ...(typeof engine === 'string'
      ? { socketPath: engine, agent: false }
      : { createConnection: () => engine }),
    method: client.method,
    path: options.url ?? client.url,
    headers,
    maxHeaderSize: 1024 * 1024,
  });
  const gone = (): void => void call.destroy();
  reply.once('close', gone);
  try {
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      call.once('response', resolve);
      call.once('error', reject);
    });
    // The engine learns of the request now, not with the first byte of its body.
    if (!options.body) call.flushHeaders();
    if (options.body) call.end(options.body);
    // The engine may answer before it has read everything (a refused build context): that is not a failure.
    else client.pipe(call);
    let answer;
    try {
      answer = await answered;
    } catch (cause) {
      throw typeof engine === 'string' ? engineDown(cause) : connectionLost(cause);
    }
    call.on('error', () => undefined);
    await options.beforeReply?.(answer.statusCode ?? 502);
    if (options.rewrite && answer.statusCode !== undefined && answer.statusCode < 300)
      return await passRewritten(answer, reply, options.rewrite);
    reply.writeHead(answer.statusCode ?? 502, answer.statusMessage, withoutHopByHop(answer.rawHeaders));
    reply.flushHeaders();
    // A failure here means one side is gone; pipeline has destroyed the other.
    if (options.watch) await passWatched(answer, reply, options.watch);
    else await pipeline(answer, reply).catch(() => undefined);
  } finally {
    reply.off('close', gone);
    client.unpipe(call);
    if (!call.destroyed) call.destroy();
  }
}

async function passRewritten(
  answer: IncomingMessage,
  reply: ServerResponse,
  rewrite: (body: Buffer) => Buffer,
): Promise<void> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > rewriteBytesMax) throw new Error('the answer is too large');
      chunks.push(chunk);
    }
  } catch (cause) {
    throw connectionLost(cause);
  }
  const body = rewrite(Buffer.concat(chunks));
  const headers = withoutHopByHop(answer.rawHeaders).filter(
    (_, i, all) => all[i - (i % 2)]?.toLowerCase() !== 'content-length',
  );
  reply.writeHead(answer.statusCode!, answer.statusMessage, [
    ...headers,
    'Content-Length',
    String(body.length),
  ]);
  reply.end(body);
}

/** The same as a pipeline, but an answer that is lost ends with words instead of a cut. */
async function passWatched(
  answer: IncomingMessage,
  reply: ServerResponse,
  watch: OutputWatch,
): Promise<void> {
  answer.on('data', (chunk: Buffer) => watch.see(chunk));
  answer.pipe(reply);
  await finished(answer).catch(() => !reply.destroyed && reply.end(watch.lastWords()));
  if (!reply.destroyed) await finished(reply).catch(() => undefined);
}

/**
 * Hands an upgrade to the engine. Once the engine has switched protocols the two connections are one pipe; if it answers
 * anything else the client gets that answer and the connection closes, because what the client sends next would
 * otherwise reach the engine unseen. An engine that closes while it is still being sent to has said its last word all the
 * same: that reaches the client.
 */
export async function passUpgrade(
  way: EngineWay,
  client: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  { url = client.url, watch }: WatchOptions = {},
): Promise<void> {
  const engine: Duplex = typeof way === 'string' ? connect({ path: way, allowHalfOpen: true }) : way;
  let switched = false;
  const cut = (): void => {
    engine.destroy();
    socket.destroy();
  };
  socket.on('error', cut);
  socket.on('close', () => engine.destroy());
  try {
    if (typeof way === 'string') await connected(engine);
  } catch (cause) {
    if (!socket.destroyed)
      socket.end(refusalOfUpgrade(503, 'Service Unavailable', engineDown(cause).message));
    return;
  }
  engine.on('error', () => {
    if (!switched) return cut();
    engine.destroy();
    if (!socket.writableEnded) socket.end(watch?.lastWords() ?? Buffer.alloc(0));
  });
  engine.on('close', () => {
    if (socket.writableFinished || !switched) socket.destroy();
    else socket.end(() => socket.destroy());
  });
  const lines = [`${client.method} ${url} HTTP/1.1`];
  for (let i = 0; i + 1 < client.rawHeaders.length; i += 2)
    lines.push(`${client.rawHeaders[i]}: ${client.rawHeaders[i + 1]}`);
  engine.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  if (head.length > 0) socket.unshift(head);
  const asked = passBody(client, socket, engine);
  const answer = await readHead(engine);
  asked.end();
  if (!answer || socket.destroyed) return cut();
  const [block, rest] = answer;
  switched = /^HTTP\/1\.1 101 /.test(block);
  if (switched) {
    socket.write(block, 'latin1');
    socket.pipe(engine);
  } else {
    socket.resume();
    engine.end();
    socket.write(block.replace('\r\n', '\r\nConnection: close\r\n'), 'latin1');
  }
  if (rest.length > 0) {
    socket.write(rest);
    watch?.see(rest);
  }
  if (watch && switched) engine.on('data', (chunk: Buffer) => watch.see(chunk));
  engine.pipe(socket);
}

/** A refusal in Docker's form, written to a connection that wanted to change protocol. */
export function refusalOfUpgrade(status: number, reason: string, message: string): string {
  const body = `${JSON.stringify({ message })}\n`;
  return (
    `HTTP/1.1 ${status} ${reason}\r\nContent-Type: application/json\r\nConnection: close\r\n` +
    `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
  );
}

/**
 * Passes on the body of a request for an upgrade, which the engine wants before it answers, and not a byte more: were the upgrade
 * refused, the engine would take what comes behind it for a further request, which nobody has judged.
 */
function passBody(client: IncomingMessage, socket: Duplex, engine: Duplex): { end: () => void } {
  const body = new BodyMeter(client.headers);
  const resume = (): void => void (body.isOver || socket.resume());
  const end = (): void => {
    socket.off('data', onData);
    engine.off('drain', resume);
    socket.pause();
  };
  const onData = (chunk: Buffer): void => {
    const taken = body.take(chunk);
    const hasRoom = engine.write(chunk.subarray(0, taken));
    if (body.isOver) end();
    else if (!hasRoom) {
      socket.pause();
      engine.once('drain', resume);
    }
    if (taken < chunk.length) socket.unshift(chunk.subarray(taken));
  };
  if (!body.isOver) socket.on('data', onData);
  return { end };
}

function connected(engine: Duplex): Promise<void> {
  return new Promise((resolve, reject) => {
    engine.once('connect', resolve);
    engine.once('error', reject);
  });
}

/** The header block of the engine's answer with its last empty line, and what came behind it. */
async function readHead(engine: Duplex): Promise<readonly [string, Buffer] | undefined> {
  let seen: Buffer = Buffer.alloc(0);
  return new Promise((resolve) => {
    const done = (result: readonly [string, Buffer] | undefined): void => {
      engine.off('data', onData);
      engine.off('end', onEnd);
      engine.off('close', onEnd);
      engine.pause();
      resolve(result);
    };
    const onData = (chunk: Buffer): void => {
      seen = Buffer.concat([seen, chunk]);
      const end = seen.indexOf('\r\n\r\n');
      if (end >= 0) done([seen.toString('latin1', 0, end + 4), seen.subarray(end + 4)]);
      else if (seen.length > headLimitBytes) done(undefined);
    };
    const onEnd = (): void => done(undefined);
    engine.on('data', onData);
    engine.on('end', onEnd);
    engine.on('close', onEnd);
  });
}
