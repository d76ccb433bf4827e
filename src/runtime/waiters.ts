/** Promises that resolve when a condition has come true, looked at whenever {@link Waiters.check} is called. */
export class Waiters {
  readonly #waiting = new Set<{ readonly holds: () => boolean; readonly resolve: () => void }>();

  /** Rejects with the signal's reason when it aborts first. */
  until(holds: () => boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      if (holds()) return resolve();
      const waiter = {
        holds,
        resolve: (): void => {
          this.#waiting.delete(waiter);
          signal.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      const onAbort = (): void => {
        this.#waiting.delete(waiter);
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(waiter);
    });
  }

  check(): void {
    for (const waiter of [...this.#waiting]) if (waiter.holds()) waiter.resolve();
  }
}
