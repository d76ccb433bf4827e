/**
 * Free space of the slots' map, handed out in extents: the first that is large enough. What is given back rests as indices
 * do (see index-pool.ts), then joins its neighbours.
 */
import type { PoolOptions } from './index-pool.js';
import { restMs } from './index-pool.js';
import { MapFullError } from './map-full-error.js';

export interface Extent {
  readonly first: number;
  readonly count: number;
}

export class ExtentPool {
  readonly #options: PoolOptions;
  /** By place, no two of them touching, and none touching the end. */
  #free: Extent[] = [];
  /** No free extent is larger. */
  #largest = 0;
  #resting: (Extent & { readonly fromMs: number })[] = [];
  /** From here on everything is free. */
  #end = 0;

  /** @param used extents in use, by place, none overlapping; the space between them rests as if given back now */
  constructor(options: PoolOptions, used: readonly Extent[]) {
    this.#options = options;
    for (const { first, count } of used) {
      if (first > this.#end) this.giveBack({ first: this.#end, count: first - this.#end });
      this.#end = first + count;
    }
  }

  /** One past the last place that is not free; what lies beyond has nothing to tell. */
  get end(): number {
    return this.#end;
  }

  /** An extent of that many places. Throws MapFullError. */
  take(count: number): Extent {
    this.#wake();
    if (count <= this.#largest) {
      const at = this.#free.findIndex((extent) => extent.count >= count);
      const found = this.#free[at];
      if (found !== undefined) {
        if (found.count === count) this.#free.splice(at, 1);
        else this.#free[at] = { first: found.first + count, count: found.count - count };
        return { first: found.first, count };
      }
      this.#largest = count - 1;
    }
    const { map } = this.#options;
    if (this.#end + count > map.entriesMax)
      throw new MapFullError(map.name, map.entriesMax, this.#resting.length > 0);
    const first = this.#end;
    this.#end += count;
    return { first, count };
  }

  /** It may have been read. */
  giveBack(extent: Extent): void {
    this.#resting.push({ ...extent, fromMs: this.#options.clock.nowMs() + restMs });
  }

  /** They were taken and never written. */
  putBack(extents: readonly Extent[]): void {
    this.#join(extents);
  }

  #wake(): void {
    const now = this.#options.clock.nowMs();
    if ((this.#resting[0]?.fromMs ?? Infinity) > now) return;
    const resting = this.#resting.findIndex(({ fromMs }) => fromMs > now);
    this.#join(this.#resting.splice(0, resting < 0 ? this.#resting.length : resting));
  }

  #join(extents: readonly Extent[]): void {
    const all = [...this.#free, ...extents].sort((a, b) => a.first - b.first);
    this.#free = [];
    this.#largest = 0;
    let last: { first: number; count: number } | undefined;
    for (const { first, count } of all) {
      if (last !== undefined && last.first + last.count === first) last.count += count;
      else {
        last = { first, count };
        this.#free.push(last);
      }
      this.#largest = Math.max(this.#largest, last.count);
    }
    if (last !== undefined && last.first + last.count === this.#end) {
      this.#end = last.first;
      this.#free.pop();
    }
  }
}
