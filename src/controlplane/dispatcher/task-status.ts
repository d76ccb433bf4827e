/**
 * Agents' reports on their tasks, latest per task, written in batches: one store transaction for all nodes every
 * 100 ms at most. A report is acknowledged once it is in the store, so an agent whose report got lost sends it again.
 * Law: a task's observed state never goes back; a report that would is dropped.
 */
import { isDeepStrictEqual } from 'node:util';
import type { NodeId, TaskId } from '../../model/ids.js';
import { SkepError } from '../../model/errors.js';
import type { Task, TaskStatus } from '../../model/objects.js';
import { compareStates, taskStates } from '../../model/task-state.js';
import type { TaskState } from '../../model/task-state.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { TaskStatusUpdate } from '../rpc/messages.js';
import type { Store } from '../store/store.js';
import { maxWrites } from '../store/store.js';
import { StoreBatches } from './store-batches.js';

/** Swarm's dispatcher batches for as long. */
export const statusBatchMs = 100;

/** Reports that may wait at once, over all nodes; more are refused until the store has caught up. Swarm's number. */
const pendingMax = 10_000;

export interface TaskStatusOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
}

export class TaskStatusWriter {
  readonly #batches: StoreBatches<TaskId, TaskStatusUpdate>;

  constructor(private readonly options: TaskStatusOptions) {
    this.#batches = new StoreBatches<TaskId, TaskStatusUpdate>({
      clock: options.clock,
      gapMs: statusBatchMs,
      write: (reports) => this.#write([...reports.values()]),
    });
  }

  /** Resolves when the reports are in the store. Refuses all of them if one is about another node's task. */
  async report(nodeId: NodeId, updates: readonly TaskStatusUpdate[]): Promise<void> {
    const view = this.options.store.view();
    const known = updates.filter(({ taskId, state }) => {
      const task = view.get('task', taskId as TaskId);
      if (task && task.nodeId !== nodeId)
        throw new SkepError('permissionDenied', 'cannot update a task not assigned this node');
      if (!(state in taskStates)) throw new SkepError('invalidArgument', `unknown task state: ${state}`);
      return task !== undefined; // deleted meanwhile: nothing left to say
    });
    if (known.length === 0) return;
    if (this.#batches.waiting + known.length > pendingMax)
      throw new SkepError('unavailable', 'too many task status updates are waiting');
    const { items: reports, done } = this.#batches.open();
    for (const update of known)
      if (!isOvertaken(update, reports.get(update.taskId as TaskId)))
        reports.set(update.taskId as TaskId, update);
    await done;
  }

  async #write(all: readonly TaskStatusUpdate[]): Promise<void> {
    const { store, clock } = this.options;
    for (let i = 0; i < all.length; i += maxWrites) {
      const part = all.slice(i, i + maxWrites);
      await store.update((tx) => {
        for (const update of part) {
          const task = tx.get('task', update.taskId as TaskId);
          const status = task && nextStatus(task, update, clock.nowMs());
          if (task && status) tx.update('task', { ...task, status });
        }
      });
    }
  }
}

/** A call that arrives twice can come after the next one of its node: the later state waits already, and is the one to be written. */
const isOvertaken = (update: TaskStatusUpdate, waiting: TaskStatusUpdate | undefined): boolean =>
  waiting !== undefined && compareStates(update.state as TaskState, waiting.state as TaskState) < 0;

/** The status to store, or undefined for a report that is old or says nothing new. */
export function nextStatus(
  { status }: Pick<Task, 'status'>,
  update: TaskStatusUpdate,
  nowMs: number,
): TaskStatus | undefined {
  const state = update.state as TaskState;
  if (compareStates(state, status.state) < 0) return undefined;
  const runningAtMs = status.runningAtMs ?? (state === 'running' ? nowMs : undefined);
  const next: TaskStatus = {
    timestampMs: update.timestampMs,
    appliedAtMs: nowMs,
    ...(runningAtMs === undefined ? {} : { runningAtMs }),
    state,
    message: update.message,
    ...(update.err === '' ? {} : { err: update.err }),
    ...(update.draining ? { draining: true } : {}),
    ...(update.container ? { container: { ...update.container } } : {}),
    ...(update.ports.length === 0 ? {} : { ports: update.ports.map(hostPort) }),
  };
  const same = isDeepStrictEqual({ ...next, appliedAtMs: 0 }, { ...status, appliedAtMs: 0 });
  return same ? undefined : next;
}

const hostPort = (port: TaskStatusUpdate['ports'][number]): NonNullable<TaskStatus['ports']>[number] => ({
  protocol: port.protocol as 'tcp' | 'udp' | 'sctp',
  targetPort: port.targetPort,
  publishedPort: port.publishedPort,
  publishMode: 'host',
});
