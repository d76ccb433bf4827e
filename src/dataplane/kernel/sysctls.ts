/** Kernel parameters of one namespace: files below /proc/sys, opened from inside it. */
import { closeSync, openSync, readFileSync, writeSync, constants } from 'node:fs';
import { native } from '../native.js';
import type { Sysctl } from '../plan/objects.js';
import { isBalancerSysctl } from '../plan/objects.js';
import { errnoOf, KernelError, MissingModuleError } from './kernel-error.js';

export class Sysctls {
  constructor(private readonly netns: string | null) {}

  /** Those that exist. Throws KernelError. */
  observe(paths: readonly string[]): Sysctl[] {
    return paths.flatMap((path): Sysctl[] => {
      try {
        const value = this.#withFile(path, constants.O_RDONLY, (fd) => readFileSync(fd, 'utf8'));
        return [{ kind: 'sysctl', path, value: value.trim() }];
      } catch (err) {
        if (errnoOf(err) === 'ENOENT') return [];
        throw new KernelError(`read sysctl ${path}`, errnoOf(err), { cause: err });
      }
    });
  }

  /** Throws KernelError. */
  write({ path, value, ifPresent }: Sysctl): void {
    try {
      this.#withFile(path, constants.O_WRONLY, (fd) => writeSync(fd, value));
    } catch (cause) {
      if (ifPresent && errnoOf(cause) === 'ENOENT') return;
      if (isBalancerSysctl(path) && errnoOf(cause) === 'ENOENT') {
        // An older or newer IPVS may lack one parameter; a kernel without IPVS lacks them all and is found out earlier.
        throw new MissingModuleError('ip_vs', { cause });
      }
      throw new KernelError(`write sysctl ${path} = ${value}`, errnoOf(cause), { cause });
    }
  }

  #withFile<T>(path: string, flags: number, use: (fd: number) => T): T {
    const file = `/proc/sys/${path}`;
    const fd = this.netns === null ? openSync(file, flags) : native().openInNetns(this.netns, file, flags);
    try {
      return use(fd);
    } finally {
      closeSync(fd);
    }
  }
}
