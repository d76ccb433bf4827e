import type { Clock } from '../../runtime/clock.js';

/** Those who wait until the view has come to a revision. */
interface Waiter {
  readonly revision: number;
  readonly resolve: () => void;
  readonly reject: (reason: Error) => void;
}

export class RevisionWaiters {
  readonly #waiters = new Set<Waiter>();

  constructor(private readonly clock: Pick<Clock, 'sleep'>) {}

  /** Resolves at {@link reached}; rejects with `late()` when that takes longer than `timeoutMs`. */
  wait(revision: number, timeoutMs: number, late: () => Error): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        over.abort();
        this.#waiters.delete(waiter);
        settle();
      };
      const waiter: Waiter = {
        revision,
        resolve: () => end(resolve),
        reject: (reason) => end(() => reject(reason)),
      };
      const over = new AbortController();
      void this.clock.sleep(timeoutMs, over.signal).then(
        () => waiter.reject(late()),
        () => undefined,
      );
      this.#waiters.add(waiter);
    });
  }

  reached(revision: number): void {
    for (const waiter of [...this.#waiters]) if (waiter.revision <= revision) waiter.resolve();
  }

  rejectAll(reason: Error): void {
    for (const waiter of [...this.#waiters]) waiter.reject(reason);
  }
}
