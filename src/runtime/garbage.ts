/**
 * Gives back what a process has needed once. V8 collects when it next needs room: a daemon that rests after it was told a great deal
 * would hold the garbage of that for minutes. Needs `--expose-gc`; without it nothing happens.
 */
import type { Clock } from './clock.js';

/** A collection stops everything, for up to a millisecond a MiB: not for as long as a manager's lease on its leadership lasts. */
const heapBytesMax = 256 * 1024 * 1024;

export interface GarbageOptions {
  readonly clock: Clock;
  /** By default V8's own. */
  readonly collect?: (() => unknown) | undefined;
  readonly heapBytes?: () => number;
}

export class Garbage {
  #isDue = false;

  constructor(private readonly options: GarbageOptions) {}

  /** Collects after so long, once for all who have asked by then; where the heap is large, V8 is left to do it bit by bit. */
  async collect(afterMs: number, signal: AbortSignal): Promise<void> {
    const { clock, collect = globalThis.gc, heapBytes = heapUsed } = this.options;
    if (this.#isDue || !collect) return;
    this.#isDue = true;
    await clock.sleep(afterMs, signal).catch(() => undefined);
    this.#isDue = false;
    if (!signal.aborted && heapBytes() <= heapBytesMax) collect();
  }
}

const heapUsed = (): number => process.memoryUsage().heapUsed;
