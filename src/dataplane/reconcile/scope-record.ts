/** What the reconciler remembers of one namespace between passes: whether it needs a look, never what it holds. */
import type { OutsideError } from '../../model/errors.js';
import type { Scope } from '../plan/node.js';

export class ScopeRecord {
  scope: Scope | null = null;
  /** Needs a look although its plan may not have changed. */
  dirty = true;
  /** The namespace was seen or brought equal to its plan, and the plan has not changed since but in what was programmed. */
  programmed = false;
  /** Key of what in that plan hangs on what was found there. */
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
  /** Rules were changed there since they were last asked for. */
  rulesTold = false;
  watch: Disposable | null = null;

  get isProgrammed(): boolean {
    return this.error === null && this.programmed;
  }

  /** Not before then, unless it is told of a change first. */
  lookAgain(atMs: number): void {
    if (this.dirty) return;
    this.dirty = true;
    this.retryAtMs = atMs;
  }

  /** The namespace is to be looked at. */
  isDue(nowMs: number): boolean {
    if (this.error !== null) return nowMs >= this.retryAtMs;
    return !this.programmed || (this.dirty && nowMs >= this.retryAtMs);
  }
}
