/** Runs of dnsperf, which asks a container's resolver, and what they say. */
import assert from 'node:assert';
import type { RunCommand } from '../harness/wrk.js';

/** What every container of an engine asks. */
const resolver = '127.0.0.11';
const seconds = 3;
/** Questions under way: enough to keep a server busy, fewer than any of them refuses. */
const underWay = 32;
/** Rate of questions whose time is taken: one that all contenders keep up with. */
const calmPerS = 1_000;
const patienceMs = 60_000;
const toMs = 1_000;

/** Queries that were answered a second, with as many under way as keep the server busy. */
export async function queriesPerS(run: RunCommand, questions: string): Promise<number> {
  const text = await dnsperf(run, questions, '');
  return Number(/Queries per second:\s+([\d.]+)/.exec(text)?.[1]);
}

/** How long an answer takes while questions come at a rate that nobody minds. */
export async function latency(
  run: RunCommand,
  questions: string,
): Promise<{ readonly p50Ms: number; readonly p99Ms: number }> {
  const text = await dnsperf(run, questions, `-v -Q ${calmPerS}`);
  const tookS = [...text.matchAll(/^> NOERROR .* ([\d.]+)$/gm)].map(([, took]) => Number(took));
  tookS.sort((a, b) => a - b);
  const at = (share: number): number => (tookS[Math.floor(tookS.length * share)] ?? NaN) * toMs;
  return { p50Ms: at(0.5), p99Ms: at(0.99) };
}

/** @throws AssertionError when a question was not answered, or not well */
async function dnsperf(run: RunCommand, questions: string, options: string): Promise<string> {
  const command = `nice -n -10 dnsperf -s ${resolver} -d "$file" -l ${seconds} -q ${underWay} ${options}`;
  // A file, for it is read more than once.
  const script = `file=$(mktemp) && ${questions} >"$file" && ${command}; rm "$file"`;
  const text = await run(['sh', '-c', script], seconds * 1_000 + patienceMs);
  const [, lost] = /Queries lost:\s+(\d+)/.exec(text) ?? [];
  const codes = /Response codes:\s+(.*)/.exec(text)?.[1] ?? '';
  assert(lost === '0' && /^NOERROR \d+ \(100\.00%\)$/.test(codes), `${questions}: ${text.slice(-2_000)}`);
  return text;
}
