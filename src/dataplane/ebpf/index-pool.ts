/**
 * Free entries of an array map. What is given back rests for a while before it is given out again: a program that runs
 * just now may have read it. Resting ones are first in, first out; entries used before go first, so that the part of the
 * map that must be looked at stays small.
 */
import assert from 'node:assert';
import type { Clock } from '../../runtime/clock.js';
import { MapFullError } from './map-full-error.js';

/** Programs take microseconds; the rest is for whoever reads the maps with an eye on them. */
export const restMs = 5_000;

export interface PoolOptions {
  /** Name and capacity of the map. */
  readonly map: { readonly name: string; readonly entriesMax: number };
  readonly clock: Pick<Clock, 'nowMs'>;
}

export class IndexPool {
  readonly #options: PoolOptions;
  readonly #ready: number[] = [];
  #resting: { readonly index: number; readonly fromMs: number }[] = [];
  #restingHead = 0;
  /** From here on nothing was ever used. */
  #end: number;

  /**
   * @param first the lowest index that may be used
   * @param end one past the highest in use
   * @param isUsed of those below `end`; the others rest as if given back now
   */
  constructor(options: PoolOptions, first: number, end: number, isUsed: (index: number) => boolean) {
    this.#options = options;
    this.#end = Math.max(first, end);
    for (let index = first; index < end; index++) if (!isUsed(index)) this.giveBack(index);
  }

  /** Throws MapFullError. */
  take(): number {
    const ready = this.#ready.pop();
    if (ready !== undefined) return ready;
    this.#wake();
    const woken = this.#ready.pop();
    if (woken !== undefined) return woken;
    const { map } = this.#options;
    if (this.#end < map.entriesMax) return this.#end++;
    throw new MapFullError(map.name, map.entriesMax, this.#restingHead < this.#resting.length);
  }

  /** Somebody else has written a free entry: it is not given out before it is given back. */
  claim(index: number): void {
    for (; this.#end < index; this.#end++) this.putBack(this.#end);
    if (this.#end === index) {
      this.#end += 1;
      return;
    }
    const ready = this.#ready.indexOf(index);
    if (ready >= 0) this.#ready.splice(ready, 1);
    else {
      this.#resting = this.#resting.slice(this.#restingHead).filter((one) => one.index !== index);
      this.#restingHead = 0;
    }
  }

  /** It may have been read. */
  giveBack(index: number): void {
    assert(index < this.#end, 'an index that was taken');
    this.#resting.push({ index, fromMs: this.#options.clock.nowMs() + restMs });
  }

  /** It was taken and never written. */
  putBack(index: number): void {
    this.#ready.push(index);
  }

  #wake(): void {
    const now = this.#options.clock.nowMs();
    for (;;) {
      const next = this.#resting[this.#restingHead];
      if (next === undefined || next.fromMs > now) break;
      this.#ready.push(next.index);
      this.#restingHead += 1;
    }
    if (this.#restingHead * 2 > this.#resting.length) {
      this.#resting = this.#resting.slice(this.#restingHead);
      this.#restingHead = 0;
    }
    // The lowest goes first.
    this.#ready.sort((a, b) => b - a);
  }
}
