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
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { engineDown } from './engine-client.js';

/** Headers that belong to one connection and not to the message (RFC 9110, 7.6.1). */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
]);

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

export interface PassOptions {
  /** Replaces the request target. */
  readonly url?: string;
  /** A body that was read already. */
  readonly body?: Buffer;
  /** Called with the engine's status before the client hears of it. Must not reject. */
  readonly beforeReply?: (status: number) => Promise<void>;
}

/**
 * Hands one request to the engine and its answer to the client; resolves when both are done. Throws a retryable
 * OutsideError while nothing was answered yet; after that a failure of either side cuts the other.
 */
export async function passThrough(
  socketPath: string,
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
    socketPath,
    method: client.method,
    path: options.url ?? client.url,
    headers,
    agent: false,
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
      throw engineDown(cause);
    }
    call.on('error', () => undefined);
    await options.beforeReply?.(answer.statusCode ?? 502);
    reply.writeHead(answer.statusCode ?? 502, answer.statusMessage, withoutHopByHop(answer.rawHeaders));
    reply.flushHeaders();
    // A failure here means one side is gone; pipeline has destroyed the other.
    await pipeline(answer, reply).catch(() => undefined);
  } finally {
    reply.off('close', gone);
    client.unpipe(call);
    if (!call.destroyed) call.destroy();
  }
}

/**
 * Hands an upgrade to the engine. Once the engine has switched protocols the two sockets are one pipe; if it answers
 * anything else the client gets that answer and the connection closes, because what the client sends next would
 * otherwise reach the engine unseen.
 */
export async function passUpgrade(
  socketPath: string,
  client: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  const engine = connect({ path: socketPath, allowHalfOpen: true });
  const cut = (): void => {
    engine.destroy();
    socket.destroy();
  };
  socket.on('error', cut);
  socket.on('close', () => engine.destroy());
  try {
    await connected(engine);
  } catch (cause) {
    const message = JSON.stringify({ message: engineDown(cause).message });
    if (!socket.destroyed)
      socket.end(
        `HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n` +
          `Content-Length: ${Buffer.byteLength(message) + 1}\r\n\r\n${message}\n`,
      );
    return;
  }
  engine.on('error', cut);
  engine.on('close', () => socket.destroy());
  const lines = [`${client.method} ${client.url} HTTP/1.1`];
  for (let i = 0; i + 1 < client.rawHeaders.length; i += 2)
    lines.push(`${client.rawHeaders[i]}: ${client.rawHeaders[i + 1]}`);
  engine.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  if (head.length > 0) engine.write(head);
  // The body of the request, if any, is still on its way: it must reach the engine before it can answer.
  socket.pipe(engine);

  const answer = await readHead(engine);
  if (!answer || socket.destroyed) return cut();
  const [block, rest] = answer;
  const switched = /^HTTP\/1\.1 101 /.test(block);
  if (switched) socket.write(block, 'latin1');
  else {
    socket.unpipe(engine);
    socket.resume();
    engine.end();
    socket.write(block.replace('\r\n', '\r\nConnection: close\r\n'), 'latin1');
  }
  if (rest.length > 0) socket.write(rest);
  engine.pipe(socket);
}

function connected(engine: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    engine.once('connect', resolve);
    engine.once('error', reject);
  });
}

/** The header block of the engine's answer with its last empty line, and what came behind it. */
async function readHead(engine: Socket): Promise<readonly [string, Buffer] | undefined> {
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
