/**
 * Undoes what was done so far when a scope is left by throwing: AsyncDisposableStack, which Node 20 lacks.
 * `await using undo = new CleanupStack()`, `undo.defer(...)` before each step, `undo.move()` on success.
 */
export class CleanupStack implements AsyncDisposable {
  #steps: Array<() => unknown> = [];

  defer(step: () => unknown): void {
    this.#steps.push(step);
  }

  use<T extends Disposable | AsyncDisposable>(resource: T): T {
    this.defer(() =>
      Symbol.asyncDispose in resource ? resource[Symbol.asyncDispose]() : resource[Symbol.dispose](),
    );
    return resource;
  }

  /** Hands the steps to a new owner; this stack then undoes nothing. */
  move(): CleanupStack {
    const owner = new CleanupStack();
    owner.#steps = this.#steps;
    this.#steps = [];
    return owner;
  }

  /** Runs the steps last to first; all of them, then throws the first error. */
  async [Symbol.asyncDispose](): Promise<void> {
    const errors: unknown[] = [];
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      try {
        await step();
      } catch (err) {
        errors.push(err);
      }
    }
    if (errors.length > 0) throw errors[0];
  }
}
