/** Kernel parameters of one namespace: files below /proc/sys, opened from inside it. */
import { closeSync, openSync, readFileSync, readSync, writeSync, constants } from 'node:fs';
import { native } from '../../runtime/native.js';
import type { Sysctl } from '../plan/objects.js';
import { isBalancerSysctl } from '../plan/objects.js';
import { errnoOf, KernelError, MissingModuleError } from './kernel-error.js';

/** Octets that are read at once: ours are a number or a word. */
const valueMax = 256;

/** A parameter as last read and since written. */
interface Held {
  /** Null: there was none. */
  readonly value: string | null;
  /** Open for reading; null: there was no file. */
  readonly fd: number | null;
}

/**
 * What was observed lies open, for it is asked after many times a minute: to enter a namespace takes a thread, and to read a file
 * anew three calls more than to read it again. An open file keeps no namespace there.
 */
export class Sysctls implements Disposable {
  readonly #held = new Map<string, Held>();
  readonly #buffer = Buffer.alloc(valueMax);

  constructor(private readonly netns: string | null) {}

  [Symbol.dispose](): void {
    for (const path of [...this.#held.keys()]) this.#forget(path);
  }

  /** Those that exist. Throws KernelError. */
  observe(paths: readonly string[]): Sysctl[] {
    const asked = new Set(paths);
    for (const path of [...this.#held.keys()]) if (!asked.has(path)) this.#forget(path);
    return paths.flatMap((path): Sysctl[] => {
      const { value } = this.#read(path);
      return value === null ? [] : [{ kind: 'sysctl', path, value }];
    });
  }

  /** Reads again what was observed; true where somebody else has changed it. Throws KernelError. */
  refresh(): boolean {
    let changed = false;
    for (const [path, held] of [...this.#held]) if (this.#read(path).value !== held.value) changed = true;
    return changed;
  }

  /** Throws KernelError. */
  write({ path, value, ifPresent }: Sysctl): void {
    try {
      writeSysctl(this.netns, path, value);
      this.#held.set(path, { value, fd: this.#held.get(path)?.fd ?? null });
    } catch (cause) {
      if (ifPresent && errnoOf(cause) === 'ENOENT') return;
      // An older or newer IPVS may lack one parameter; a kernel without IPVS lacks them all and is found out earlier.
      if (isBalancerSysctl(path) && errnoOf(cause) === 'ENOENT')
        throw new MissingModuleError('ip_vs', { cause });
      throw cause;
    }
  }

  #read(path: string): Held {
    const before = this.#held.get(path);
    try {
      const held = this.#readOpen(before?.fd ?? null) ?? this.#readAnew(path);
      this.#held.set(path, held);
      return held;
    } catch (err) {
      throw new KernelError(`read sysctl ${path}`, errnoOf(err), { cause: err });
    }
  }

  /** Undefined where there is none open, or its device or module has gone: another one may have its name. */
  #readOpen(fd: number | null): Held | undefined {
    if (fd === null) return undefined;
    try {
      const length = readSync(fd, this.#buffer, 0, valueMax, 0);
      return { value: this.#buffer.toString('utf8', 0, length).trim(), fd };
    } catch (err) {
      if (errnoOf(err) === 'ENOENT') return undefined;
      throw err;
    }
  }

  #readAnew(path: string): Held {
    this.#forget(path);
    let fd: number;
    try {
      fd = openSysctl(this.netns, path, constants.O_RDONLY);
    } catch (err) {
      if (errnoOf(err) === 'ENOENT') return { value: null, fd: null };
      throw err;
    }
    const held = this.#readOpen(fd);
    if (held) return held;
    // Gone right behind its opening.
    closeSync(fd);
    return { value: null, fd: null };
  }

  #forget(path: string): void {
    const fd = this.#held.get(path)?.fd ?? null;
    this.#held.delete(path);
    if (fd !== null) closeSync(fd);
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
  const fd = openSysctl(netns, path, flags);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

function openSysctl(netns: string | null, path: string, flags: number): number {
  const file = `/proc/sys/${path}`;
  return netns === null ? openSync(file, flags) : native().openInNetns(netns, file, flags);
}
