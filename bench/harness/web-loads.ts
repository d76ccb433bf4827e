/** What is measured of a way to the web server: new connections, requests on kept ones with their latency, and bulk. */
import { readFileSync } from 'node:fs';
import type { Kernel } from '../../src/lab/kernels.js';
import type { Bar } from './bars.js';
import type { Measurements, SeriesName } from './series.js';
import { site } from './site.js';
import { wrk } from './wrk.js';
import type { RunCommand } from './wrk.js';

/** The length of one load. User-mode Linux has one processor's worth at most, and needs longer for as much. */
const secondsBy: Readonly<Record<Kernel, number>> = { host: 2, uml: 5, qemu: 3 };

interface WebLoad {
  readonly measure: string;
  readonly unit: '1/s' | 'MB/s';
  readonly connections: number;
  readonly anew?: true;
  readonly path: string;
  /** What the kernel's time is told of. */
  readonly kernelTime: { readonly measure: string; readonly unit: string };
}
const connections: WebLoad = {
  ...{ measure: 'new connections', unit: '1/s', connections: 32, anew: true, path: '/' },
  kernelTime: { measure: 'kernel’s time, new connections', unit: 'µs/connection' },
};
const kept: WebLoad = {
  ...{ measure: 'requests on kept connections', unit: '1/s', connections: 32, path: '/' },
  kernelTime: { measure: 'kernel’s time, kept connections', unit: 'µs/request' },
};
const bulk: WebLoad = {
  ...{ measure: 'bulk', unit: 'MB/s', connections: 2, path: site.bulkPath },
  kernelTime: { measure: 'kernel’s time, bulk', unit: 'µs/MB' },
};

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
  for (const load of [connections, kept, bulk]) {
    const { measure, unit, path, kernelTime } = load;
    const before = kernelUs();
    const result = await wrk(run, url + path, { ...load, seconds: secondsBy[kernel] });
    const spentUs = kernelUs() - before;
    const value = unit === 'MB/s' ? result.bytesPerS / 1e6 : result.requestsPerS;
    found.add({ ...series, measure, unit }, value);
    // Elsewhere nodes have kernels of their own.
    if (kernel !== 'uml') found.add({ ...series, ...kernelTime }, spentUs / (value * secondsBy[kernel]));
    if (load !== kept) continue;
    found.add({ ...series, measure: 'latency p50', unit: 'ms' }, result.p50Ms);
    found.add({ ...series, measure: 'latency p99', unit: 'ms' }, result.p99Ms);
  }
}

/** Requests on kept connections, for as long as a load lasts. @returns how many there were */
export async function askKept(kernel: Kernel, { run, url }: Pick<WebWay, 'run' | 'url'>): Promise<number> {
  const seconds = secondsBy[kernel];
  return seconds * (await wrk(run, url + kept.path, { ...kept, seconds })).requestsPerS;
}

/** USER_HZ, asm-generic/param.h */
const tickUs = 10_000;

/** What all processors have spent in the kernel (system, irq and softirq), the ends' system calls included. */
function kernelUs(): number {
  const [, , , system = NaN, , , irq = NaN, softirq = NaN] = (
    readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? ''
  )
    .split(/\s+/)
    .map(Number);
  return (system + irq + softirq) * tickUs;
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
