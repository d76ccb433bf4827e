/** This machine's processes, read from /proc. A process that ends while it is looked at is simply not there. */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';

/** Every process id. */
export const processIds = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);

/** The process's network namespace as `net:[INODE]`, empty if it has ended. */
export const networkNamespace = (pid: number): string => {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return '';
  }
};

/** Fields 3, 6 and 22 of /proc/PID/stat (proc(5)); the second field may hold spaces and parentheses. */
export function processStat(pid: number): { state: string; session: number; startTime: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? '', session: Number(fields[3]), startTime: fields[19] ?? '' };
  } catch {
    return undefined;
  }
}

/** Whether the process runs: one that has ended and waits for its parent (a zombie) does not. */
export const isAlive = (pid: number): boolean => (processStat(pid)?.state ?? 'Z') !== 'Z';
