/** What one pass has done, for its one line in the log: bounded, however much it was. Pure. */
import type { Op } from '../plan/diff.js';

/** Of namespaces: a node has one for each container. */
const scopesMax = 8;

export class PassSummary {
  readonly #kinds = new Map<string, number>();
  readonly #scopes: string[] = [];

  /** What was done in a namespace. */
  add(scope: string, applied: readonly Op[]): void {
    if (applied.length > 0 && this.#scopes.length < scopesMax) this.#scopes.push(scope);
    for (const { op, object } of applied) {
      const kind = `${op} ${object.kind}`;
      this.#kinds.set(kind, (this.#kinds.get(kind) ?? 0) + 1);
    }
  }

  get fields(): { readonly kinds: Readonly<Record<string, number>>; readonly scopes: readonly string[] } {
    return { kinds: Object.fromEntries(this.#kinds), scopes: this.#scopes };
  }
}
