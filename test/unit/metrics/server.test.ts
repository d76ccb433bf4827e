/** The server of metrics: what it answers, and that no address keeps it from going on. */
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { pino } from 'pino';
import { afterEach, describe, expect, test } from 'vitest';
import type { MetricsServerOptions } from '../../../src/metrics/server.js';
import { runMetricsServer, serveMetrics } from '../../../src/metrics/server.js';
import type { Clock } from '../../../src/runtime/clock.js';
import { systemClock } from '../../../src/runtime/clock.js';

const log = pino({ level: 'silent' });
let stop = new AbortController();
const running: Promise<void>[] = [];
afterEach(async () => {
  stop.abort();
  await Promise.all(running.splice(0));
  stop = new AbortController();
});

/** @returns the port */
function serve(over: Partial<MetricsServerOptions> = {}): Promise<number> {
  return new Promise((resolve) => {
    running.push(
      runMetricsServer(
        {
          address: { host: '127.0.0.1', port: 0 },
          text: async () => 'skep_up 1\n',
          contentType: 'text/plain; version=0.0.4; charset=utf-8',
          clock: systemClock,
          log,
          onListening: resolve,
          ...over,
        },
        stop.signal,
      ),
    );
  });
}

describe('the server of metrics', () => {
  test.each<[method: string, path: string, status: number, body: string]>([
    ['GET', '/metrics', 200, 'skep_up 1\n'],
    ['GET', '/metrics?name=x', 200, 'skep_up 1\n'],
    ['GET', '/', 404, 'only /metrics is served here\n'],
    ['GET', '/metrics/', 404, 'only /metrics is served here\n'],
    ['POST', '/metrics', 405, 'only GET /metrics is served here\n'],
    ['HEAD', '/metrics', 405, ''],
  ])('answers %s %s with %i', async (method, path, status, body) => {
    const port = await serve();
    const reply = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      ...(method === 'POST' && { body: 'x'.repeat(100_000) }),
    });
    expect([reply.status, await reply.text()]).toEqual([status, body]);
    if (status === 200)
      expect(reply.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  });

  test('a text that cannot be had ends that connection alone', async () => {
    let fails = true;
    const port = await serve({
      text: async () => {
        if (fails) throw new Error('a bug');
        return 'skep_up 1\n';
      },
    });
    const url = `http://127.0.0.1:${port}/metrics`;
    await expect(fetch(url)).rejects.toThrow();
    fails = false;
    expect((await fetch(url)).status).toBe(200);
  });

  test('an address in use is said once, tried again ever more rarely, and served when it is free', async () => {
    const holder = await listening();
    const { port } = holder.address() as AddressInfo;
    const waits: number[] = [];
    const warnings: unknown[] = [];
    const clock: Clock = {
      ...systemClock,
      sleep: async (delayMs) => {
        waits.push(delayMs);
        if (waits.length === 4) await new Promise((resolve) => holder.close(resolve));
      },
    };
    const said = Object.assign(Object.create(log) as typeof log, {
      warn: (about: unknown) => warnings.push(about),
    });
    const served = await serve({ address: { host: '127.0.0.1', port }, clock, log: said });
    expect(served).toBe(port);
    expect(waits).toEqual([100, 200, 400, 800]);
    expect(warnings).toEqual([{ at: `127.0.0.1:${port}`, code: 'EADDRINUSE' }]);
    expect((await fetch(`http://127.0.0.1:${port}/metrics`)).status).toBe(200);
  });

  test('ends with its daemon, connections that are kept included', async () => {
    const port = await serve();
    const url = `http://127.0.0.1:${port}/metrics`;
    await (await fetch(url)).text();
    stop.abort();
    await Promise.all(running);
    await expect(fetch(url)).rejects.toThrow();
  });

  test('serves nothing where there is no address, and asks nobody', async () => {
    const text = (): Promise<string> => Promise.reject(new Error('nobody asks'));
    await serveMetrics(null, { contentType: '', text }, { clock: systemClock, log }, stop.signal);
  });
});

const listening = (): Promise<Server> =>
  new Promise((resolve) => {
    const server = createServer();
    server.listen({ host: '127.0.0.1', port: 0 }, () => resolve(server));
  });
