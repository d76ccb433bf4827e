/** What a lab could leave on this machine: looked at before it starts and after it has ended, or while one of its nodes runs. */
import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { hostCommand } from '../../src/lab/host-command.js';
import { isAlive, processIds } from '../../src/lab/process-table.js';

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

/**
 * Processes whose command line holds `name` or that only labs have, mounts, links, loop devices, cgroups, and files, as lines. What
 * has nothing to do with a lab may change meanwhile and is left out.
 */
export async function observeTraces(name: string): Promise<string[]> {
  const processes = processIds()
    .filter(isAlive)
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        return ''; // ended meanwhile
      }
    })
    .filter(
      (command) =>
        command.includes(name) || /(run|lib)\/skep-lab\/|\/run\/lab\/\w+\.|lab-node-/.test(command),
    );
  const links = lines(await hostCommand(['ip', '-br', 'link'])).map((line) => line.split(' ')[0] ?? '');
  const etc = lines(await hostCommand(['find', '/etc', '-type', 'f', '-printf', '%p %T@ %s\n']));
  const groups = lines(
    await hostCommand(['find', '/sys/fs/cgroup', '-type', 'd', '-path', '*/skep-lab*']).catch(() => ''),
  );
  const loops = lines(await hostCommand(['losetup', '--noheadings', '--output', 'NAME,BACK-FILE']));
  const files = ['/run/skep-lab', '/var/lib/skep-lab', '/run/netns']
    .flatMap((dir) => (existsSync(dir) ? readdirSync(dir).map((entry) => `${dir}/${entry}`) : []))
    .filter((path) => !path.startsWith('/run/netns/') || path.startsWith('/run/netns/skep-'));
  const mounts = lines(readFileSync('/proc/self/mounts', 'utf8')).filter((line) =>
    /skep-lab|^overlay|^\/dev\/loop|\/run\/netns\/skep-|\/docker/.test(line),
  );
  return [...processes, ...mounts, ...links, ...etc, ...groups, ...loops, ...files].sort();
}

/** All namespaces that these processes (by default, all) are in, as `KIND:[INODE]`; those that have ended are in none. */
export function observeNamespaces(pids: readonly number[] = processIds()): Set<string> {
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
