/** Scrapes as Prometheus does, but every second, and notes what each took. */
import { setTimeout as sleep } from 'node:timers/promises';

export interface Scrape {
  readonly ms: number;
  /** Of this process: daemon's side, and ours, which in a cluster is Prometheus'. */
  readonly processorMs: number;
  readonly lines: number;
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
  const reply = await fetch(url);
  const text = await reply.text();
  if (reply.status !== 200) throw new Error(`${url}: ${reply.status} ${text}`);
  const { user, system } = process.cpuUsage(processor);
  return {
    ms: performance.now() - begunMs,
    processorMs: (user + system) / 1000,
    lines: text.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length,
  };
}
