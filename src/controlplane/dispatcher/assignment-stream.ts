/**
 * The Assignments stream of one session: one complete set, in parts, then differences. At most ten messages a second:
 * the first change after a quiet time is sent at once, what follows within 100 ms goes together. The next part or difference
 * is made only when the peer has taken the last message, so a slow node costs no memory.
 */
import type { Clock } from '../../runtime/clock.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import { Turns } from '../../runtime/turns.js';
import { encodeTraces } from '../rpc/assignment.js';
import type { EncodedAssignmentsMessage } from '../rpc/assignment.js';
import type { AssignmentsRequest } from '../rpc/messages.js';
import type { Answers } from '../rpc/handlers.js';
import type { Change, Store, View } from '../store/store.js';
import type { Acknowledgements } from './acknowledgements.js';
import type { NodeAssignments } from './assignments.js';
import { tracesBetween } from './assignment-traces.js';
import { nodeAssignments } from './assignments.js';
import { encodedBetween, encodedParts } from './encoded-assignments.js';
import type { Session } from './sessions.js';
import { followShared } from './followed-assignments.js';
import type { SharedAssignments } from './shared-assignments.js';
import { sharedAssignments } from './shared-assignments.js';
import { StreamPace } from './stream-pace.js';

/** Swarm batches for as long. */
export const assignmentBatchMs = 100;
/**
 * Nodes to whom all is said at a time, and how long one of them keeps others waiting. After a change of leaders a thousand come
 * together: what each has to know is megabytes, and registrations and heartbeats are to be answered in between.
 */
const completeMax = 16;
const completeMsMax = 2_000;
/** Streams that are served before whatever else has come, heartbeats and answers about the manager's own lease, is heard. */
const servedInARow = 20;
/** Of more changes of the store that nobody has asked about, the whole is made anew. */
const changesMax = 10_000;

export interface AssignmentStreamsOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly observer?: Pick<DispatcherObserver, 'sent'>;
}

/** Is told what the dispatcher does. Must not throw. */
export interface DispatcherObserver {
  /** A message with assignments was made, of so many bytes but for its own. */
  sent(bytes: number): void;
  /** A node has programmed what a message told it. */
  acknowledged(tookMs: number): void;
}

export class AssignmentStreams implements Disposable {
  /** What is the same for every node, as it was before {@link #changes}; null: to be made of a whole view. */
  #shared: SharedAssignments | null = null;
  #changes: Change[] = [];
  readonly #turns: Turns;
  readonly #pace: StreamPace;
  readonly #unsubscribe: () => void;

  constructor(
    private readonly options: AssignmentStreamsOptions,
    private readonly acknowledgements: Acknowledgements,
  ) {
    this.#turns = new Turns(completeMax, completeMsMax, options.clock);
    this.#pace = new StreamPace({ ...options, gapMs: assignmentBatchMs, inARow: servedInARow });
    this.#unsubscribe = options.store.subscribe(({ changes }) => {
      if (this.#shared === null) return;
      for (const change of changes) this.#changes.push(change);
      if (this.#changes.length <= changesMax) return;
      this.#shared = null;
      this.#changes = [];
    });
  }

  [Symbol.dispose](): void {
    this.#pace[Symbol.dispose]();
    this.#unsubscribe();
  }

  /** @param takes what the node understands */
  async serve(
    session: Session,
    { write, signal }: Answers<EncodedAssignmentsMessage>,
    takes: Pick<AssignmentsRequest, 'takesParts' | 'takesPacked'>,
  ): Promise<void> {
    const { store, log, observer } = this.options;
    const { acknowledgements } = this;
    const { nodeId } = session;
    const over = AbortSignal.any([signal, session.signal]);
    using place = this.#pace.enter(over);
    acknowledgements.begin(session);
    let turn: Disposable | undefined;
    try {
      // What is said is what is known then.
      turn = await this.#turns.take(over).catch(() => undefined);
      let known: { readonly all: NodeAssignments | null } | undefined;
      for (let sequence = 0; !over.aborted;) {
        await place.rest();
        if (over.aborted) break;
        const view = store.view();
        const { revision } = view;
        const all = nodeAssignments(view, nodeId, this.#sharedOf(view), known?.all);
        const changes = known && encodedBetween(known.all, all, nodeId);
        const traces = known && changes?.length ? tracesBetween(known.all, all, view) : [];
        const send = (encoded: readonly Buffer[], more: boolean): Promise<void> => {
          observer?.sent(encoded.reduce((bytes, { length }) => bytes + length, 0));
          return write({
            complete: sequence === 0,
            appliesTo: sequence,
            resultsIn: ++sequence,
            revision,
            encoded,
            more,
            ...(traces.length > 0 && { traces: encodeTraces(traces) }),
          });
        };
        if (changes?.length === 0) acknowledgements.compared(session, revision);
        else {
          acknowledgements.sending(session, revision);
          if (changes) await send(changes, false);
          else await sendParts(encodedParts(all, nodeId, takes.takesPacked), takes.takesParts, send);
          turn?.[Symbol.dispose]();
          decide(log, 'assignments.sent', { node: nodeId, sequence, revision }, { traces });
        }
        known = { all };
      }
      session.signal.throwIfAborted();
    } finally {
      turn?.[Symbol.dispose]();
      acknowledgements.end(session);
    }
  }

  #sharedOf(view: View): SharedAssignments {
    const shared = this.#shared ? followShared(this.#shared, this.#changes, view) : sharedAssignments(view);
    this.#shared = shared;
    this.#changes = [];
    return shared;
  }
}

/** All parts, the last one marked as such; as one, where the node understands no other. */
async function sendParts(
  parts: Iterable<readonly Buffer[]>,
  takesParts: boolean,
  send: (encoded: readonly Buffer[], more: boolean) => Promise<void>,
): Promise<void> {
  if (!takesParts) return send([...parts].flat(), false);
  let last: readonly Buffer[] | undefined;
  for (const part of parts) {
    if (last) await send(last, true);
    last = part;
  }
  await send(last ?? [], false);
}
