/** One run of wrk, the load generator, and what it says. */
import assert from 'node:assert';
import { tryHostCommand } from '../../src/lab/host-command.js';
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

/**
 * @param within how a command is run where the client is
 * @throws AssertionError when a request failed: then the path broke, and its rate says nothing
 */
export async function wrk(
  within: (argv: readonly string[]) => string[],
  url: string,
  { connections, seconds, anew = false }: WrkLoad,
): Promise<WrkResult> {
  const header = anew ? ['-H', 'Connection: close'] : [];
  const load = ['-t1', `-c${connections}`, `-d${seconds}s`, '--latency', ...header];
  const argv = within([...priority, 'wrk', ...load, url]);
  const { exitCode, stdout, stderr } = await tryHostCommand(argv, {
    deadlineMs: seconds * 1000 + patienceMs,
  });
  assert(exitCode === 0, `wrk ${url}: ${stderr}`);
  return resultOf(url, stdout);
}
