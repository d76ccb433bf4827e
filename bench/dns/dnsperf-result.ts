/** What dnsperf says of a run. */
import assert from 'node:assert';

export interface DnsperfResult {
  readonly queriesPerS: number;
  /** NaN without `-v`. */
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const toMs = 1_000;

/**
 * What dnsperf printed, as numbers. @param questions for the error
 * @throws AssertionError when a question was not answered, or not well: then the rate says nothing
 */
export function resultOf(questions: string, text: string): DnsperfResult {
  const [, lost] = /Queries lost:\s+(\d+)/.exec(text) ?? [];
  const codes = /Response codes:\s+(.*)/.exec(text)?.[1] ?? '';
  assert(lost === '0' && /^NOERROR \d+ \(100\.00%\)$/.test(codes), `${questions}: ${text.slice(-2_000)}`);
  const tookS = [...text.matchAll(/^> NOERROR .* ([\d.]+)$/gm)].map(([, took]) => Number(took));
  tookS.sort((a, b) => a - b);
  const at = (share: number): number => (tookS[Math.floor(tookS.length * share)] ?? NaN) * toMs;
  return {
    queriesPerS: Number(/Queries per second:\s+([\d.]+)/.exec(text)?.[1]),
    p50Ms: at(0.5),
    p99Ms: at(0.99),
  };
}
