/** What a run was made on. */
import { cpus, release, totalmem } from 'node:os';
import { hostCommand } from '../../src/lab/host-command.js';
import { checkout } from '../../src/lab/lab.js';
import type { Kernel } from '../../src/lab/kernels.js';

const guests: Readonly<Record<Kernel, string>> = {
  host: '',
  uml: '; nodes in user-mode Linux, where system calls cost many times a machine’s',
  qemu: '; all of it in a QEMU guest with two emulated processors and Debian’s stock kernel',
};

export const machineWords = (kernel: Kernel): string =>
  `${cpus().length} processors (${cpus()[0]?.model.trim()}), ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}${guests[kernel]}.`;

/** The commit, and whether the tree differs from it but for results. */
export async function commitWords(): Promise<string> {
  const git = async (...words: string[]): Promise<string> =>
    (await hostCommand(['git', '-C', checkout, ...words])).trim();
  const changed = await git('status', '--porcelain', '--', '.', ':!bench/RESULTS.md', ':!bench/plots');
  return `${await git('rev-parse', '--short', 'HEAD')}${changed === '' ? '' : ', changed since'}`;
}
