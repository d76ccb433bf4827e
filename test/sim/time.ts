/**
 * Time that passes only when nothing is left to be done at the present moment, and processes that live in it: one that is paused
 * gets nothing until it goes on, one that is dead never again. What falls on the same moment is put in an order of the seed's.
 */
import type { Clock } from '../../src/runtime/clock.js';

interface Entry {
  readonly atMs: number;
  readonly order: number;
  fire: (() => void) | undefined;
}

/** What was planned for later, and can be called off. */
export type Planned = () => void;

export class Time {
  #nowMs = 0;
  /** A heap by time, then by order. */
  readonly #entries: Entry[] = [];

  constructor(private readonly draw: () => number) {}

  /** True time since the beginning, in ms. */
  get nowMs(): number {
    return this.#nowMs;
  }

  in(delayMs: number, fire: () => void): Planned {
    const entry: Entry = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.draw(), fire };
    this.#push(entry);
    return () => (entry.fire = undefined);
  }

  /** Makes the next thing happen, and all that follows from it at once. False when there is nothing. */
  async step(): Promise<boolean> {
    for (;;) {
      const entry = this.#pop();
      if (!entry) return false;
      if (!entry.fire) continue;
      this.#nowMs = entry.atMs;
      entry.fire();
      await drained();
      return true;
    }
  }

  #push(entry: Entry): void {
    const heap = this.#entries;
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (!isBefore(entry, heap[up] as Entry)) break;
      heap[at] = heap[up] as Entry;
      at = up;
    }
    heap[at] = entry;
  }

  #pop(): Entry | undefined {
    const heap = this.#entries;
    const first = heap[0];
    const last = heap.pop();
    if (!first || !last || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= heap.length) break;
      if (down + 1 < heap.length && isBefore(heap[down + 1] as Entry, heap[down] as Entry)) down += 1;
      if (!isBefore(heap[down] as Entry, last)) break;
      heap[at] = heap[down] as Entry;
      at = down;
    }
    heap[at] = last;
    return first;
  }
}

const isBefore = (a: Entry, b: Entry): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);

/** Resolves when no promise is left that could go on by itself. */
export const drained = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class Process {
  #state: 'running' | 'paused' | 'dead' = 'running';
  /** What arrived while it was paused. */
  readonly #held: (() => void)[] = [];
  readonly #ends: (() => void)[] = [];
  readonly clock: Clock;

  /** @param wallMs of its host, since the epoch */
  constructor(
    private readonly time: Time,
    wallMs: () => number,
  ) {
    this.clock = {
      nowMs: wallMs,
      steadyMs: () => time.nowMs,
      sleep: (delayMs, signal) =>
        new Promise((resolve, reject) => {
          if (signal?.aborted) return reject(signal.reason as Error);
          const onAbort = (): void => {
            cancel();
            reject(signal?.reason as Error);
          };
          const cancel = this.in(delayMs, () => {
            signal?.removeEventListener('abort', onAbort);
            resolve();
          });
          signal?.addEventListener('abort', onAbort, { once: true });
        }),
    };
  }

  get isDead(): boolean {
    return this.#state === 'dead';
  }

  get isRunning(): boolean {
    return this.#state === 'running';
  }

  /** Something from outside reaches the process, as soon as it runs. */
  deliver(what: () => void): void {
    if (this.#state === 'running') what();
    else if (this.#state === 'paused') this.#held.push(what);
  }

  /** The same, later. */
  in(delayMs: number, what: () => void): Planned {
    let off = false;
    const cancel = this.time.in(delayMs, () =>
      this.deliver(() => {
        if (!off) what();
      }),
    );
    return () => {
      off = true;
      cancel();
    };
  }

  /** Called when it dies, by its surroundings. */
  onEnd(what: () => void): void {
    this.#ends.push(what);
  }

  pause(): void {
    if (this.#state === 'running') this.#state = 'paused';
  }

  resume(): void {
    if (this.#state === 'paused') this.#catchUp();
  }

  /** In the order in which it came, and whatever comes meanwhile after it. */
  #catchUp(): void {
    this.time.in(0.01, () => {
      if (this.#state !== 'paused') return;
      const what = this.#held.shift();
      if (!what) {
        this.#state = 'running';
        return;
      }
      what();
      this.#catchUp();
    });
  }

  kill(): void {
    if (this.#state === 'dead') return;
    this.#state = 'dead';
    this.#held.length = 0;
    for (const end of this.#ends.splice(0)) end();
  }
}
