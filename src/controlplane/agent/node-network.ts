/**
 * This node's network as its tasks see it: holds the assignments, hands the assembled state to skep-dataplane (whole,
 * coalesced, retried until it is taken), and lets a task wait for what it needs: its overlays to be known, its
 * endpoint to be programmed, its endpoint to have stopped serving.
 */
import type { TaskId } from '../../model/ids.js';
import { isEncrypted, refusalWithoutEsp } from '../../model/encryption.js';
import { OutsideError, SkepError } from '../../model/errors.js';
import type { TraceId } from '../../model/trace.js';
import { joinTraces } from '../../model/trace.js';
import { shareState } from '../../dataplane/share-state.js';
import type { NodeNetworkState } from '../../dataplane/state.js';
import type { Clock } from '../../runtime/clock.js';
import { Deadline } from '../../runtime/deadline.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import { runLoop, Trigger } from '../../runtime/loop.js';
import { Waiters } from '../../runtime/waiters.js';
import type { Assignment, AssignmentChange, AssignmentItems, Assignments } from '../rpc/assignment.js';
import { assembleNodeNetworkState, changeNodeNetworkState, itemsOf } from './node-state.js';
import type { TaskBarrier } from './task-barrier.js';

/** skep-dataplane, as the agent uses it. */
export interface Dataplane {
  /**
   * Resolves once the state is on disk there.
   * @param traces of the requests that made it another than the last one, for its log
   */
  setState(state: NodeNetworkState, traces: readonly TraceId[]): Promise<void>;
  /** Resolves once the kernel equals a state of at least `revision` and, where given, the task's sandboxes are programmed. */
  waitProgrammed(
    what: { readonly revision: number; readonly taskId?: TaskId },
    signal: AbortSignal,
  ): Promise<unknown>;
}

/** What a task asks of its node's network. */
export interface TaskNetwork {
  /** The overlays by id, once all are known here; null if that takes longer than `waitMs`. */
  overlays(
    networkIds: readonly string[],
    waitMs: number,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, AssignmentItems['overlay']> | null>;
  /** Overlays this node takes part in, by id. */
  knownOverlays(): ReadonlyMap<string, AssignmentItems['overlay']>;
  /** Throws `failedPrecondition`, for good, where this node's kernel cannot have the network. */
  requireEsp(overlay: AssignmentItems['overlay']): void;
  /** Resolves once the task's endpoints on `networkIds` are programmed in this node's kernel, and in those of all nodes that answer. */
  endpointsProgrammed(taskId: TaskId, networkIds: readonly string[], signal: AbortSignal): Promise<void>;
  /** Resolves once the running task's sandboxes are programmed. */
  sandboxProgrammed(taskId: TaskId, signal: AbortSignal): Promise<void>;
  /** The task's process has ended: this node sends it nothing from now on. Other nodes are told by the managers. */
  ended(taskId: TaskId): void;
  /** Resolves once no node sends the running task a new flow; goes on without those that do not answer in time. */
  drained(taskId: TaskId, signal: AbortSignal): Promise<void>;
}

export interface NodeNetworkOptions {
  readonly dataplane: Dataplane;
  readonly barrier: Pick<TaskBarrier, 'wait'>;
  /** Whether this node's kernel can encrypt networks. */
  readonly hasEsp: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export class NodeNetwork implements TaskNetwork {
  #assignments: Assignments = new Map<string, Assignment>();
  /** Those among the assignments, by id. */
  #overlays: ReadonlyMap<string, AssignmentItems['overlay']> = new Map();
  #revision = 0;
  /** Tasks of this node whose process has ended, and that its assignments still call serving. */
  readonly #ended = new Set<TaskId>();
  /** Overlays of an earlier life, until a manager says which there are. */
  #recalled: ReadonlyMap<string, AssignmentItems['overlay']> | null = null;
  #state: NodeNetworkState | undefined;
  /** Of what has changed in the state since the dataplane took the last one. */
  #traces: readonly TraceId[] = [];
  /** Revision of the last state that the dataplane took. */
  #handedOver = 0;
  readonly #push = new Trigger();
  /** They look after the assignments or what the dataplane holds have changed. */
  readonly #waiters = new Waiters();

  constructor(private readonly options: NodeNetworkOptions) {}

  /**
   * What this node has to know from now on.
   * @param changes what has changed in it since the last call; null: anything may have
   * @param traces of the requests that the changes come from
   */
  set(
    assignments: Assignments,
    revision: number,
    changes: readonly AssignmentChange[] | null = null,
    traces: readonly TraceId[] = [],
  ): void {
    this.#recalled = null;
    this.#traces = joinTraces(this.#traces, traces);
    this.#assignments = assignments;
    if (changes?.every(({ assignment }) => assignment.kind !== 'overlay') !== true)
      this.#overlays = new Map(itemsOf(assignments.values(), 'overlay').map((item) => [item.id, item]));
    this.#revision = revision;
    this.#state = this.#stateAfter(changes);
    for (const taskId of this.#ended) if (!this.#withdraw(taskId)) this.#ended.delete(taskId);
    this.#push.fire();
    this.#waiters.check();
  }

  ended(taskId: TaskId): void {
    if (!this.#withdraw(taskId)) return;
    if (!this.#ended.has(taskId)) decide(this.options.log, 'endpoint.withdrawn', { task: taskId });
    this.#ended.add(taskId);
    this.#push.fire();
  }

  /** @returns whether an assignment calls the task serving */
  #withdraw(taskId: TaskId): boolean {
    const changes = [...this.knownOverlays().keys()].flatMap((id): AssignmentChange[] => {
      const assignment = this.#assignments.get(`endpoint/${id}/${taskId}`);
      if (assignment?.kind !== 'endpoint' || !assignment.item.serving) return [];
      return [
        { remove: false, assignment: { kind: 'endpoint', item: { ...assignment.item, serving: false } } },
      ];
    });
    if (changes.length === 0) return false;
    if (this.#state)
      this.#state = changeNodeNetworkState(this.#state, changes, this.#revision) ?? this.#state;
    return true;
  }

  /** What stays is the same as before, so that nobody looks at it again on its way into the kernel. */
  #stateAfter(changes: readonly AssignmentChange[] | null): NodeNetworkState | undefined {
    const before = this.#state;
    const changed = before && changes && changeNodeNetworkState(before, changes, this.#revision);
    if (changed) return changed;
    const state = assembleNodeNetworkState(this.#programmable(), this.#revision);
    return state && shareState(before ?? null, state);
  }

  /**
   * No manager has said yet what this node has to know: the dataplane keeps what it was last given, and of that its tasks need to
   * know these overlays.
   */
  recall(overlays: readonly AssignmentItems['overlay'][]): void {
    if (this.#state !== undefined) return;
    this.#recalled = new Map(overlays.map((overlay) => [overlay.id, overlay]));
    this.#waiters.check();
  }

  /** Without the encrypted networks where they cannot be had: the tasks on them are refused, and the rest goes on. */
  #programmable(): Assignments {
    if (this.options.hasEsp()) return this.#assignments;
    return new Map(
      [...this.#assignments].filter(([, { kind, item }]) => kind !== 'overlay' || !isEncrypted(item)),
    );
  }

  /** Throws `failedPrecondition`, for good, where this node's kernel cannot have the network. */
  requireEsp(overlay: AssignmentItems['overlay']): void {
    if (isEncrypted(overlay) && !this.options.hasEsp())
      throw new SkepError('failedPrecondition', refusalWithoutEsp(overlay.name));
  }

  knownOverlays(): ReadonlyMap<string, AssignmentItems['overlay']> {
    return this.#recalled ?? this.#overlays;
  }

  /** Hands states over until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { dataplane, clock, log } = this.options;
    await runLoop(
      {
        name: 'node-network',
        trigger: this.#push,
        clock,
        log,
        resyncMs: 60_000,
        gapMs: 5,
        retryMsMax: 2_000,
      },
      async () => {
        const state = this.#state;
        if (!state) return;
        // Also when nothing changed: a dataplane that lost its state gets it back within a resync.
        const traces = this.#traces;
        this.#traces = [];
        await dataplane.setState(state, traces).catch((err: unknown) => {
          this.#traces = joinTraces(traces, this.#traces);
          throw err;
        });
        this.#handedOver = state.revision;
        this.#waiters.check();
      },
      signal,
    );
  }

  async overlays(
    networkIds: readonly string[],
    waitMs: number,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, AssignmentItems['overlay']> | null> {
    using deadline = new Deadline(this.options.clock, waitMs);
    const allKnown = (): boolean => {
      const known = this.knownOverlays();
      return networkIds.every((id) => known.has(id));
    };
    try {
      await this.#waiters.until(allKnown, AbortSignal.any([signal, deadline.signal]));
    } catch (err) {
      if (deadline.hasPassed && !signal.aborted) return null;
      throw err;
    }
    return this.knownOverlays();
  }

  async endpointsProgrammed(
    taskId: TaskId,
    networkIds: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    if (networkIds.length === 0) return;
    await this.#waiters.until(
      () =>
        networkIds.every((id) => this.#assignments.has(`endpoint/${id}/${taskId}`)) && this.#isHandedOver(),
      signal,
    );
    await this.options.dataplane.waitProgrammed({ revision: this.#handedOver }, signal);
    await this.options.barrier.wait(taskId, false, signal);
  }

  async sandboxProgrammed(taskId: TaskId, signal: AbortSignal): Promise<void> {
    // Recalled: whatever state the dataplane has kept.
    await this.#waiters.until(() => this.#recalled !== null || this.#isHandedOver(), signal);
    await this.options.dataplane.waitProgrammed({ revision: this.#handedOver, taskId }, signal);
  }

  async drained(taskId: TaskId, signal: AbortSignal): Promise<void> {
    await this.options.barrier.wait(taskId, true, signal);
  }

  /** Resolves with the revision of a state that the kernel equals, once that is above `revision`. */
  async programmedPast(revision: number, signal: AbortSignal): Promise<number> {
    await this.#waiters.until(() => this.#state !== undefined && this.#handedOver > revision, signal);
    const handedOver = this.#handedOver;
    await this.options.dataplane.waitProgrammed({ revision: handedOver }, signal);
    return handedOver;
  }

  #isHandedOver(): boolean {
    return this.#state !== undefined && this.#handedOver >= this.#revision;
  }
}

/** Runs `wait` for at most `waitMs`; then throws an error that is worth a retry. */
export async function atMostMs<T>(
  clock: Clock,
  waitMs: number,
  what: string,
  signal: AbortSignal,
  wait: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  using deadline = new Deadline(clock, waitMs);
  try {
    return await wait(AbortSignal.any([signal, deadline.signal]));
  } catch (err) {
    if (signal.aborted || !deadline.hasPassed) throw err;
    throw new OutsideError(`${what} took longer than ${waitMs / 1000} s`, true, { cause: err });
  }
}
