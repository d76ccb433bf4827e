/**
 * The agent's share of a task's life as a table (Swarm's exec.Do): given what is and what is wanted, the one next
 * step; given how the step went, the next status. Pure. Law: a state never goes back.
 *
 * | observed             | desired              | step                                  |
 * | -------------------- | -------------------- | ------------------------------------- |
 * | ≤ running            | ≥ shutdown           | shutdown -> shutdown                  |
 * | assigned             | > assigned           | accept -> accepted                    |
 * | accepted             | > accepted           | beginPreparing -> preparing           |
 * | preparing            | any                  | prepare -> ready, else rejected       |
 * | ready                | ≥ running            | beginStarting -> starting             |
 * | starting             | any                  | start -> running, else failed         |
 * | running              | any                  | wait -> complete, else failed         |
 * | ≥ complete           | any                  | none                                  |
 */
import { OutsideError } from '../../model/errors.js';
import type { TaskState } from '../../model/task-state.js';
import { atLeast, atMost, compareStates } from '../../model/task-state.js';

export type TaskStep =
  'none' | 'accept' | 'beginPreparing' | 'prepare' | 'beginStarting' | 'start' | 'wait' | 'shutdown';

/** What is known of a task's progress, without its container. */
export interface TaskProgress {
  readonly state: TaskState;
  readonly message: string;
  readonly err?: string;
}

/** The process ended with another code than 0, or was ended because it was unhealthy. */
export class ExitError extends Error {
  override readonly name = 'ExitError';

  constructor(
    readonly exitCode: number,
    reason?: string,
  ) {
    super(`task: non-zero exit (${exitCode})${reason === undefined ? '' : `: ${reason}`}`);
  }
}

/** The next step, by the table above. */
export function nextStep(observed: TaskState, desired: TaskState): TaskStep {
  if (atLeast(observed, 'complete')) return 'none';
  if (atLeast(desired, 'shutdown')) return 'shutdown';
  switch (observed) {
    // Once begun these proceed whatever is wanted, short of shutdown.
    case 'preparing':
      return 'prepare';
    case 'starting':
      return 'start';
    case 'running':
      return 'wait';
    default:
  }
  if (compareStates(observed, desired) >= 0) return 'none';
  switch (observed) {
    case 'assigned':
      return 'accept';
    case 'accepted':
      return 'beginPreparing';
    case 'ready':
      return 'beginStarting';
    default:
      return 'none'; // not yet the agent's
  }
}

const reached: Record<Exclude<TaskStep, 'none'>, TaskProgress> = {
  accept: { state: 'accepted', message: 'accepted' },
  beginPreparing: { state: 'preparing', message: 'preparing' },
  prepare: { state: 'ready', message: 'prepared' },
  beginStarting: { state: 'starting', message: 'starting' },
  start: { state: 'running', message: 'started' },
  wait: { state: 'complete', message: 'finished' },
  shutdown: { state: 'shutdown', message: 'shutdown' },
};

/** The status after a step that succeeded. */
export const afterSuccess = (step: Exclude<TaskStep, 'none'>): TaskProgress => reached[step];

/**
 * The status after a step that threw. What may pass keeps the state and is to be tried again; anything else ends the
 * task: `rejected` before its process could start, `failed` after. The message stays that of the last progress.
 */
export function afterFailure(before: TaskProgress, err: unknown): TaskProgress {
  const text = err instanceof Error ? err.message : String(err);
  if (isTransient(err)) return { ...before, err: text };
  const state = atMost(before.state, 'ready') ? 'rejected' : 'failed';
  return { state, message: before.message, err: text };
}

export const isTransient = (err: unknown): boolean => err instanceof OutsideError && err.retryable;

/**
 * Where to take a task up again: usually at the manager's status. A container that was started before its report
 * arrived (the agent ended in between) is taken up at `starting`, which finds it started and goes on from there.
 * @param again the machine was started anew, and the task with it: a process that ended with the machine is started again
 */
export function resumeAt(
  known: TaskProgress,
  container: { readonly status: string } | undefined,
  again = false,
): TaskProgress {
  if (again && container?.status === 'exited') return reached.beginStarting;
  const started = container !== undefined && container.status !== 'created';
  if (!started || atLeast(known.state, 'starting')) return known;
  return reached.beginStarting;
}
