/**
 * The node's side of the barrier: tells the manager which revision the dataplane has programmed, and asks it, for a task that is
 * about to start or to stop, whether all other nodes are as far. Must stay true: a task waits for at most {@link barrierWaitMs},
 * and if no manager answers, or only nodes are missing that are cut off, for at most {@link silentWaitMs}.
 */
import { once } from 'node:events';
import type { TaskId } from '../../model/ids.js';
import { SkepError } from '../../model/errors.js';
import type { Clock } from '../../runtime/clock.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import { Waiters } from '../../runtime/waiters.js';
import type { DispatcherClient } from '../rpc/clients.js';

/** A little more than a manager takes for its answer (dispatcher/task-barrier.ts). */
export const silentWaitMs = 5_000;
/** For a task that drains: nodes that are at work but slow, such as one on an overloaded host, may still balance to it. */
export const barrierWaitMs = 20_000;
/** Between two questions, or two looks at the dataplane, after one has failed. */
const retryMs = 250;

type Managers = Pick<DispatcherClient, 'acknowledgeRevision' | 'acknowledgeRevisions' | 'awaitAcknowledged'>;

export interface TaskBarrierOptions {
  /** Resolves with a programmed revision above `revision`. */
  readonly programmedPast: (revision: number, signal: AbortSignal) => Promise<number>;
  readonly clock: Clock;
  readonly log: Log;
}

export class TaskBarrier {
  #session: { readonly client: Managers; readonly sessionId: string } | undefined;
  readonly #waiters = new Waiters();

  constructor(private readonly options: TaskBarrierOptions) {}

  /** Acknowledges within a session, until the signal aborts or a call fails; questions go there meanwhile. */
  async run(client: Managers, sessionId: string, signal: AbortSignal): Promise<void> {
    const session = { client, sessionId };
    this.#session = session;
    this.#waiters.check();
    try {
      await this.#acknowledgeInOneCall(client, sessionId, signal);
    } catch (err) {
      // Managers are upgraded one after the other: this one does not know of such calls yet.
      if (!(err instanceof SkepError && err.kind === 'unimplemented')) throw err;
      await this.#acknowledge((revision) => client.acknowledgeRevision({ sessionId, revision }), signal);
    } finally {
      if (this.#session === session) this.#session = undefined;
    }
  }

  /** Resolves or rejects with the manager's answer, or resolves when the signal aborts. */
  async #acknowledgeInOneCall(client: Managers, sessionId: string, signal: AbortSignal): Promise<void> {
    const answered = new AbortController();
    const over = AbortSignal.any([signal, answered.signal]);
    const { stream, done } = client.acknowledgeRevisions(signal);
    stream.on('error', () => undefined); // `done` tells
    const settled = done.finally(() => answered.abort(new Error('the manager has answered')));
    settled.catch(() => undefined);
    const tell = async (revision: number): Promise<void> => {
      // What is programmed meanwhile is told as one.
      if (!stream.write({ sessionId, revision })) await once(stream, 'drain', { signal: over });
    };
    await this.#acknowledge(tell, over).catch((err: unknown) => {
      if (!over.aborted) throw err;
    });
    if (!signal.aborted) await settled;
  }

  /** Tells the newest revision whenever there is one, until the signal aborts; rejects with `tell`. */
  async #acknowledge(tell: (revision: number) => Promise<unknown>, signal: AbortSignal): Promise<void> {
    const { programmedPast, clock, log } = this.options;
    for (let acknowledged = -1; !signal.aborted;) {
      let revision: number;
      try {
        revision = await programmedPast(acknowledged, signal);
      } catch (err) {
        // A dataplane that is away for a moment is no reason to end a session.
        if (!signal.aborted) log.debug({ err }, 'cannot tell what is programmed, will ask again');
        await clock.sleep(retryMs, signal).catch(() => undefined);
        continue;
      }
      await tell(revision);
      acknowledged = revision;
    }
  }

  /**
   * Resolves once every node on the task's networks has programmed what the manager knows of the task, or the wait is over.
   * @param drained that the task takes no new flows, too
   */
  async wait(taskId: TaskId, drained: boolean, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.options;
    const startedMs = clock.steadyMs();
    // Who does not know of a task that starts sends it nothing: one broken node must not keep tasks from starting for long.
    const waitMs = drained ? barrierWaitMs : silentWaitMs;
    let answeredMs = startedMs;
    if (drained) decide(log, 'drain.opened', { task: taskId });
    while (!signal.aborted) {
      const nowMs = clock.steadyMs();
      const leftMs = Math.min(startedMs + waitMs, answeredMs + silentWaitMs) - nowMs;
      if (leftMs <= 0) {
        const durationMs = Math.round(nowMs - startedMs);
        return decide(log, 'drain.timed-out', { task: taskId, drained, durationMs });
      }
      const late = new AbortController();
      const over = AbortSignal.any([signal, late.signal]);
      void clock.sleep(leftMs, over).then(
        () => late.abort(),
        () => undefined,
      );
      const answer = await this.#ask(taskId, drained, over).finally(() => late.abort());
      if (typeof answer === 'object') {
        const durationMs = Math.round(clock.steadyMs() - startedMs);
        if (drained) decide(log, 'drain.passed', { task: taskId, durationMs, ...answer });
        return;
      }
      if (answer === 'at work') answeredMs = clock.steadyMs();
    }
    signal.throwIfAborted();
  }

  /** Who was gone on without, once the wait is over; else whether nodes that are missing are at work. */
  async #ask(
    taskId: TaskId,
    drained: boolean,
    over: AbortSignal,
  ): Promise<{ readonly missing?: readonly string[] } | 'at work' | 'none'> {
    const { clock, log } = this.options;
    try {
      await this.#waiters.until(() => this.#session !== undefined, over);
      const { client, sessionId } = this.#session ?? {};
      if (!client || sessionId === undefined) return 'none';
      // The call has a deadline of its own, later than this one may be.
      const asked = client.awaitAcknowledged({ sessionId, taskId, drained });
      const { missing, atWork } = await Promise.race([asked, aborted(over)]);
      if (atWork) return 'at work';
      if (missing.length === 0) return {};
      log.warn({ task: taskId, missing }, 'going on without nodes that are cut off');
      return { missing };
    } catch (err) {
      if (over.aborted) return 'none';
      log.debug({ task: taskId, err }, 'a barrier was not answered');
      if (err instanceof SkepError && err.kind === 'permissionDenied') return {};
      await clock.sleep(retryMs, over).catch(() => undefined);
      return 'none';
    }
  }
}

/** Rejects with the signal's reason. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}
