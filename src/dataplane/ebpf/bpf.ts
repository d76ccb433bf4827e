/**
 * The kernel's BPF maps and programs as objects. Keys and values are octets; what they mean is native/bpf/layout.h and
 * the codec beside this file.
 */

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
  /** Writes values that lie one after the other to an array from `firstIndex` on. */
  putRange(firstIndex: number, values: Buffer): void;
}
