/** What the reconciler remembers of one namespace between passes: whether it needs a look, never what it holds. */
import type { OutsideError } from '../../model/errors.js';
import type { Scope } from '../plan/node.js';

export class ScopeRecord {
  scope: Scope | null = null;
  /** Needs a look although its plan may not have changed. */
  dirty = true;
  /** Key of what was desired when the namespace was last seen or brought equal to its plan; null before. */
  programmedKey: string | null = null;
  /** Key of that plan. */
  planKey: string | null = null;
  /** Nothing is awaited any more that the engine has yet to do. */
  complete = false;
  /** Ids of the endpoints that can be reached: by their port in an overlay, by their interface in a container. */
  present: readonly string[] = [];
  error: OutsideError | null = null;
  failures = 0;
  /** Earliest time of the next try after a failure, or while something is awaited. */
  retryAtMs = 0;
  /** Ops are under way: notifications may be of our own changes. */
  applying = false;
  /** Some came, and not all of them need have been of our own. */
  notified = false;
  watch: Disposable | null = null;

  get isProgrammed(): boolean {
    return this.error === null && this.programmedKey !== null;
  }

  /** Not before then, unless it is told of a change first. */
  lookAgain(atMs: number): void {
    if (this.dirty) return;
    this.dirty = true;
    this.retryAtMs = atMs;
  }

  isDue(key: string, nowMs: number): boolean {
    if (this.error !== null) return nowMs >= this.retryAtMs;
    return this.programmedKey !== key || (this.dirty && nowMs >= this.retryAtMs);
  }
}
