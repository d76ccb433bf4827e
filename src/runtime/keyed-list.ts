/**
 * A list in the order of its items' keys that is never changed: a change gives another list, which shares with the first all
 * but what it touches. So a list of 50,000 endpoints costs some hundreds of words to change, and what two of them differ in is
 * found by looking at the pieces that they do not share.
 *
 * Two levels: an array of chunks, each an array of items. A chunk begins at every item whose key's digest ends in some zeros
 * (one in {@link chunkMean}), so the cut hangs on the content alone: equal lists are equal values, however they were made.
 * Pure.
 */

/** What is read of a list; an array has it, too. */
export interface Items<T> extends Iterable<T> {
  readonly length: number;
  map<R>(make: (item: T, index: number) => R): R[];
  flatMap<R>(make: (item: T, index: number) => R | readonly R[]): R[];
  filter(wanted: (item: T) => unknown): T[];
  find(wanted: (item: T) => unknown): T | undefined;
  some(wanted: (item: T) => unknown): boolean;
}

/** A power of two. At 50,000 items a change copies one chunk and some 800 references to chunks. */
const chunkMean = 64;

export class KeyedList<T> implements Items<T> {
  readonly length: number;
  readonly #keyOf: (item: T) => string;

  private constructor(
    readonly chunks: readonly (readonly T[])[],
    keyOf: (item: T) => string,
  ) {
    this.#keyOf = keyOf;
    this.length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  /** The items in order of their keys, of which each is given once; a list of that kind is given back. */
  static of<T>(items: Iterable<T>, keyOf: (item: T) => string): KeyedList<T> {
    if (items instanceof KeyedList) return items as KeyedList<T>;
    return new KeyedList(cut(inOrder([...items], keyOf), keyOf), keyOf);
  }

  [Symbol.iterator](): ArrayIterator<T> {
    return this.#all()[Symbol.iterator]();
  }

  toJSON(): readonly T[] {
    return this.#all();
  }

  get(key: string): T | undefined {
    const chunk = this.chunks[chunkOf(this.chunks, this.#keyOf, key)] ?? [];
    const item = chunk[placeOf(chunk, this.#keyOf, key)];
    return item !== undefined && this.#keyOf(item) === key ? item : undefined;
  }

  /** The list with items put in place of those with their keys, and without those of `removed`; itself where nothing is asked. */
  with(put: readonly T[], removed: readonly string[]): KeyedList<T> {
    if (put.length === 0 && removed.length === 0) return this;
    const keyOf = this.#keyOf;
    const chunks = [...this.chunks];
    for (const item of put) {
      const key = keyOf(item);
      const index = chunkOf(chunks, keyOf, key);
      const chunk = chunks[index] ?? [];
      const place = placeOf(chunk, keyOf, key);
      const there = chunk[place];
      if (there !== undefined && keyOf(there) === key) chunks[index] = chunk.with(place, item);
      else chunks.splice(index, 1, ...cut(chunk.toSpliced(place, 0, item), keyOf));
    }
    for (const key of removed) {
      const index = chunkOf(chunks, keyOf, key);
      const chunk = chunks[index] ?? [];
      const place = placeOf(chunk, keyOf, key);
      const there = chunk[place];
      if (there === undefined || keyOf(there) !== key) continue;
      const rest = chunk.toSpliced(place, 1);
      // Without the item at which it began, it is no chunk of its own.
      const before = place === 0 ? chunks[index - 1] : undefined;
      if (before) chunks.splice(index - 1, 2, [...before, ...rest]);
      else chunks.splice(index, 1, ...(rest.length > 0 ? [rest] : []));
    }
    return new KeyedList(chunks, keyOf);
  }

  map<R>(make: (item: T, index: number) => R): R[] {
    return this.#all().map(make);
  }

  flatMap<R>(make: (item: T, index: number) => R | readonly R[]): R[] {
    return this.#all().flatMap(make);
  }

  filter(wanted: (item: T) => unknown): T[] {
    return this.#all().filter(wanted);
  }

  find(wanted: (item: T) => unknown): T | undefined {
    for (const chunk of this.chunks) {
      const found = chunk.find(wanted);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  some(wanted: (item: T) => unknown): boolean {
    return this.chunks.some((chunk) => chunk.some(wanted));
  }

  #all(): T[] {
    return this.chunks.flatMap((chunk) => chunk);
  }
}

/** What one list has and the other has not, by identity. */
export interface Difference<T> {
  readonly gone: readonly T[];
  readonly come: readonly T[];
}

/** Cost: a look at the identity of each chunk, and at the items of those that differ; of other lists at each item. */
export function difference<T>(before: Items<T>, after: Items<T>): Difference<T> {
  if (before === after) return { gone: [], come: [] };
  if (!(before instanceof KeyedList) || !(after instanceof KeyedList))
    return differenceOf<T>([...before], [...after]);
  const { gone, come } = differenceOf<readonly T[]>(
    before.chunks as readonly (readonly T[])[],
    after.chunks as readonly (readonly T[])[],
  );
  return differenceOf(
    gone.flatMap((chunk) => chunk),
    come.flatMap((chunk) => chunk),
  );
}

function differenceOf<T>(before: readonly T[], after: readonly T[]): Difference<T> {
  let first = 0;
  while (first < before.length && first < after.length && before[first] === after[first]) first += 1;
  let [beforeEnd, afterEnd] = [before.length, after.length];
  while (beforeEnd > first && afterEnd > first && before[beforeEnd - 1] === after[afterEnd - 1]) {
    beforeEnd -= 1;
    afterEnd -= 1;
  }
  const gone = new Set(before.slice(first, beforeEnd));
  const come = after.slice(first, afterEnd).filter((item) => !gone.delete(item));
  return { gone: [...gone], come };
}

function inOrder<T>(items: readonly T[], keyOf: (item: T) => string): readonly T[] {
  for (let i = 1; i < items.length; i++)
    if (keyOf(items[i - 1] as T) > keyOf(items[i] as T))
      return [...items].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  return items;
}

function cut<T>(items: readonly T[], keyOf: (item: T) => string): T[][] {
  const chunks: T[][] = [];
  for (const item of items) {
    const last = chunks.at(-1);
    if (last === undefined || beginsChunk(keyOf(item))) chunks.push([item]);
    else last.push(item);
  }
  return chunks;
}

/** FNV-1a over the key, mixed so that its low bits hang on all of it. */
function beginsChunk(key: string): boolean {
  let digest = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) digest = Math.imul(digest ^ key.charCodeAt(i), 0x01000193);
  digest = Math.imul(digest ^ (digest >>> 16), 0x85ebca6b);
  return ((digest ^ (digest >>> 13)) & (chunkMean - 1)) === 0;
}

/** Index of the chunk that holds the key or would: the last that begins at or before it. */
function chunkOf<T>(chunks: readonly (readonly T[])[], keyOf: (item: T) => string, key: string): number {
  let [from, to] = [0, chunks.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (keyOf(chunks[middle]?.[0] as T) <= key) from = middle + 1;
    else to = middle;
  }
  return Math.max(0, from - 1);
}

/** Of the first item whose key is not less. */
function placeOf<T>(items: readonly T[], keyOf: (item: T) => string, key: string): number {
  let [from, to] = [0, items.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (keyOf(items[middle] as T) < key) from = middle + 1;
    else to = middle;
  }
  return from;
}
