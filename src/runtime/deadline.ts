/** A time limit by a given clock, as a signal. Must be disposed of, or its timer holds the process. */
import type { Clock } from './clock.js';

export class Deadline implements Disposable {
  readonly #passed = new AbortController();
  readonly #over = new AbortController();

  constructor(clock: Pick<Clock, 'sleep'>, withinMs: number) {
    void clock.sleep(withinMs, this.#over.signal).then(
      () => this.#passed.abort(new Error(`${withinMs} ms have passed`)),
      () => undefined,
    );
  }

  /** Aborts when the time is up. */
  get signal(): AbortSignal {
    return this.#passed.signal;
  }

  get hasPassed(): boolean {
    return this.#passed.signal.aborted;
  }

  [Symbol.dispose](): void {
    this.#over.abort(new Error('no longer waited for'));
  }
}
