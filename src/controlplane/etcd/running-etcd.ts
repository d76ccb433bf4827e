/** Which etcd runs on a data directory, whoever has started it, and its end. */
import { basename } from 'node:path';
import { OutsideError } from '../../model/errors.js';
import type { Clock } from '../../runtime/clock.js';
import { systemClock } from '../../runtime/clock.js';
import { findProcesses, isAlive, signalProcess } from './process-table.js';
import type { ProcessRef, RunningProcess } from './process-table.js';

/** On the PATH. */
export const etcdProgram = 'etcd';
const pollMs = 50;
const termMs = 5_000;

/** Those of one data directory. */
export function etcdsOf(dataDir: string, program: string): Promise<readonly RunningProcess[]> {
  const mark = `--data-dir=${dataDir}`;
  return findProcesses(
    ([executable, ...args]) => basename(executable ?? '') === basename(program) && args.includes(mark),
  );
}

/** Ends the etcd of a data directory, if one runs, whoever has started it. Nothing may watch over it any more. */
export async function endEtcd(
  dataDir: string,
  { clock = systemClock, program = etcdProgram }: { readonly clock?: Clock; readonly program?: string } = {},
): Promise<void> {
  for (const process of await etcdsOf(dataDir, program)) await endProcess(process, clock);
}

export async function endProcess(target: ProcessRef, clock: Clock): Promise<void> {
  signalProcess(target, 'SIGTERM');
  if (await isGone(target, termMs, clock)) return;
  signalProcess(target, 'SIGKILL');
  if (!(await isGone(target, termMs, clock)))
    throw new OutsideError(`etcd (process ${target.pid}) cannot be ended`, true);
}

async function isGone(target: ProcessRef, withinMs: number, clock: Clock): Promise<boolean> {
  const deadlineMs = performance.now() + withinMs;
  while (isAlive(target)) {
    if (performance.now() > deadlineMs) return false;
    await clock.sleep(pollMs);
  }
  return true;
}
