/**
 * The engine's door: HTTP on a unix socket as Docker's plugin protocol has it (POST /<Driver>.<Method>, JSON both ways).
 * A refusal is a 200 with the text, which is how libnetwork tells it to the user, under both of its names: `Err` for
 * network drivers, `Error` for IPAM drivers. 404 means "no such method" to libnetwork and is kept for that. Bodies are bounded, slow senders are cut off, a failing call never ends the daemon
 * unless it is a bug.
 */
import { AssertionError } from 'node:assert';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { SkepError } from '../../model/errors.js';
import { asError, decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';

/** By the name in the URL. A call without a request, as some are, is given undefined. */
export type PluginMethods = Readonly<
  Record<string, (request: unknown, signal: AbortSignal) => Promise<object> | object>
>;

const contentType = 'application/vnd.docker.plugins.v1.2+json';
/** The engine's calls are a few kilobytes; labels are what can grow. */
const bodyBytesMax = 1 << 20;
const receiveMs = 10_000;

/** A server, not yet listening. Bugs (AssertionError) are given to `onBug`, which is expected to crash. */
export function createPluginServer(methods: PluginMethods, log: Log, onBug: (err: unknown) => void): Server {
  const all: PluginMethods = {
    'Plugin.Activate': () => ({ Implements: ['NetworkDriver', 'IpamDriver'] }),
    ...methods,
  };
  const server = createServer((request, response) => {
    handleCall(all, request, response, log).catch(onBug);
  });
  // The engine keeps its connections and calls on them at any time. If we closed one just then (Node does so after 5 s) it would ask
  // again without a request (model/driver-call.ts), and be refused.
  server.keepAliveTimeout = 0;
  server.requestTimeout = receiveMs;
  server.headersTimeout = receiveMs;
  return server;
}

async function handleCall(
  methods: PluginMethods,
  request: IncomingMessage,
  response: ServerResponse,
  log: Log,
): Promise<void> {
  const name = (request.url ?? '').replace(/^\//, '').replace(/\?.*$/, '');
  const method = Object.hasOwn(methods, name) ? methods[name] : undefined;
  if (!method) return answer(response, 404, refusal(`no such method: ${name}`));
  if (request.method !== 'POST') return answer(response, 405, refusal('use POST'));

  const gone = new AbortController();
  response.once('close', () => gone.abort());
  log.debug({ method: name }, 'the engine calls');
  try {
    const reply = await method(await readBody(request), gone.signal);
    log.debug({ method: name }, 'answered the engine');
    answer(response, 200, reply);
  } catch (err) {
    if (err instanceof AssertionError) throw err;
    if (gone.signal.aborted) return;
    decide(log, 'driver.refused', { method: name, err: asError(err) });
    answer(
      response,
      err instanceof SkepError ? 200 : 500,
      refusal(err instanceof Error ? err.message : String(err)),
    );
  }
}

const refusal = (text: string): object => ({ Err: text, Error: text });

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > bodyBytesMax)
      throw new SkepError('invalidArgument', `request is larger than ${bodyBytesMax} bytes`);
    chunks.push(chunk);
  }
  if (length === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown;
  } catch (cause) {
    throw new SkepError('invalidArgument', 'request is not JSON', { cause });
  }
}

function answer(response: ServerResponse, status: number, body: object): void {
  if (response.destroyed) return;
  // A refusal may come before the whole request was read; such a connection cannot be used again.
  const headers = response.req.complete ? {} : { connection: 'close' };
  response.writeHead(status, { 'content-type': contentType, ...headers }).end(`${JSON.stringify(body)}\n`);
}
