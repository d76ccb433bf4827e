/**
 * `GET /metrics` over HTTP, and nothing else. Must stay true: whatever becomes of it, the daemon goes on. An address that is in use, or not
 * there yet, is said once and tried again; who reads slowly or opens many connections costs a bounded number of them.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { addressAndPort } from '../model/addresses.js';
import { backoffMs } from '../runtime/backoff.js';
import type { Clock } from '../runtime/clock.js';
import type { Log } from '../runtime/log.js';

/** Where metrics are served. */
export interface MetricsAddress {
  readonly host: string;
  readonly port: number;
}

export interface MetricsServerOptions {
  readonly address: MetricsAddress;
  /** Rejects with a bug only. */
  readonly text: () => Promise<string>;
  readonly contentType: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Called with the port whenever it listens. */
  readonly onListening?: (port: number) => void;
}

/** A scraper has one or two. */
const connectionsMax = 16;
/** To send a request, and to take what is ready of the answer. */
const idleMs = 10_000;
/** Prometheus keeps its connection from scrape to scrape; they are a minute apart by default. */
const keepAliveMs = 75_000;
const headerBytesMax = 8 * 1024;
const retryMsMax = 30_000;
const path = '/metrics';

/** What a daemon serves. */
export interface ServedMetrics {
  readonly contentType: string;
  text(): Promise<string>;
}

/** Serves a daemon's metrics until the signal aborts. @param address null: nowhere */
export async function serveMetrics(
  address: MetricsAddress | null,
  metrics: ServedMetrics,
  { clock, log }: Pick<MetricsServerOptions, 'clock' | 'log'>,
  signal: AbortSignal,
): Promise<void> {
  if (address === null) return;
  const { contentType } = metrics;
  await runMetricsServer({ address, text: () => metrics.text(), contentType, clock, log }, signal);
}

/** Serves until the signal aborts, and resolves then; never rejects for an address. */
export async function runMetricsServer(options: MetricsServerOptions, signal: AbortSignal): Promise<void> {
  const { address, clock, log } = options;
  const at = addressAndPort(address.host, address.port);
  let told = '';
  for (let failures = 0; !signal.aborted;) {
    const server = newServer(options);
    try {
      await listen(server, address);
    } catch (err) {
      failures += 1;
      const code = (err as NodeJS.ErrnoException).code ?? String(err);
      if (code !== told) log.warn({ at, code }, 'metrics cannot be served there yet, will retry');
      told = code;
      await clock.sleep(backoffMs(failures, retryMsMax), signal).catch(() => undefined);
      continue;
    }
    [failures, told] = [0, ''];
    log.info({ at }, 'metrics are served');
    options.onListening?.((server.address() as AddressInfo).port);
    await closed(server, signal);
    // A socket that fails as soon as it is there must not be made without end.
    if (!signal.aborted) await clock.sleep(backoffMs(1, retryMsMax), signal).catch(() => undefined);
  }
}

/** Resolves when the signal has aborted, or the socket is of no use any more, and nothing of it is open. */
async function closed(server: Server, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    if (signal.aborted) return resolve();
    const end = (): void => {
      signal.removeEventListener('abort', end);
      resolve();
    };
    signal.addEventListener('abort', end, { once: true });
    server.once('error', end);
  });
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

const listen = (server: Server, { host, port }: MetricsAddress): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve();
    });
  });

function newServer({ text, contentType, log }: MetricsServerOptions): Server {
  const server = createServer(
    {
      maxHeaderSize: headerBytesMax,
      headersTimeout: idleMs,
      requestTimeout: idleMs,
      keepAliveTimeout: keepAliveMs,
      connectionsCheckingInterval: 5_000,
    },
    (request, reply) => {
      answer(request, reply, text, contentType).catch((err: unknown) => {
        log.error({ err }, 'a scrape failed');
        reply.destroy();
      });
    },
  );
  server.maxConnections = connectionsMax;
  server.setTimeout(idleMs);
  return server;
}

async function answer(
  request: IncomingMessage,
  reply: ServerResponse,
  text: () => Promise<string>,
  contentType: string,
): Promise<void> {
  // Nobody wants a body; one that is being sent must not stand before the next request.
  request.resume();
  const [target] = (request.url ?? '').split('?');
  if (target !== path) return end(reply, 404, `only ${path} is served here\n`);
  if (request.method !== 'GET') {
    reply.setHeader('Allow', 'GET');
    return end(reply, 405, `only GET ${path} is served here\n`);
  }
  end(reply, 200, await text(), contentType);
}

function end(
  reply: ServerResponse,
  status: number,
  body: string,
  contentType = 'text/plain; charset=utf-8',
): void {
  if (reply.destroyed) return;
  const bytes = Buffer.from(body);
  reply.writeHead(status, { 'Content-Type': contentType, 'Content-Length': bytes.length });
  reply.end(bytes);
}
