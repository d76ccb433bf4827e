/** Scrapes as Prometheus does, over HTTP and at even distances, and notes what each took. */
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Scrape {
  readonly ms: number;
  /** Of this process: daemon's side, and ours, which in a cluster is Prometheus'. */
  readonly processorMs: number;
  /** The answer. */
  readonly octets: Buffer;
}

/**
 * Scrapes for as long as `work` lasts, first after half a period. @param periodMs from scrape to scrape
 * @throws Error for an answer that is none
 */
export async function scrapedDuring<T>(
  url: string,
  periodMs: number,
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly scrapes: readonly Scrape[] }> {
  const over = new AbortController();
  const scrapes: Scrape[] = [];
  const pause = (ms: number): Promise<void> =>
    sleep(Math.max(0, ms), undefined, { signal: over.signal }).catch(() => undefined);
  const scraping = (async () => {
    for (await pause(periodMs / 2); !over.signal.aborted;) {
      const scrape = await scrapeOf(url);
      scrapes.push(scrape);
      await pause(periodMs - scrape.ms);
    }
  })();
  try {
    return { result: await work(), scrapes };
  } finally {
    over.abort();
    await scraping;
  }
}

async function scrapeOf(url: string): Promise<Scrape> {
  const begunMs = performance.now();
  const processor = process.cpuUsage();
  const { status, octets } = await get(url);
  const { user, system } = process.cpuUsage(processor);
  const ms = performance.now() - begunMs;
  if (status !== 200) throw new Error(`${url}: ${status} ${octets.toString()}`);
  return { ms, processorMs: (user + system) / 1000, octets };
}

/** By the plainest means there are: what is measured is who answers. */
const get = (url: string): Promise<{ readonly status: number | undefined; readonly octets: Buffer }> =>
  new Promise((resolve, reject) => {
    const request = http.get(url, (reply) => {
      const chunks: Buffer[] = [];
      reply.on('data', (chunk: Buffer) => chunks.push(chunk));
      reply.on('error', reject);
      reply.on('end', () => resolve({ status: reply.statusCode, octets: Buffer.concat(chunks) }));
    });
    request.on('error', reject);
  });

/** Lines with a value. */
export const linesOf = ({ octets }: Scrape): number =>
  octets
    .toString()
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#')).length;
