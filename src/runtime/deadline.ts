/** A time limit by a given clock, as a signal. Must be disposed of, or its timer holds the process. */
import type { Clock } from './clock.js';
import { orAbort } from './or-abort.js';

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

/** That something took longer than somebody waited. */
export const late = Symbol('late');

/** The promise's outcome, or {@link late} when that is not there `withinMs` from now; what it is of goes on. */
export async function within<T>(
  clock: Pick<Clock, 'sleep'>,
  withinMs: number,
  promise: Promise<T>,
): Promise<T | typeof late> {
  using deadline = new Deadline(clock, withinMs);
  try {
    return await orAbort(promise, deadline.signal);
  } catch (err) {
    if (err === deadline.signal.reason) return late;
    throw err;
  }
}
