/** Scrapes as Prometheus does, but every second, and notes what each took. */
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Scrape {
  readonly ms: number;
  /** Of this process: daemon's side, and ours, which in a cluster is Prometheus'. */
  readonly processorMs: number;
  /** The answer. */
  readonly octets: Buffer;
}

const periodMs = 1_000;

/** Scrapes at once and then every second for as long as `work` lasts. @throws Error for an answer that is none */
export async function scrapedDuring<T>(
  url: string,
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly scrapes: readonly Scrape[] }> {
  const over = new AbortController();
  const scrapes: Scrape[] = [];
  const scraping = (async () => {
    while (!over.signal.aborted) {
      const scrape = await scrapeOf(url);
      scrapes.push(scrape);
      await sleep(Math.max(0, periodMs - scrape.ms), undefined, { signal: over.signal }).catch(
        () => undefined,
      );
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
