/**
 * The kernel's BPF maps and programs as objects. Keys and values are octets; what they mean is native/bpf/layout.h and
 * the codec beside this file. Costs: one system call an operation (and one for the map's sizes), one a thousand entries of
 * a batch; ranges of arrays that can be mapped are copied from the kernel's memory without one an entry.
 * What must stay true: descriptors are closed once; what is pinned stays until `removePins`, whoever dies.
 */
import assert from 'node:assert';
import { closeSync, mkdirSync, rmSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FlowCounts, FlowTimeouts, LoadedMap, LoadedProgram } from '../../../native/native.js';
import { errnoOf, KernelError } from '../kernel/kernel-error.js';
import { native } from '../../runtime/native.js';
import { flowIdleLimits } from '../plan/load-balancer.js';

/** One entry as the kernel holds it. */
export interface MapEntry {
  readonly key: Buffer;
  readonly value: Buffer;
}

/**
 * A map of the kernel. Keys and values have exactly `keyBytes` and `valueBytes`; another length is a bug (AssertionError).
 * Arrays always have all their entries: `delete` is for the others, the ranges are for arrays alone.
 * Methods throw KernelError; E2BIG: the map is full.
 */
export interface BpfMap {
  readonly name: string;
  readonly keyBytes: number;
  readonly valueBytes: number;
  /** Of an array: its length. */
  readonly entriesMax: number;

  get(key: Buffer): Buffer | null;
  put(key: Buffer, value: Buffer): void;
  /** False when there was no such entry. */
  delete(key: Buffer): boolean;

  /** Every entry, in no order, or the first `countMax` that are met. One made or removed meanwhile may be missing or there. */
  getAll(countMax?: number): MapEntry[];
  /** In order; not atomic. Those before the one that fails are in the map. */
  putMany(entries: readonly MapEntry[]): void;
  /** Absent ones are no error; gives how many there were. */
  deleteMany(keys: readonly Buffer[]): number;

  /** The values of `count` entries of an array from `firstIndex` on, one after the other. */
  getRange(firstIndex: number, count: number): Buffer;
  /** Whether an array begins with these values, and the `zeros` entries behind them are zero. */
  beginsWith(values: Buffer, zeros: number): boolean;
  /** Writes values that lie one after the other to an array from `firstIndex` on. */
  putRange(firstIndex: number, values: Buffer): void;
}

/** The object file of the engine's programs. The path holds from src/ and from dist/ alike. */
export const programsPath = fileURLToPath(new URL('../../../native/build/bpf/skep.bpf.o', import.meta.url));

/** This kernel cannot run the ebpf engine, or this process may not use it. The overlay works without. */
export class MissingBpfError extends KernelError {
  override readonly name = 'MissingBpfError';

  constructor(op: string, reason: string, options: { readonly cause: unknown }) {
    super(op, 'ENOSYS', { ...options, text: reason });
  }
}

/** What lacks, by the errno that the first use of BPF fails with. */
const missing: Readonly<Record<string, string>> = {
  ENOSYS: 'this kernel was built without BPF',
  EPERM: 'this process may not use BPF: it needs CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN',
  ENODEV: 'this kernel has no BPF file system',
  ENOENT: 'this kernel has no BPF file system, or its sysfs is not mounted',
};

/** Entries asked for at a time: their octets stay within what the kernel allocates in one piece without trouble. */
const batchEntries = 4096;
/** BPF_F_MMAPABLE, linux/bpf.h. */
const mappable = 1 << 10;
/** BPF_FS_MAGIC, linux/magic.h. */
const bpfFsMagic = 0xcafe4a11;
const kernelMountPoint = '/sys/fs/bpf';

/** The programs and maps of one object file, loaded. Disposing closes the descriptors; pins and attached programs stay. */
export interface LoadedPrograms extends Disposable {
  readonly maps: ReadonlyMap<string, BpfMap>;
  readonly programs: ReadonlyMap<string, LoadedProgram>;
  /** Names of the maps that were pinned already. When one is new, programs attached before use another. */
  readonly reused: ReadonlySet<string>;
  /**
   * Deletes idle flows, and those of real servers that are gone, off Node's thread (native.d.ts says more).
   * Rejects with KernelError.
   */
  expireFlows(timeouts?: FlowTimeouts): Promise<FlowCounts>;
}

/**
 * Loads the programs of `objectPath` with their maps pinned by name in `pinDirectory`; what is pinned there is used as it is.
 * A bpffs is mounted when there is none (see {@link ensureBpffs}).
 * @param capacities entries of the maps that shall not have what the object says; without effect on those pinned
 * @throws MissingBpfError when BPF cannot be used; KernelError EEXIST when a pinned map has another layout; KernelError with
 * the verifier's last lines when it refuses a program
 */
export function loadPrograms({
  objectPath = programsPath,
  pinDirectory,
  capacities = {},
}: {
  readonly objectPath?: string;
  readonly pinDirectory: string;
  readonly capacities?: Readonly<Record<string, number>>;
}): LoadedPrograms {
  ensureBpffs(pinDirectory);
  const loaded = attemptFirst(`load ${objectPath}`, ['ENOSYS', 'EPERM'], () =>
    native().bpfLoad(objectPath, pinDirectory, capacities),
  );
  const maps = new Map(Object.entries(loaded.maps).map(([name, map]) => [name, new KernelMap(name, map)]));
  const programs = new Map(Object.entries(loaded.programs));
  const reused = Object.entries(loaded.maps).flatMap(([name, map]) => (map.reused ? [name] : []));
  const fdOf = (name: string): number => {
    const map = maps.get(name);
    assert(map, `there is no map ${name}`);
    return map.fd;
  };
  return {
    async expireFlows(timeouts = flowIdleLimits) {
      const fds = {
        flows: fdOf('skep_flows'),
        youngFlows: fdOf('skep_young_flows'),
        realServers: fdOf('skep_real_servers'),
        active: fdOf('skep_active'),
      };
      try {
        return await native().bpfExpireFlows(fds, timeouts);
      } catch (cause) {
        throw kernelError('expire flows', cause);
      }
    },
    maps,
    programs,
    reused: new Set(reused),
    [Symbol.dispose]() {
      for (const map of maps.values()) map[Symbol.dispose]();
      for (const { fd } of programs.values()) closeSync(fd);
      programs.clear();
    },
  };
}

/**
 * Makes sure that `pinDirectory` lies on a bpffs: the kernel's own mount point when it is below that, else a file system of its
 * own on the directory above it. Throws MissingBpfError.
 */
export function ensureBpffs(pinDirectory: string): void {
  const mountPoint = pinDirectory.startsWith(`${kernelMountPoint}/`)
    ? kernelMountPoint
    : dirname(pinDirectory);
  const op = `mount a BPF file system at ${mountPoint}`;
  const needed = attempt(op, () => {
    if (isOnBpffs(pinDirectory)) return false;
    if (mountPoint !== kernelMountPoint) mkdirSync(mountPoint, { recursive: true, mode: 0o700 });
    return true;
  });
  if (needed) attemptFirst(op, Object.keys(missing), () => native().mountBpffs(mountPoint));
}

/** Whether the nearest directory that exists is on a bpffs. */
function isOnBpffs(path: string): boolean {
  try {
    return statfsSync(path).type === bpfFsMagic;
  } catch (err) {
    if (errnoOf(err) !== 'ENOENT') throw err;
    return isOnBpffs(dirname(path));
  }
}

/** Removes the directory with all that is pinned in it; maps and programs go when nothing else holds them. Absent is no error. */
export function removePins(pinDirectory: string): void {
  attempt(`remove the pins of ${pinDirectory}`, () => rmSync(pinDirectory, { recursive: true, force: true }));
}

/** A map of the kernel by its descriptor. */
class KernelMap implements BpfMap, Disposable {
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly entriesMax: number;
  readonly #isMapped: boolean;
  #fd: number | null;

  constructor(
    readonly name: string,
    { fd, flags, keyBytes, valueBytes, entriesMax }: LoadedMap,
  ) {
    this.#fd = fd;
    this.#isMapped = (flags & mappable) !== 0;
    this.keyBytes = keyBytes;
    this.valueBytes = valueBytes;
    this.entriesMax = entriesMax;
  }

  get fd(): number {
    assert(this.#fd !== null, `map ${this.name} is closed`);
    return this.#fd;
  }

  [Symbol.dispose](): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }

  get(key: Buffer): Buffer | null {
    this.#check(key, this.keyBytes);
    return this.#attempt('get from', () => native().bpfGet(this.fd, key));
  }

  put(key: Buffer, value: Buffer): void {
    this.#check(key, this.keyBytes);
    this.#check(value, this.valueBytes);
    this.#attempt('put into', () => native().bpfPut(this.fd, key, value));
  }

  delete(key: Buffer): boolean {
    this.#check(key, this.keyBytes);
    return this.#attempt('delete from', () => native().bpfDelete(this.fd, key));
  }

  getAll(countMax = Infinity): MapEntry[] {
    const entries: MapEntry[] = [];
    let cursor: Buffer | null = null;
    do {
      const batch = this.#getBatch(cursor, Math.min(batchEntries, countMax - entries.length));
      for (let i = 0; i < batch.count && entries.length < countMax; i++)
        entries.push({
          key: batch.keys.subarray(i * this.keyBytes, (i + 1) * this.keyBytes),
          value: batch.values.subarray(i * this.valueBytes, (i + 1) * this.valueBytes),
        });
      cursor = batch.cursor;
    } while (cursor && entries.length < countMax);
    return entries;
  }

  putMany(entries: readonly MapEntry[]): void {
    for (const some of chunks(entries)) {
      for (const { key, value } of some) {
        this.#check(key, this.keyBytes);
        this.#check(value, this.valueBytes);
      }
      const keys = Buffer.concat(some.map(({ key }) => key));
      this.#putBatch(keys, Buffer.concat(some.map(({ value }) => value)), some.length);
    }
  }

  deleteMany(keys: readonly Buffer[]): number {
    let deleted = 0;
    for (const some of chunks(keys)) {
      for (const key of some) this.#check(key, this.keyBytes);
      const together = Buffer.concat(some);
      deleted += this.#attempt('delete from', () => native().bpfDeleteBatch(this.fd, together, some.length));
    }
    return deleted;
  }

  getRange(firstIndex: number, count: number): Buffer {
    assert(firstIndex >= 0 && count >= 0 && firstIndex + count <= this.entriesMax, 'range out of bounds');
    if (this.#isMapped && count > 0)
      return this.#attempt('read', () => native().bpfReadMapped(this.fd, firstIndex, count));
    const parts: Buffer[] = [];
    for (let got = 0; got < count;) {
      // A cursor of an array is the index before the one that follows.
      const at = firstIndex + got;
      const batch = this.#getBatch(at === 0 ? null : indexKey(at - 1), Math.min(batchEntries, count - got));
      assert(batch.count > 0, 'an array has all its entries');
      parts.push(batch.values);
      got += batch.count;
    }
    return Buffer.concat(parts);
  }

  beginsWith(values: Buffer, zeros: number): boolean {
    const count = values.length / this.valueBytes;
    assert(Number.isInteger(count), 'values of another length');
    assert(zeros >= 0 && count + zeros <= this.entriesMax, 'range out of bounds');
    if (count + zeros === 0) return true;
    if (this.#isMapped) return this.#attempt('read', () => native().bpfMappedHolds(this.fd, values, zeros));
    return this.getRange(0, count + zeros).equals(
      Buffer.concat([values], values.length + zeros * this.valueBytes),
    );
  }

  putRange(firstIndex: number, values: Buffer): void {
    const count = values.length / this.valueBytes;
    assert(Number.isInteger(count), 'values of another length');
    assert(firstIndex >= 0 && firstIndex + count <= this.entriesMax, 'range out of bounds');
    for (let put = 0; put < count; put += batchEntries) {
      const some = Math.min(batchEntries, count - put);
      const keys = Buffer.alloc(4 * some);
      for (let i = 0; i < some; i++) keys.writeUInt32LE(firstIndex + put + i, 4 * i);
      this.#putBatch(keys, values.subarray(put * this.valueBytes, (put + some) * this.valueBytes), some);
    }
  }

  #getBatch(cursor: Buffer | null, countMax: number): ReturnType<ReturnType<typeof native>['bpfGetBatch']> {
    return this.#attempt('read', () => native().bpfGetBatch(this.fd, cursor, countMax));
  }

  #putBatch(keys: Buffer, values: Buffer, count: number): void {
    this.#attempt('put into', () => native().bpfPutBatch(this.fd, keys, values, count));
  }

  #check(octets: Buffer, length: number): void {
    assert.equal(octets.length, length, `map ${this.name}: key or value of a wrong length`);
  }

  #attempt<T>(verb: string, work: () => T): T {
    return attempt(`${verb} map ${this.name}`, work);
  }
}

function* chunks<T>(all: readonly T[]): Generator<readonly T[]> {
  for (let at = 0; at < all.length; at += batchEntries) yield all.slice(at, at + batchEntries);
}

function indexKey(index: number): Buffer {
  const key = Buffer.alloc(4);
  key.writeUInt32LE(index);
  return key;
}

/** Runs it; the kernel's errors get their type, others (bugs) pass as they are. */
function attempt<T>(op: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw kernelError(op, cause);
  }
}

const kernelError = (op: string, cause: unknown): unknown =>
  cause instanceof Error && 'syscall' in cause
    ? new KernelError(op, errnoOf(cause), { cause, text: cause.message })
    : cause;

/** As `attempt`, where one of these errnos tells that there is no BPF to be had. */
function attemptFirst<T>(op: string, errnos: readonly string[], work: () => T): T {
  try {
    return attempt(op, work);
  } catch (err) {
    if (!(err instanceof KernelError) || !errnos.includes(err.code)) throw err;
    throw new MissingBpfError(op, missing[err.code] ?? err.code, { cause: err });
  }
}
