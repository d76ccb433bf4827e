/**
 * An array map with a copy of what it holds, as last read and written. Writing goes to both, in one batch however many
 * entries there are; reading again tells which entries are no longer as they were.
 */
import { putEntries, sortIndices } from './array-entries.js';
import type { BpfMap } from './bpf.js';
import { viewOf } from './struct.js';

export class MirroredArray {
  readonly map: BpfMap;
  #octets: Buffer;
  #view: DataView;
  /** Entries that the copy speaks of; those behind are zero or of no interest. */
  #count: number;

  /** @param count entries to read now; beyond the last that is not zero nothing is kept */
  constructor(map: BpfMap, count: number) {
    this.map = map;
    this.#octets = count > 0 ? map.getRange(0, count) : Buffer.alloc(0);
    this.#count = entriesUpToLastNonzero(this.#octets, map.valueBytes);
    this.#octets = this.#octets.subarray(0, this.#count * map.valueBytes);
    this.#view = viewOf(this.#octets);
  }

  get count(): number {
    return this.#count;
  }

  /** The copy; an entry begins at its index times `map.valueBytes`. */
  get view(): DataView {
    return this.#view;
  }

  at(index: number): number {
    return index * this.map.valueBytes;
  }

  /** True when the entries from `first` on are these octets. */
  holds(first: number, octets: Uint8Array): boolean {
    const start = this.at(first);
    return (
      start + octets.length <= this.#count * this.map.valueBytes &&
      this.#octets.compare(octets, 0, octets.length, start, start + octets.length) === 0
    );
  }

  isZero(index: number): boolean {
    const start = this.at(index);
    if (index >= this.#count) return true;
    for (let i = 0; i < this.map.valueBytes; i++) if (this.#octets[start + i] !== 0) return false;
    return true;
  }

  /**
   * Reads the map again; gives the entries that differ from the copy, which then has them as they are.
   * @param beyond how many entries behind those of the copy are read, too: somebody else may have written there
   */
  refresh(beyond = this.map.entriesMax): number[] {
    const reach = Math.min(this.map.entriesMax, this.#count + beyond);
    // Nearly always: every few seconds, of megabytes, so that not even a copy is made.
    if (this.map.beginsWith(this.#octets.subarray(0, this.at(this.#count)), reach - this.#count)) return [];
    const found = this.map.getRange(0, reach);
    this.#reach(entriesUpToLastNonzero(found, this.map.valueBytes));
    const size = this.#count * this.map.valueBytes;
    const changed: number[] = [];
    for (let index = 0, at = 0; index < this.#count; index++, at += this.map.valueBytes) {
      const end = at + this.map.valueBytes;
      if (this.#octets.compare(found, at, end, at, end) !== 0) changed.push(index);
    }
    found.copy(this.#octets, 0, 0, size);
    return changed;
  }

  /**
   * Writes entries from zeroed octets, in one batch. Throws KernelError.
   * @param indices in any order, each once; sorted in place
   */
  write(indices: number[], set: (view: DataView, at: number, index: number) => void): void {
    sortIndices(indices);
    const first = indices[0];
    const last = indices.at(-1);
    if (first === undefined || last === undefined) return;
    this.#reach(last + 1);
    for (const index of indices) {
      this.#octets.fill(0, this.at(index), this.at(index + 1));
      set(this.#view, this.at(index), index);
    }
    putEntries(this.map, indices, (_, index) => this.#slice(index, 1), this.#slice(first, last - first + 1));
  }

  #slice(first: number, count: number): Buffer {
    return this.#octets.subarray(this.at(first), this.at(first + count));
  }

  #reach(count: number): void {
    if (count <= this.#count) return;
    const octets = this.at(count);
    if (octets > this.#octets.length) {
      const grown = Buffer.alloc(
        Math.min(this.at(this.map.entriesMax), Math.max(octets, 2 * this.#octets.length)),
      );
      this.#octets.copy(grown, 0, 0, this.at(this.#count));
      this.#octets = grown;
      this.#view = viewOf(grown);
    }
    this.#count = count;
  }
}

/** True when two hashes, as read, hold the same. */
export const sameEntries = <K, V>(before: ReadonlyMap<K, V>, after: ReadonlyMap<K, V>): boolean =>
  before.size === after.size && [...after].every(([key, value]) => before.get(key) === value);

const zeros = Buffer.alloc(65_536);

/** Most of a large array is zero, and looked at every few seconds: in pieces, as one octet after the other takes milliseconds. */
function entriesUpToLastNonzero(octets: Buffer, valueBytes: number): number {
  let end = octets.length;
  const size = zeros.length;
  while (end >= size && octets.compare(zeros, 0, size, end - size, end) === 0) end -= size;
  while (end > 0 && octets[end - 1] === 0) end -= 1;
  return Math.ceil(end / valueBytes);
}
