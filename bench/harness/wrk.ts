/** One run of wrk, the load generator, and what it says. */
import { resultOf } from './wrk-result.js';
import type { WrkResult } from './wrk-result.js';

export interface WrkLoad {
  readonly connections: number;
  readonly seconds: number;
  /** Every request on a connection of its own. */
  readonly anew?: boolean;
}

/** What else the machine does shall weigh little. */
const priority = ['nice', '-n', '-10'];
const patienceMs = 60_000;

/** Runs a command where a client is. @returns what it printed; a failure is an error */
export type RunCommand = (argv: readonly string[], deadlineMs: number) => Promise<string>;

/** @throws AssertionError when a request failed: then the path broke, and its rate says nothing */
export async function wrk(
  run: RunCommand,
  url: string,
  { connections, seconds, anew = false }: WrkLoad,
): Promise<WrkResult> {
  const header = anew ? ['-H', 'Connection: close'] : [];
  const load = ['-t1', `-c${connections}`, `-d${seconds}s`, '--latency', ...header];
  const printed = await run([...priority, 'wrk', ...load, url], seconds * 1000 + patienceMs);
  return resultOf(url, printed);
}
