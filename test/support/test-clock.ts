/** Time that moves only when the test says so. */
import type { Clock } from '../../src/runtime/clock.js';

export class TestClock implements Clock {
  #ms = 1_000_000;
  readonly #sleepers = new Set<() => void>();
  nowMs = (): number => this.#ms;
  steadyMs = this.nowMs;
  sleep = (delayMs: number, signal?: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      const untilMs = this.#ms + delayMs;
      const wake = (): void => {
        if (this.#ms < untilMs) return;
        this.#sleepers.delete(wake);
        resolve();
      };
      this.#sleepers.add(wake);
      signal?.addEventListener('abort', () => {
        this.#sleepers.delete(wake);
        reject(signal.reason as Error);
      });
    });

  /** How many wait for a time to come. */
  get sleepers(): number {
    return this.#sleepers.size;
  }

  /** Resolves once those whose time has come have had their turn. */
  async pass(ms: number): Promise<void> {
    this.#ms += ms;
    for (const wake of [...this.#sleepers]) wake();
    await settled();
  }
}

/** What promises have to say to each other is said. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
}
