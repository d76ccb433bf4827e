/** Runs of dnsperf, which asks a container's resolver. */
import type { RunCommand } from '../harness/wrk.js';
import type { DnsperfResult } from './dnsperf-result.js';
import { resultOf } from './dnsperf-result.js';

/** What every container of an engine asks. */
const resolver = '127.0.0.11';
const seconds = 3;
/** Questions under way, each from a socket of its own: enough to keep a server busy, fewer than any of them refuses. */
const clients = 32;
/** Rate of questions whose time is taken: one that all contenders keep up with. */
const calmPerS = 1_000;
const patienceMs = 60_000;
const loads = { full: '', calm: `-v -Q ${calmPerS}` } as const;

/**
 * One run. @param load `full`: as many questions as are answered; `calm`: at a rate that nobody minds, where each one's time is taken
 * @param questions shell words that print them, `NAME TYPE` a line
 */
export async function dnsperf(
  run: RunCommand,
  questions: string,
  load: keyof typeof loads,
): Promise<DnsperfResult> {
  const options = `-s ${resolver} -l ${seconds} -c ${clients} -q ${clients} ${loads[load]}`;
  // A file, for it is read more than once.
  const script = `file=$(mktemp) && ${questions} >"$file" && nice -n -10 dnsperf -d "$file" ${options}; rm "$file"`;
  return resultOf(questions, await run(['sh', '-c', script], seconds * 1_000 + patienceMs));
}
