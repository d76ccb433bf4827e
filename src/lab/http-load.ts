/**
 * The load of a lab's client: a fixed number of HTTP requests at a fixed rate, every one on a connection of its own, and an exact
 * account of what became of each. Started at its time whether or not earlier ones have been answered, so a stall shows as late
 * or failed requests and not as fewer requests.
 *
 * `node http-load.js COUNT PER_SECOND URL…`: request i goes to URL i mod n. Prints one {@link LoadReport} as JSON.
 */
import { get } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

/** What became of the requests. */
export interface LoadReport {
  readonly requests: number;
  /** When the first one was sent, in ms since the epoch. */
  readonly startedAtMs: number;
  /** Times each answer was given, by its text. */
  readonly answers: Readonly<Record<string, number>>;
  /** Every request that got no 200 in time; `atMs` counts from the start of the load. */
  readonly failures: ReadonlyArray<{ readonly url: string; readonly atMs: number; readonly reason: string }>;
  /** The slowest answer. */
  readonly latencyMsMax: number;
}

const requestDeadlineMs = 5_000;

const call = (url: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const request = get(url, { agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('error', reject);
      response.once('end', () => {
        if (response.statusCode === 200) resolve(Buffer.concat(chunks).toString().trim());
        else reject(new Error(`status ${response.statusCode}`));
      });
    });
    // Over the whole exchange, not since the last octet.
    const timer = setTimeout(
      () => request.destroy(new Error(`no answer in ${requestDeadlineMs} ms`)),
      requestDeadlineMs,
    );
    request.once('error', reject);
    request.once('close', () => clearTimeout(timer));
  });

async function load(count: number, perSecond: number, urls: readonly string[]): Promise<LoadReport> {
  const answers: Record<string, number> = {};
  const failures: Array<LoadReport['failures'][number]> = [];
  let latencyMsMax = 0;
  const startedAtMs = Date.now();
  const startMs = performance.now();
  const one = async (url: string): Promise<void> => {
    const sentMs = performance.now();
    try {
      const answer = await call(url);
      answers[answer] = (answers[answer] ?? 0) + 1;
      latencyMsMax = Math.max(latencyMsMax, performance.now() - sentMs);
    } catch (err) {
      failures.push({ url, atMs: Math.round(sentMs - startMs), reason: (err as Error).message });
    }
  };
  const pending: Array<Promise<void>> = [];
  for (let index = 0; index < count; index++) {
    const waitMs = startMs + (index * 1000) / perSecond - performance.now();
    if (waitMs > 0) await delay(waitMs);
    pending.push(one(urls[index % urls.length] ?? ''));
  }
  await Promise.all(pending);
  return { requests: count, startedAtMs, answers, failures, latencyMsMax: Math.round(latencyMsMax) };
}

const [, , count = '', perSecond = '', ...urls] = process.argv;
process.stdout.write(`${JSON.stringify(await load(Number(count), Number(perSecond), urls))}\n`);
