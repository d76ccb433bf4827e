/** Kernel parameters of one namespace: files below /proc/sys, opened from inside it. */
import { closeSync, openSync, readFileSync, writeSync, constants } from 'node:fs';
import { native } from '../../runtime/native.js';
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
      const value = readSysctl(this.netns, path);
      this.#held.set(path, value);
      return value === null ? [] : [{ kind: 'sysctl', path, value }];
    });
  }

  /** Reads again what was observed; true where somebody else has changed it. Throws KernelError. */
  refresh(): boolean {
    let changed = false;
    for (const [path, held] of this.#held) {
      const value = readSysctl(this.netns, path);
      if (value === held) continue;
      this.#held.set(path, value);
      changed = true;
    }
    return changed;
  }

  /** Throws KernelError. */
  write({ path, value, ifPresent }: Sysctl): void {
    try {
      writeSysctl(this.netns, path, value);
      this.#held.set(path, value);
    } catch (cause) {
      if (ifPresent && errnoOf(cause) === 'ENOENT') return;
      // An older or newer IPVS may lack one parameter; a kernel without IPVS lacks them all and is found out earlier.
      if (isBalancerSysctl(path) && errnoOf(cause) === 'ENOENT')
        throw new MissingModuleError('ip_vs', { cause });
      throw cause;
    }
  }
}

/** Null when there is none. Throws KernelError. */
export function readSysctl(netns: string | null, path: string): string | null {
  try {
    return withFile(netns, path, constants.O_RDONLY, (fd) => readFileSync(fd, 'utf8')).trim();
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return null;
    throw new KernelError(`read sysctl ${path}`, errnoOf(err), { cause: err });
  }
}

/** Throws KernelError, with ENOENT when there is none. */
export function writeSysctl(netns: string | null, path: string, value: string): void {
  try {
    withFile(netns, path, constants.O_WRONLY, (fd) => {
      for (const part of pages(value)) writeSync(fd, part);
    });
  } catch (cause) {
    throw new KernelError(`write sysctl ${path} = ${value}`, errnoOf(cause), { cause });
  }
}

/** The kernel takes less than a page (4096 octets) at a time; of a list, what follows on the same descriptor is added. */
const pageMax = 4000;

function pages(value: string): string[] {
  const found: string[] = [];
  let rest = value;
  while (rest.length > pageMax && rest.lastIndexOf(',', pageMax) > 0) {
    const end = rest.lastIndexOf(',', pageMax);
    found.push(rest.slice(0, end));
    rest = rest.slice(end + 1);
  }
  // An empty list is a line, too: nothing written is nothing done.
  return [...found, `${rest}\n`];
}

function withFile<T>(netns: string | null, path: string, flags: number, use: (fd: number) => T): T {
  const file = `/proc/sys/${path}`;
  const fd = netns === null ? openSync(file, flags) : native().openInNetns(netns, file, flags);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}
