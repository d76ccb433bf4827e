/** What this node has been told, from session to session: a set that is complete comes in parts, and tells mostly what is known. */
import { isDeepStrictEqual } from 'node:util';
import { applyChanges, assignmentKey } from '../rpc/assignment.js';
import type { Assignment, Assignments, AssignmentsMessage } from '../rpc/assignment.js';

export class HeldAssignments {
  #known = new Map<string, Assignment>();
  /** A complete set that has not all come. */
  #coming: ComingSet | null = null;

  /**
   * Takes a message in. What a complete set repeats stays the value that it was: what others have made of the old values lives on, and
   * each of a hundred thousand would otherwise be held twice from the second session on.
   * @returns all that is known, the same map after a difference; null: a set has yet to come to its end
   */
  take({ complete, changes, more }: AssignmentsMessage): Assignments | null {
    // One that was cut off is forgotten: it is another session's.
    if (complete) this.#coming = new ComingSet(this.#known);
    if (this.#coming === null) applyChanges(this.#known, changes);
    else for (const { assignment } of changes) this.#coming.add(assignment);
    if (more) return null;
    this.#known = this.#coming?.assignments ?? this.#known;
    this.#coming = null;
    return this.#known;
  }
}

/** Takes keys and values of what was known before where they are equal. */
class ComingSet {
  readonly assignments = new Map<string, Assignment>();
  /** Managers say things in the same order: what was known beside what comes. */
  readonly #entries: Iterator<[string, Assignment]>;
  #beside: [string, Assignment] | undefined;

  constructor(private readonly before: Assignments) {
    this.#entries = before.entries();
    this.#next();
  }

  add(assignment: Assignment): void {
    const beside = this.#beside;
    // Without a look at its key, of which the map would keep another, longer form.
    if (beside && isDeepStrictEqual(beside[1], assignment)) return this.#keep(beside);
    const key = assignmentKey(assignment);
    const held = this.before.get(key);
    // What lies between is no more, or comes later and is looked up.
    if (held) while (this.#beside && this.#beside[1] !== held) this.#next();
    if (this.#beside && isDeepStrictEqual(held, assignment)) return this.#keep(this.#beside);
    this.assignments.set(key, held && isDeepStrictEqual(held, assignment) ? held : assignment);
  }

  #keep([key, assignment]: [string, Assignment]): void {
    this.assignments.set(key, assignment);
    this.#next();
  }

  #next(): void {
    const next = this.#entries.next();
    this.#beside = next.done ? undefined : next.value;
  }
}
