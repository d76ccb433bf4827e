/**
 * Drives one task: plans a step, does it, reports, until the task has ended. A change of what is wanted interrupts a
 * step only to shut down; steps that change the engine are never left half done, they end first.
 */
import type { TaskId } from '../../model/ids.js';
import type { Task, TaskStatus } from '../../model/objects.js';
import type { TaskState } from '../../model/task-state.js';
import type { TraceId } from '../../model/trace.js';
import { atLeast, compareStates } from '../../model/task-state.js';
import type { Clock } from '../../runtime/clock.js';
import { asError, decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import { Trigger } from '../../runtime/loop.js';
import type { TaskContainer, TaskController } from './task-controller.js';
import type { TaskProgress, TaskStep } from './task-machine.js';
import { afterFailure, afterSuccess, isTransient, nextStep, resumeAt } from './task-machine.js';

/** What a task is at, as the manager is told. */
export type TaskReport = Omit<TaskStatus, 'appliedAtMs' | 'runningAtMs'>;

/** Swarm's agent tries again about once a second. */
const retryMs = 1_000;

export interface TaskRunnerOptions {
  readonly controller: TaskController;
  readonly report: (taskId: TaskId, report: TaskReport) => void;
  /** The machine was started anew, and the task is to go on: its process is started again if it ended with the machine. */
  readonly again?: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export class TaskRunner {
  #desired: TaskState;
  /** Of the request that the present desire comes from. */
  #trace: TraceId | undefined;
  #progress: TaskProgress;
  readonly #changed = new Trigger();
  readonly #closed = new AbortController();
  /** Aborts the step under way. */
  #interrupt = new AbortController();
  #stopping = false;
  #draining = false;
  #again: boolean;
  /** What the last step made of it; undefined where nothing is known but by asking the engine. */
  #container: TaskContainer | undefined;
  readonly #ended: Promise<void>;

  constructor(
    readonly task: Task,
    private readonly options: TaskRunnerOptions,
  ) {
    this.#desired = task.desiredState;
    this.#trace = task.trace;
    this.#again = options.again ?? false;
    const { state, message, err } = task.status;
    this.#progress = { state, message, ...(err === undefined ? {} : { err }) };
    this.#ended = this.#run();
    // A bug ends the process.
    this.#ended.catch((failure: unknown) =>
      setImmediate(() => {
        throw failure;
      }),
    );
  }

  get state(): TaskState {
    return this.#progress.state;
  }

  /** Whether the task's process has been started, ended or not. */
  async isStarted(): Promise<boolean> {
    const container = await this.options.controller.container();
    return container !== undefined && container.status !== 'created';
  }

  /** Takes over what is wanted of the task. It only ever moves on. */
  update({ desiredState, trace }: Task): void {
    if (compareStates(desiredState, this.#desired) <= 0) return;
    this.#desired = desiredState;
    this.#trace = trace ?? this.#trace;
    // Stopping is not interrupted by the wish to stop and forget.
    if (atLeast(desiredState, 'shutdown') && !this.#stopping)
      this.#interrupt.abort(new Error('no longer wanted'));
    this.#changed.fire();
  }

  /**
   * Lets the manager know that nothing is to be sent to the running task, although it is desired to run: it is about to be stopped, or
   * its process has ended.
   * @param container as it was; an engine that takes a container apart does not tell of it
   */
  drain(container: TaskContainer): void {
    if (this.#draining || this.#progress.state !== 'running') return;
    this.#draining = true;
    this.#container = container;
    void this.#report();
  }

  /** Stops driving the task; its container stays as it is. */
  async close(): Promise<void> {
    this.#closed.abort(new Error('closed'));
    await this.#ended;
  }

  /** Stops driving the task and removes its container. */
  async remove(): Promise<void> {
    await this.close();
    await this.options.controller.remove();
  }

  async #run(): Promise<void> {
    const { clock } = this.options;
    const closed = this.#closed.signal;
    await this.#resume();
    while (!closed.aborted) {
      const step = nextStep(this.#progress.state, this.#desired);
      if (step === 'none') {
        if (atLeast(this.#progress.state, 'complete')) return this.#release();
        await this.#changed.wait(3_600_000, clock, closed);
        continue;
      }
      await this.#take(step);
    }
  }

  /** Finds out where the task is; keeps asking while the engine is away. */
  async #resume(): Promise<void> {
    const { controller, clock } = this.options;
    if (atLeast(this.#progress.state, 'complete')) return;
    while (!this.#closed.signal.aborted) {
      try {
        this.#progress = resumeAt(this.#progress, await controller.container(), this.#again);
        if (this.#progress.state !== 'starting') this.#again = false;
        return;
      } catch (err) {
        this.#log().warn({ err }, 'cannot look for the container, will retry');
        await clock.sleep(retryMs, this.#closed.signal).catch(() => undefined);
      }
    }
  }

  async #take(step: Exclude<TaskStep, 'none'>): Promise<void> {
    const { log, clock } = this.options;
    const { id, serviceName } = this.task;
    const about = { task: id, service: serviceName, step };
    this.#interrupt = new AbortController();
    this.#stopping = step === 'shutdown';
    const signal = AbortSignal.any([this.#interrupt.signal, this.#closed.signal]);
    try {
      await this.#do(step, signal);
      this.#progress = afterSuccess(step);
      decide(log, 'task.step', { ...about, state: this.#progress.state }, { trace: this.#trace });
    } catch (err) {
      if (signal.aborted) return; // planned anew
      const before = this.#progress;
      this.#progress = afterFailure(before, err);
      const failed = { ...about, state: this.#progress.state, err: asError(err) };
      decide(log, 'task.step-failed', failed, { trace: this.#trace });
      if (isTransient(err)) {
        if (before.err !== this.#progress.err) await this.#report();
        await clock.sleep(retryMs, signal).catch(() => undefined);
        return;
      }
    }
    await this.#report();
  }

  /** Tries until it is done, or cannot be: what is left then goes with the task's record. */
  async #release(): Promise<void> {
    const { controller, clock } = this.options;
    while (!this.#closed.signal.aborted) {
      try {
        return await controller.release();
      } catch (err) {
        this.#log().warn({ err }, 'leaving networks or files behind');
        if (!isTransient(err)) return;
        await clock.sleep(retryMs, this.#closed.signal).catch(() => undefined);
      }
    }
  }

  async #do(step: Exclude<TaskStep, 'none'>, signal: AbortSignal): Promise<void> {
    const { controller } = this.options;
    switch (step) {
      case 'accept':
      case 'beginPreparing':
      case 'beginStarting':
        return;
      case 'prepare':
        this.#container = await controller.prepare(signal);
        return;
      case 'start':
        this.#container = undefined;
        this.#container = await controller.start(signal, this.#again);
        this.#again = false;
        return;
      case 'wait':
        return controller.wait(signal).finally(() => (this.#container = undefined));
      case 'shutdown':
        this.#container = undefined;
        return controller.shutdown(signal);
    }
  }

  /** For lines that no event is for: they say which task it is. */
  #log(): Log {
    const { id, serviceName } = this.task;
    const trace = this.#trace === undefined ? {} : { trace_id: this.#trace };
    return this.options.log.child({ task: id, service: serviceName, ...trace });
  }

  async #report(): Promise<void> {
    const { controller, report, clock } = this.options;
    const { state } = this.#progress;
    // Before there can be a container there is nothing to ask the engine for.
    const container =
      compareStates(state, 'ready') < 0
        ? undefined
        : (this.#container ?? (await controller.container().catch(() => undefined)));
    report(this.task.id, {
      timestampMs: clock.nowMs(),
      ...this.#progress,
      ...(this.#draining && this.#progress.state === 'running' ? { draining: true } : {}),
      ...containerPart(container),
    });
  }
}

function containerPart(container: TaskContainer | undefined): Pick<TaskReport, 'container' | 'ports'> {
  if (!container) return {};
  const { id, pid, exitCode, ports } = container;
  return {
    container: { containerId: id, pid, exitCode },
    ...(ports.length > 0 && {
      ports: ports.map(({ protocol, targetPort, publishedPort }) => ({
        protocol: protocol as 'tcp' | 'udp' | 'sctp',
        targetPort,
        publishedPort,
        publishMode: 'host' as const,
      })),
    }),
  };
}
