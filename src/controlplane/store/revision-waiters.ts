/** Those who wait until the view has come to a revision. */
interface Waiter {
  readonly revision: number;
  readonly resolve: () => void;
  readonly reject: (reason: Error) => void;
}

export class RevisionWaiters {
  readonly #waiters = new Set<Waiter>();

  /** Resolves at {@link reached}; rejects with `late()` when that takes longer than `timeoutMs`. */
  wait(revision: number, timeoutMs: number, late: () => Error): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
        settle();
      };
      const waiter: Waiter = {
        revision,
        resolve: () => end(resolve),
        reject: (reason) => end(() => reject(reason)),
      };
      const timer = setTimeout(() => waiter.reject(late()), timeoutMs);
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
