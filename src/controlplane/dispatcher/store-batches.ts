/**
 * What many nodes have written at a time, latest per key: the first after a quiet time at once, and what comes during a write and the
 * gap after it together. Batches are written one after another: what is said later is not overtaken by what was said before.
 */
import type { Clock } from '../../runtime/clock.js';

export interface StoreBatch<Key, Item> {
  /** To be added to, until it is written. */
  readonly items: Map<Key, Item>;
  /** Resolves once they are in the store, rejects with why they are not. */
  readonly done: Promise<void>;
}

export interface StoreBatchesOptions<Key, Item> {
  readonly clock: Clock;
  /** From the end of a write until the next one. */
  readonly gapMs: number;
  readonly write: (items: ReadonlyMap<Key, Item>) => Promise<void>;
}

export class StoreBatches<Key, Item> {
  #open: StoreBatch<Key, Item> | undefined;
  #written: Promise<void> = Promise.resolve();

  constructor(private readonly options: StoreBatchesOptions<Key, Item>) {}

  /** How many wait for the next write. */
  get waiting(): number {
    return this.#open?.items.size ?? 0;
  }

  /** The batch that still takes items: what is added to it without waiting for anything in between is written with it. */
  open(): StoreBatch<Key, Item> {
    this.#open ??= this.#start();
    return this.#open;
  }

  #start(): StoreBatch<Key, Item> {
    const { clock, gapMs, write } = this.options;
    const items = new Map<Key, Item>();
    const done = this.#written.then(() => {
      this.#open = undefined;
      return write(items);
    });
    this.#written = done.catch(() => undefined).then(() => clock.sleep(gapMs));
    return { items, done };
  }
}
