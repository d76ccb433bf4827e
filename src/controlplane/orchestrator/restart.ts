/**
 * The restart supervisor: a task that stopped or lost its node is desired `shutdown`, and if its restart policy allows a
 * replacement is created at once, desired `ready`: the agent prepares it while the delay runs. Delay and history are
 * read from the tasks themselves (succession), so nothing is forgotten when the leader changes.
 */
import type { Service, Task } from '../../model/objects.js';
import { instanceOf } from '../../model/objects.js';
import { defaultRestartPolicy, nsToMs } from '../../model/service-laws.js';
import { atMost, compareStates, isTerminal } from '../../model/task-state.js';
import { earlyEndsWith, replacementDelayMs } from './back-off.js';
import type { Context } from './context.js';
import { goalOf, groupTasks, isInvalidNode, isLive, newest, nodeOf, setDesired } from './context.js';
import { createTask, placeOf } from './task-factory.js';

/** Longest wait for an old task to stop before its replacement starts (swarmkit's old task timeout). */
export const oldTaskTimeoutMs = 60_000;

/** Puts an end to `task` and, if the policy allows, a replacement in its place. At most two writes. */
export function restartTask(
  context: Context,
  service: Service,
  task: Task,
  slotTasks: readonly Task[],
): void {
  const { draft, cluster, random } = context;
  if (!draft.fits(2)) return;
  // It is its node that is lost or drained: the task has not failed, and nothing is to back off.
  const node = nodeOf(context, task);
  const isMoved = task.nodeId !== undefined && isInvalidNode(node);
  // Somebody has drained the node: what follows for its tasks follows from that.
  const cause = node?.spec.availability === 'drain' && node.trace !== undefined ? node : undefined;
  setDesired(context, task, 'shutdown', cause);
  if (!mayRestart(task, slotTasks)) return;
  const { nowMs } = draft;
  const earlyEnds = earlyEndsWith(service, task, nowMs);
  const delayMs = isMoved ? 0 : replacementDelayMs(task, earlyEnds);
  draft.create(
    'task',
    createTask(cluster, service, placeOf(task), {
      random,
      nowMs,
      desiredState: 'ready',
      succession: {
        of: task.id,
        cause: 'restart',
        startNotBeforeMs: nowMs + delayMs,
        startAnywayMs: nowMs + Math.max(delayMs, oldTaskTimeoutMs),
        ...(earlyEnds === 0 ? {} : { earlyEnds }),
      },
      trace: cause?.trace,
    }),
  );
}

/**
 * What the restart policy says of a stopped task. Restarts under the same spec version are counted in the slot's
 * records, of which the reaper keeps one more than the policy's attempts.
 */
export function mayRestart(task: Task, slotTasks: readonly Task[]): boolean {
  const policy = task.spec.restartPolicy ?? defaultRestartPolicy;
  if (policy.condition === 'none') return false;
  const isDone = task.status.state === 'complete';
  // A job's task that is done is done, also under the condition `any`.
  if (isDone && (policy.condition === 'on-failure' || task.jobIteration !== undefined)) return false;
  if (policy.maxAttempts === 0) return true;
  const since = policy.windowNs > 0 ? task.status.appliedAtMs - nsToMs(policy.windowNs) : -Infinity;
  const restarts = slotTasks.filter(
    (other) =>
      other.succession?.cause === 'restart' &&
      other.specVersion === task.specVersion &&
      other.createdAtMs >= since,
  );
  return restarts.length < policy.maxAttempts;
}

/**
 * The tasks that occupy a slot: those that are to run; else the newest if it stopped for good, so that a replica that
 * gave up is not created again. Empty for a dead slot. A rollback gives such slots another chance.
 */
export function occupants(service: Service, slotTasks: readonly Task[]): readonly Task[] {
  const live = slotTasks.filter(isLive);
  if (live.length > 0) return live;
  if (service.updateStatus?.state === 'rollback_started') return [];
  const last = newest(slotTasks);
  return last && !mayRestart(last, slotTasks) ? [last] : [];
}

/** Lets tasks that are desired `ready` start when their delay is over and those before them in their place have stopped. */
export function startWaitingTasks(context: Context, tasks: readonly Task[]): void {
  const { draft } = context;
  const waiting = tasks.filter(({ desiredState }) => desiredState === 'ready');
  if (waiting.length === 0) return;
  const places = groupTasks(tasks, instanceOf);
  for (const task of waiting) {
    const waitMs = startTime(context, task, places.get(instanceOf(task)) ?? []) - task.createdAtMs;
    if (draft.hasPassed(task.createdAtMs, waitMs) && draft.fits(1)) setDesired(context, task, goalOf(task));
  }
}

function startTime(context: Context, { succession }: Task, inPlace: readonly Task[]): number {
  if (!succession) return 0;
  // The one it replaces may never have run, while one before that still stops.
  const isFree = inPlace.every((other) => isLive(other) || hasStopped(context, other));
  const old = context.draft.get('task', succession.of);
  if (isFree && hasStopped(context, old)) return succession.startNotBeforeMs;
  // Woken by the old task's change before this, or by the delay running out after it.
  return succession.startAnywayMs;
}

/** True when nothing of the task can run any more, or nobody can tell because its node is lost. */
export function hasStopped(context: Context, task: Task | undefined): boolean {
  if (!task || isTerminal(task.status.state)) return true;
  // No agent was ever told of it, and none will be: the scheduler assigns only what is to run.
  if (compareStates(task.status.state, 'assigned') < 0 && !atMost(task.desiredState, 'complete')) return true;
  const node = nodeOf(context, task);
  return task.nodeId !== undefined && (node === undefined || node.status.state === 'down');
}
