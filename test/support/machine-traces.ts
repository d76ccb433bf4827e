/** What a lab could leave on this machine: looked at before it starts and after it has ended, or while one of its nodes runs. */
import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { hostCommand, tryHostCommand } from '../../src/lab/host-command.js';
import { isAlive, processIds } from '../../src/lab/process-table.js';

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

const readOf = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // ended meanwhile
  }
};

/**
 * What there is of labs whose name begins with `name`, as lines: processes, mounts, loop devices, cgroups, files; and links, namespaces
 * of overlays and files below /etc, which no lab may add to at all. Other labs may come and go meanwhile.
 */
export async function observeTraces(name: string): Promise<string[]> {
  const own = `skep-lab/${name}`;
  // A node on this machine's kernel shows in the cgroups of its processes, every other one in command lines.
  const processes = processIds()
    .filter(isAlive)
    .filter(
      (pid) => readOf(`/proc/${pid}/cgroup`).includes(own) || readOf(`/proc/${pid}/cmdline`).includes(name),
    )
    .map((pid) => readOf(`/proc/${pid}/cmdline`).replaceAll('\0', ' '));
  const links = lines(await hostCommand(['ip', '-br', 'link'])).map((line) => line.split(' ')[0] ?? '');
  const etc = lines(await hostCommand(['find', '/etc', '-type', 'f', '-printf', '%p %T@ %s\n']));
  // Groups of others may go while find looks.
  const groups = lines((await tryHostCommand(['find', '/sys/fs/cgroup', '-path', `*/${own}*`])).stdout);
  const loops = lines(await hostCommand(['losetup', '--noheadings', '--output', 'NAME,BACK-FILE']));
  const entries = (dir: string): string[] =>
    existsSync(dir) ? readdirSync(dir).map((entry) => `${dir}/${entry}`) : [];
  const files = ['/run/skep-lab', '/var/lib/skep-lab'].flatMap(entries);
  const overlays = entries('/run/netns').filter((path) => path.startsWith('/run/netns/skep-'));
  const mounts = lines(readFileSync('/proc/self/mounts', 'utf8'));
  const ofLab = [...mounts, ...groups, ...loops, ...files].filter((line) => line.includes(own));
  return [...processes, ...ofLab, ...links, ...etc, ...overlays].sort();
}

/**
 * All processes but those of labs whose names begin otherwise: the kernel gives the number of a namespace that is gone to the next one
 * that is made, which may be theirs.
 */
export const processesButOfOtherLabs = (name: string): number[] =>
  processIds().filter((pid) => {
    const groups = readOf(`/proc/${pid}/cgroup`);
    return !groups.includes('skep-lab/') || groups.includes(`skep-lab/${name}`);
  });

/** All namespaces that these processes are in, as `KIND:[INODE]`; those that have ended are in none. */
export function observeNamespaces(pids: readonly number[]): Set<string> {
  const found = new Set<string>();
  for (const pid of pids.filter(isAlive))
    for (const kind of ['net', 'mnt', 'pid', 'uts', 'ipc', 'cgroup'])
      try {
        found.add(readlinkSync(`/proc/${pid}/ns/${kind}`));
      } catch {
        // Ended meanwhile.
      }
  return found;
}
