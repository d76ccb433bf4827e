/** What is measured of a way to the web server: new connections, requests on kept ones with their latency, and bulk. */
import type { Kernel } from '../../src/lab/kernels.js';
import type { Bar } from './bars.js';
import type { Measurements, SeriesName } from './series.js';
import { site } from './site.js';
import { wrk } from './wrk.js';
import type { RunCommand } from './wrk.js';

/** The length of one load. Guests have one processor's worth at most, and need longer for as much. */
const secondsBy: Readonly<Record<Kernel, number>> = { host: 2, uml: 5, qemu: 5 };
const connections = { measure: 'new connections', unit: '1/s', connections: 32, anew: true, path: '/' };
const kept = { measure: 'requests on kept connections', unit: '1/s', connections: 32, path: '/' };
const bulk = { measure: 'bulk', unit: 'MB/s', connections: 2, path: site.bulkPath };

/** A way to the server, and whose it is. */
export type WebWay = Pick<SeriesName, 'case' | 'contender'> & {
  /** Where the client is. */
  readonly run: RunCommand;
  /** Without a path. */
  readonly url: string;
};

/** Measures all of it once, the client being the node's or outside of all. */
export async function measureWeb(
  found: Measurements,
  kernel: Kernel,
  { run, url, ...series }: WebWay,
): Promise<void> {
  const seconds = secondsBy[kernel];
  for (const { measure, unit, path, ...load } of [connections, kept, bulk]) {
    const result = await wrk(run, url + path, { ...load, seconds });
    const value = unit === 'MB/s' ? result.bytesPerS / 1e6 : result.requestsPerS;
    found.add({ ...series, measure, unit }, value);
    if (measure !== kept.measure) continue;
    found.add({ ...series, measure: 'latency p50', unit: 'ms' }, result.p50Ms);
    found.add({ ...series, measure: 'latency p99', unit: 'ms' }, result.p99Ms);
  }
}

/** The rates that bars are set for. */
export const rates = { connections: connections.measure, kept: kept.measure, bulk: bulk.measure } as const;

/**
 * What each rate of one way is to be of another one's, at least.
 * @param atLeast by rate; one that is not named has no bar
 * @param ideal without which the bars are out of reach, see {@link Bar.ideal}
 */
export const webBars = (
  of: Omit<SeriesName, 'measure'>,
  against: Omit<SeriesName, 'measure'>,
  atLeast: Partial<Record<keyof typeof rates, number>>,
  ideal?: Omit<SeriesName, 'measure'>,
): readonly Bar[] =>
  (Object.entries(atLeast) as [keyof typeof rates, number][]).map(([rate, share]) => ({
    of: { ...of, measure: rates[rate] },
    against: { ...against, measure: rates[rate] },
    atLeast: share,
    ...(ideal && { ideal: { ...ideal, measure: rates[rate] } }),
  }));
