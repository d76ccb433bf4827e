/** Entries of array maps by their indices, in as few calls as they lie apart. */
import type { BpfMap, MapEntry } from './bpf.js';
import { u32Octets, viewOf } from './struct.js';

/**
 * Writes entries from zeroed octets, in one batch. Throws KernelError.
 * @param indices each once; sorted in place
 */
export function writeEntries(
  map: BpfMap,
  indices: number[],
  set: (view: DataView, at: number, index: number) => void,
): void {
  sortIndices(indices);
  const octets = Buffer.alloc(indices.length * map.valueBytes);
  const view = viewOf(octets);
  indices.forEach((index, i) => set(view, i * map.valueBytes, index));
  putEntries(map, indices, (i) => octets.subarray(i * map.valueBytes, (i + 1) * map.valueBytes), octets);
}

/**
 * @param indices in order, each once
 * @param together the values one after the other, for when the indices are as well
 */
export function putEntries(
  map: BpfMap,
  indices: readonly number[],
  valueAt: (i: number, index: number) => Buffer,
  together: Buffer,
): void {
  const [first, last] = [indices[0], indices.at(-1)];
  if (first === undefined || last === undefined) return;
  if (last - first + 1 === indices.length) map.putRange(first, together);
  else
    map.putMany(indices.map((index, i): MapEntry => ({ key: u32Octets(index), value: valueAt(i, index) })));
}

/** Entries that lie so close are read together: a call costs as much as some dozens of entries. */
const gapMax = 64;

/**
 * Reads groups of `each` entries, those that lie close together in one range. Throws KernelError.
 * @param indices of the groups; sorted in place
 */
export function visitEntries(
  map: BpfMap,
  indices: number[],
  each: number,
  visit: (view: DataView, at: number, index: number) => void,
): void {
  sortIndices(indices);
  for (let from = 0; from < indices.length;) {
    const first = indices[from] ?? 0;
    let to = from + 1;
    while (to < indices.length && (indices[to] ?? 0) - (indices[to - 1] ?? 0) <= gapMax) to += 1;
    const last = indices[to - 1] ?? first;
    const view = viewOf(map.getRange(first * each, (last - first + 1) * each));
    for (let i = from; i < to; i++) {
      const index = indices[i] ?? 0;
      visit(view, (index - first) * each * map.valueBytes, index);
    }
    from = to;
  }
}

/** Puts them in order; most often they are. */
export function sortIndices(indices: number[]): void {
  for (let i = 1; i < indices.length; i++)
    if ((indices[i] ?? 0) < (indices[i - 1] ?? 0)) {
      indices.sort((a, b) => a - b);
      return;
    }
}
