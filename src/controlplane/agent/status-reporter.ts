/**
 * What the managers do not know yet of this node's tasks: the latest report of each, kept until a manager has it.
 * Survives sessions, so nothing is lost while the node is cut off; bounded by the number of tasks.
 */
import type { TaskId } from '../../model/ids.js';
import { SkepError } from '../../model/errors.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { Trigger } from '../../runtime/loop.js';
import type { TaskStatusUpdate } from '../rpc/messages.js';
import type { TaskReport } from './task-runner.js';

/** Reports in one call. */
const batchMax = 1_000;

export class StatusReporter {
  readonly #pending = new Map<TaskId, TaskReport>();
  readonly #added = new Trigger();

  constructor(private readonly options: { readonly clock: Clock; readonly log: Log }) {}

  readonly put = (taskId: TaskId, report: TaskReport): void => {
    this.#pending.set(taskId, report);
    this.#added.fire();
  };

  /** Sends until the signal aborts or `send` fails; what was not accepted stays. */
  async run(
    send: (updates: readonly TaskStatusUpdate[]) => Promise<unknown>,
    signal: AbortSignal,
  ): Promise<void> {
    while (!signal.aborted) {
      const batch = [...this.#pending].slice(0, batchMax);
      if (batch.length === 0) {
        await this.#added.wait(60_000, this.options.clock, signal);
        continue;
      }
      try {
        await send(batch.map(([taskId, report]) => toUpdate(taskId, report)));
      } catch (err) {
        // Not ours to report: would be refused for ever and hold up the others.
        if (!(err instanceof SkepError) || err.kind !== 'permissionDenied') throw err;
        this.options.log.error({ err, tasks: batch.map(([id]) => id) }, 'task reports refused');
      }
      for (const [taskId, report] of batch)
        if (this.#pending.get(taskId) === report) this.#pending.delete(taskId);
    }
  }
}

const toUpdate = (taskId: TaskId, report: TaskReport): TaskStatusUpdate => ({
  taskId,
  timestampMs: report.timestampMs,
  state: report.state,
  message: report.message,
  err: report.err ?? '',
  draining: report.draining ?? false,
  container: report.container ?? null,
  ports: (report.ports ?? []).map(({ protocol, targetPort, publishedPort }) => ({
    protocol,
    targetPort,
    publishedPort: publishedPort ?? 0,
  })),
});
