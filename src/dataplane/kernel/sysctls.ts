/** Kernel parameters of one namespace: files below /proc/sys, opened from inside it. */
import { closeSync, openSync, readFileSync, writeSync, constants } from 'node:fs';
import { native } from '../native.js';
import type { Sysctl } from '../plan/objects.js';
import { isBalancerSysctl } from '../plan/objects.js';
import { errnoOf, KernelError, MissingModuleError } from './kernel-error.js';

export class Sysctls {
  /** As last read and since written; null: there was none. */
  readonly #held = new Map<string, string | null>();

  constructor(private readonly netns: string | null) {}

  /** Those that exist. Throws KernelError. */
  observe(paths: readonly string[]): Sysctl[] {
    this.#held.clear();
    return paths.flatMap((path): Sysctl[] => {
      const value = this.#read(path);
      this.#held.set(path, value);
      return value === null ? [] : [{ kind: 'sysctl', path, value }];
    });
  }

  /** Reads again what was observed; true where somebody else has changed it. Throws KernelError. */
  refresh(): boolean {
    let changed = false;
    for (const [path, held] of this.#held) {
      const value = this.#read(path);
      if (value === held) continue;
      this.#held.set(path, value);
      changed = true;
    }
    return changed;
  }

  /** Throws KernelError. */
  write({ path, value, ifPresent }: Sysctl): void {
    try {
      this.#withFile(path, constants.O_WRONLY, (fd) => writeSync(fd, value));
      this.#held.set(path, value);
    } catch (cause) {
      if (ifPresent && errnoOf(cause) === 'ENOENT') return;
      if (isBalancerSysctl(path) && errnoOf(cause) === 'ENOENT') {
        // An older or newer IPVS may lack one parameter; a kernel without IPVS lacks them all and is found out earlier.
        throw new MissingModuleError('ip_vs', { cause });
      }
      throw new KernelError(`write sysctl ${path} = ${value}`, errnoOf(cause), { cause });
    }
  }

  /** Null when there is none. */
  #read(path: string): string | null {
    try {
      return this.#withFile(path, constants.O_RDONLY, (fd) => readFileSync(fd, 'utf8')).trim();
    } catch (err) {
      if (errnoOf(err) === 'ENOENT') return null;
      throw new KernelError(`read sysctl ${path}`, errnoOf(err), { cause: err });
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
