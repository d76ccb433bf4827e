/**
 * Finds and ends processes through /proc. A process is named by its id and its start time, so an id that was given
 * to somebody else meanwhile is never taken for ours.
 */
import { readFileSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';

export interface ProcessRef {
  readonly pid: number;
  /** Clock ticks since boot: field 22 of /proc/<pid>/stat, proc(5). */
  readonly startTime: string;
}

export interface RunningProcess extends ProcessRef {
  readonly args: readonly string[];
}

/** Processes whose arguments satisfy `wanted`, zombies excluded. */
export async function findProcesses(
  wanted: (args: readonly string[]) => boolean,
): Promise<readonly RunningProcess[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found: RunningProcess[] = [];
  for (const pid of pids) {
    const args = await readFile(`/proc/${pid}/cmdline`, 'utf8').then(
      (text) => text.split('\0').slice(0, -1),
      () => [],
    );
    if (!wanted(args)) continue;
    const startTime = startTimeOf(pid);
    if (startTime !== undefined) found.push({ pid, startTime, args });
  }
  return found;
}

export const isAlive = (process: ProcessRef): boolean => startTimeOf(process.pid) === process.startTime;

/** Sends a signal if the process is still the one meant. */
export function signalProcess(target: ProcessRef, signal: NodeJS.Signals): void {
  if (!isAlive(target)) return;
  try {
    process.kill(target.pid, signal);
  } catch (err) {
    // It ended between the look and the signal.
    if ((err as NodeJS.ErrnoException).code !== 'ESRCH') throw err;
  }
}

/**
 * Undefined for no process, and for a zombie: it runs no more. Read at once: it is the kernel's memory, and asked for twice a second
 * for as long as a manager runs, where handing each of four system calls to a thread costs ten times what they do.
 */
export function startTimeOf(pid: number): string | undefined {
  const stat = statOf(pid);
  // The command's name is in parentheses and may hold anything; what follows the last one is regular.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, startTime] = [fields[0], fields[22 - 3]];
  return state === undefined || state === '' || 'ZX'.includes(state) ? undefined : startTime;
}

function statOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    // ENOENT or ESRCH: it has ended, perhaps while it was read.
    return '';
  }
}
