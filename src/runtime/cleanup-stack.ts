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

/** The resource once `build` has built it. Rejects as that does, after undoing what it had built until then. */
export async function built<T extends AsyncDisposable>(
  resource: T,
  build: (resource: T) => Promise<void>,
): Promise<T> {
  await using undo = new CleanupStack();
  undo.use(resource);
  await build(resource);
  undo.move();
  return resource;
}
