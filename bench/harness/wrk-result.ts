/** What wrk, the load generator, says of a run. */
import assert from 'node:assert';

export interface WrkResult {
  readonly requestsPerS: number;
  readonly bytesPerS: number;
  /** NaN without `--latency`. */
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const units: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };
const toMs: Readonly<Record<string, number>> = { us: 1e-3, ms: 1, s: 1e3 };
/**
 * What wrk printed, as numbers. @param url for the error
 * @throws AssertionError when a request failed: then the path broke, and its rate says nothing
 */
export function resultOf(url: string, text: string): WrkResult {
  const errors = /connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text)?.slice(1) ?? [];
  const failed = errors.reduce((sum, count) => sum + Number(count), 0);
  assert(failed === 0 && !text.includes('Non-2xx'), `wrk ${url}: ${text}`);
  const [, transfer, unit = ''] = /Transfer\/sec:\s+([\d.]+)([KMG]?)B/.exec(text) ?? [];
  return {
    requestsPerS: Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]),
    bytesPerS: Number(transfer) * (units[unit] ?? NaN),
    p50Ms: percentile(text, '50'),
    p99Ms: percentile(text, '99'),
  };
}

function percentile(text: string, percent: string): number {
  const [, value, unit = ''] = new RegExp(`^\\s+${percent}%\\s+([\\d.]+)(us|ms|s)$`, 'm').exec(text) ?? [];
  return Number(value) * (toMs[unit] ?? NaN);
}
