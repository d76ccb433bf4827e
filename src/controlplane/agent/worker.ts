/**
 * All tasks of this node: a runner for each that the manager assigned, and the containers that belong to none removed.
 * Being cut off from the managers changes nothing here; being restarted adopts what runs.
 */
import type { NodeId, TaskId } from '../../model/ids.js';
import type { Task } from '../../model/objects.js';
import { atLeast, isTerminal } from '../../model/task-state.js';
import { taskLabels } from '../../model/task-labels.js';
import { backoffMs } from '../../runtime/backoff.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { Trigger } from '../../runtime/loop.js';
import type { Engine } from '../dockerd/client.js';
import type { LocalNetworks } from './local-networks.js';
import type { PayloadFiles } from './payload-files.js';
import type { ControllerCalls, TaskController } from './task-controller.js';
import type { TaskReport } from './task-runner.js';
import { TaskRunner } from './task-runner.js';

const retryMsMax = 10_000;

export interface WorkerOptions {
  readonly nodeId: NodeId;
  readonly engine: Pick<Engine, 'listContainers' | 'removeContainer'>;
  readonly localNetworks: Pick<LocalNetworks, 'sweep'>;
  readonly payloadFiles: Pick<PayloadFiles, 'list' | 'remove'>;
  readonly controllerFor: (task: Task, calls: ControllerCalls) => TaskController;
  readonly report: (taskId: TaskId, report: TaskReport) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Where the session hands assignments to. */
export interface Worker {
  /** All tasks of this node as of now; `complete` says that it is a new session's first word. */
  assign(tasks: readonly Task[], complete: boolean): void;
}

export class TaskWorker implements Worker {
  readonly #runners = new Map<TaskId, TaskRunner>();
  /** Removals under way. */
  readonly #removals = new Set<Promise<void>>();
  /** Those who wait for some task to get on. */
  readonly #progressed = new Set<Trigger>();
  readonly #closed = new AbortController();
  /** Tasks that ran when the machine last ended. */
  #again: ReadonlySet<TaskId> = new Set();

  constructor(private readonly options: WorkerOptions) {}

  /**
   * Goes on with the tasks of an earlier process of this node, before any manager says which they are.
   * @param again their processes may have ended with the machine, and are started again
   */
  resume(tasks: readonly Task[], again: ReadonlySet<TaskId>): void {
    this.#again = again;
    for (const task of tasks) {
      if (this.#runners.has(task.id)) continue;
      this.#start(task);
      // A report may have been lost with the process that wanted to make it. Not of one that has to start first.
      const { appliedAtMs: _a, runningAtMs: _r, ...report } = task.status;
      if (isTerminal(report.state) || !again.has(task.id)) this.options.report(task.id, report);
    }
  }

  assign(tasks: readonly Task[], complete: boolean): void {
    const assigned = new Set(tasks.map(({ id }) => id));
    for (const task of tasks) {
      const runner = this.#runners.get(task.id);
      if (runner) runner.update(task);
      else this.#start(task);
    }
    for (const [id, runner] of this.#runners) {
      if (assigned.has(id)) continue;
      this.#runners.delete(id);
      this.#track(() => runner.remove(), { task: id });
    }
    if (complete) this.#track(() => this.#removeStrays(assigned), {});
  }

  runner(id: TaskId): TaskRunner | undefined {
    return this.#runners.get(id);
  }

  /** Resolves when the task has been started or has ended, or at once if it is not of this node. */
  async untilStarted(id: TaskId, signal: AbortSignal): Promise<void> {
    const progressed = new Trigger();
    this.#progressed.add(progressed);
    try {
      for (;;) {
        signal.throwIfAborted();
        const runner = this.#runners.get(id);
        if (!runner || atLeast(runner.state, 'running') || (await runner.isStarted())) return;
        await progressed.wait(60_000, this.options.clock, signal);
      }
    } finally {
      this.#progressed.delete(progressed);
    }
  }

  /** Stops driving tasks; containers stay as they are. */
  async close(): Promise<void> {
    this.#closed.abort(new Error('closed'));
    await Promise.all([...this.#runners.values()].map((runner) => runner.close()));
    await Promise.allSettled(this.#removals);
  }

  #start(task: Task): void {
    const { controllerFor, clock, log } = this.options;
    const wake = (): void => {
      for (const trigger of this.#progressed) trigger.fire();
    };
    const report = (id: TaskId, what: TaskReport): void => {
      this.options.report(id, what);
      wake();
    };
    const controller = controllerFor(task, {
      started: wake,
      draining: (container) => runner.drain(container),
    });
    const again = this.#again.has(task.id);
    const runner: TaskRunner = new TaskRunner(task, { controller, report, again, clock, log });
    this.#runners.set(task.id, runner);
  }

  /** Containers of this node's tasks that no manager knows of any more, and files of their secrets. */
  async #removeStrays(assigned: ReadonlySet<TaskId>): Promise<void> {
    const keep = (taskId: TaskId): boolean => assigned.has(taskId) || this.#runners.has(taskId);
    await removeTaskContainers(this.options, keep);
    await removeTaskFiles(this.options.payloadFiles, keep);
    await this.options.localNetworks.sweep();
  }

  /** Tries until it is done, for the engine may be away for a while. */
  #track(remove: () => Promise<void>, about: object): void {
    const { clock, log } = this.options;
    const attempt = async (): Promise<void> => {
      for (let failures = 1; !this.#closed.signal.aborted; failures++) {
        try {
          return await remove();
        } catch (err) {
          log.warn({ ...about, failures, err }, 'removing containers failed, will retry');
          await clock.sleep(backoffMs(failures, retryMsMax), this.#closed.signal).catch(() => undefined);
        }
      }
    };
    const tracked = attempt().finally(() => this.#removals.delete(tracked));
    this.#removals.add(tracked);
  }
}

/** Removes the containers of this node's tasks but for those to keep. */
export async function removeTaskContainers(
  { engine, nodeId, log }: Pick<WorkerOptions, 'engine' | 'nodeId' | 'log'>,
  keep: (taskId: TaskId) => boolean,
): Promise<void> {
  for (const { id, labels } of await engine.listContainers({ [taskLabels.nodeId]: nodeId })) {
    const taskId = labels[taskLabels.taskId] as TaskId | undefined;
    if (!taskId || keep(taskId)) continue;
    log.info({ task: taskId, container: id }, 'removing the container of a task that is gone');
    await engine.removeContainer(id);
  }
}

/** Removes the files of tasks' secrets and configs but for those of tasks to keep. */
export async function removeTaskFiles(
  payloadFiles: WorkerOptions['payloadFiles'],
  keep: (taskId: TaskId) => boolean,
): Promise<void> {
  for (const taskId of await payloadFiles.list()) if (!keep(taskId)) await payloadFiles.remove(taskId);
}
