/**
 * The Assignments stream of one session: one complete message, then differences. At most ten messages a second:
 * the first change after a quiet time is sent at once, what follows within 100 ms goes together. The next difference
 * is computed only when the peer has taken the last message, so a slow node costs no memory.
 */
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { Trigger } from '../../runtime/loop.js';
import type { Assignment } from '../rpc/assignment.js';
import { formatChange } from '../rpc/assignment.js';
import type { WireAssignmentsMessage } from '../rpc/assignment.js';
import type { Answers } from '../rpc/handlers.js';
import type { Store, View } from '../store/store.js';
import type { Acknowledgements } from './acknowledgements.js';
import { assignmentsFor, countByKind, diffAssignments, sharedAssignments } from './assignments.js';
import type { SharedAssignments } from './assignments.js';
import type { Session } from './sessions.js';

/** Swarm batches for as long. */
export const assignmentBatchMs = 100;

export interface AssignmentStreamsOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
}

export class AssignmentStreams {
  /** All streams of one revision share the part that is the same for every node. */
  #shared: { readonly revision: number; readonly value: SharedAssignments } | undefined;

  constructor(
    private readonly options: AssignmentStreamsOptions,
    private readonly acknowledgements: Acknowledgements,
  ) {}

  async serve(session: Session, { write, signal }: Answers<WireAssignmentsMessage>): Promise<void> {
    const { store, clock, log } = this.options;
    const { acknowledgements } = this;
    const changed = new Trigger();
    const unsubscribe = store.subscribe(changed.fire);
    const over = AbortSignal.any([signal, session.signal]);
    acknowledgements.begin(session);
    try {
      let known: Map<string, Assignment> | undefined;
      for (let sequence = 0; !over.aborted;) {
        const view = store.view();
        const after = assignmentsFor(view, session.nodeId, this.#sharedOf(view));
        const changes = diffAssignments(known ?? new Map(), after);
        if (known && changes.length === 0) acknowledgements.compared(session, view.revision);
        else {
          acknowledgements.sending(session, view.revision);
          await write({
            complete: !known,
            appliesTo: sequence,
            resultsIn: ++sequence,
            revision: view.revision,
            changes: changes.map(formatChange),
          });
          log.debug({ node: session.nodeId, sequence, changes: countByKind(changes) }, 'assignments sent');
        }
        known = after;
        await clock.sleep(assignmentBatchMs, over).catch(() => undefined);
        await changed.wait(3_600_000, clock, over);
      }
      session.signal.throwIfAborted();
    } finally {
      unsubscribe();
      acknowledgements.end(session);
    }
  }

  #sharedOf(view: View): SharedAssignments {
    if (this.#shared?.revision !== view.revision)
      this.#shared = { revision: view.revision, value: sharedAssignments(view) };
    return this.#shared.value;
  }
}
