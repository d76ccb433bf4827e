/**
 * The rolling updater. It has no memory of its own: which slots are done, under way or still to do, since when, and what
 * failed, is read from the tasks that an update created (succession) and from the service's update status. So each pass
 * may run anywhere, a new leader carries on, and a new spec starts afresh because its tasks have another version.
 *
 * A slot goes through: to do (only old tasks) -> under way (a new task not yet running, or the delay after it) -> done.
 * An update treats each slot once; what its restart policy makes of a failed new task is the restart supervisor's.
 */
import assert from 'node:assert';
import { instanceOf } from '../../model/objects.js';
import type { Service, Task } from '../../model/objects.js';
import type { UpdateConfig } from '../../model/service-spec.js';
import { defaultUpdateConfig, isTaskDirty, nsToMs } from '../../model/service-laws.js';
import { atLeast, isTerminal } from '../../model/task-state.js';
import type { Context } from './context.js';
import { byCreation, isLive, nodeOf, presentTasks, setDesired } from './context.js';
import { moveIn } from './moves.js';
import { oldTaskTimeoutMs } from './restart.js';
import { createTask, placeOf } from './task-factory.js';

type Status = NonNullable<Service['updateStatus']>;

/** Advances the update of `service` over its occupied slots (each with its live tasks, or the one that gave up). */
export function planUpdate(context: Context, service: Service, slots: readonly (readonly Task[])[]): void {
  const { draft } = context;
  const status = service.updateStatus;
  if (status?.state === 'paused' || status?.state === 'rollback_paused') return;
  const config =
    (status?.state === 'rollback_started' ? service.spec.rollbackConfig : service.spec.updateConfig) ??
    defaultUpdateConfig;
  const mine = updatedTasks(context, service);
  const treated = new Set(mine.map(instanceOf));
  // Two tasks in a slot are none of the update's business while one is about to take the other's place elsewhere.
  const dirty = slots.filter(
    (tasks) => (tasks.length > 1 && !moveIn(tasks)) || tasks.some((task) => isDirty(context, service, task)),
  );

  if (dirty.length > 0 && !status) {
    if (!draft.fits(1)) return;
    setStatus(context, service, {
      state: 'updating',
      startedAtMs: draft.nowMs,
      message: 'update in progress',
    });
  }
  const total = new Set([...treated, ...dirty.flatMap((tasks) => (tasks[0] ? [instanceOf(tasks[0])] : []))])
    .size;
  if (isRolling(status) && reactToFailure(context, service, config, mine, total)) return;

  const todo: (readonly Task[])[] = [];
  for (const tasks of dirty) {
    const clean = cleanTask(context, service, tasks);
    if (clean) keepOnly(context, config, clean, tasks);
    else if (tasks[0] && !treated.has(instanceOf(tasks[0]))) todo.push(tasks);
  }
  const busy = countBusy(context, config, mine) + countOvertaken(context, service, mine);
  const workers = config.parallelism === 0 ? todo.length : Math.max(0, config.parallelism - busy);
  for (const tasks of todo.slice(0, workers)) replaceSlot(context, service, config, tasks);
  if (isRolling(status) && todo.length === 0 && busy === 0) complete(context, service, config, mine);
}

const isRolling = (status: Status | undefined): status is Status =>
  status?.state === 'updating' || status?.state === 'rollback_started';

const isDirty = (context: Context, service: Service, task: Task): boolean =>
  isTaskDirty(service, task, nodeOf(context, task));

/** The tasks that this very update created. */
function updatedTasks(context: Context, service: Service): readonly Task[] {
  const startedAtMs = service.updateStatus?.startedAtMs;
  if (startedAtMs === undefined) return [];
  // The time is a name here, and never compared with another: clocks step, and leaders' clocks differ.
  return presentTasks(context, service).filter(
    ({ succession, specVersion }) =>
      succession?.updateStartedAtMs === startedAtMs && specVersion === service.specVersion,
  );
}

/** When the task left the updater's hands: it ran, or it failed before. Undefined while neither. */
function reachedAtMs({ status }: Task): number | undefined {
  return status.runningAtMs ?? (atLeast(status.state, 'running') ? status.appliedAtMs : undefined);
}

/** Slots under way: the new task does not run yet, or the delay after it is not over. */
function countBusy({ draft }: Context, config: UpdateConfig, tasks: readonly Task[]): number {
  return tasks.filter((task) => {
    const reached = reachedAtMs(task);
    if (reached === undefined) return isLive(task);
    return !draft.hasPassed(reached, nsToMs(config.delayNs));
  }).length;
}

/**
 * Slots that an update before this one has left under way, and that are up to date: a change of labels or of the number of replicas
 * while nothing new comes up takes down no further slot (Swarm forgets them, and does).
 */
function countOvertaken(context: Context, service: Service, mine: readonly Task[]): number {
  const own = new Set(mine);
  return presentTasks(context, service).filter(
    (task) =>
      task.succession?.cause === 'update' &&
      isLive(task) &&
      reachedAtMs(task) === undefined &&
      !own.has(task) &&
      !isDirty(context, service, task),
  ).length;
}

/** The up-to-date task of a slot, one that runs before others. */
function cleanTask(context: Context, service: Service, tasks: readonly Task[]): Task | undefined {
  const clean = tasks.filter((task) => isLive(task) && !isDirty(context, service, task)).sort(byCreation);
  return clean.find((task) => task.status.state === 'running') ?? clean.at(-1);
}

/** Ends the other tasks of a slot that has its up-to-date one; start-first waits until that one runs. */
function keepOnly(context: Context, { order }: UpdateConfig, clean: Task, tasks: readonly Task[]): void {
  if (order === 'start-first' && clean.status.state !== 'running') return;
  for (const task of tasks)
    if (task.id !== clean.id && isLive(task) && context.draft.fits(1)) setDesired(context, task, 'shutdown');
}

function replaceSlot(
  context: Context,
  service: Service,
  { order }: UpdateConfig,
  tasks: readonly Task[],
): void {
  const { draft, cluster, random } = context;
  const serving = tasks
    .filter((task) => task.status.state === 'running')
    .sort(byCreation)
    .at(-1);
  const old = serving ?? tasks.find((task) => !isTerminal(task.status.state)) ?? tasks[0];
  assert(old, 'a slot has a task');
  const status = draft.get('service', service.id)?.updateStatus;
  assert(status, 'an update under way has a status');
  if (!draft.fits(1 + tasks.length)) return;
  const startFirst = order === 'start-first';
  // With start-first only what serves is worth keeping until the new task runs, e.g. not what a second update overtakes.
  for (const task of tasks)
    if (isLive(task) && !(startFirst && task === serving)) setDesired(context, task, 'shutdown');
  draft.create(
    'task',
    createTask(cluster, service, placeOf(old), {
      random,
      nowMs: draft.nowMs,
      desiredState: startFirst ? 'running' : 'ready',
      succession: {
        of: old.id,
        cause: 'update',
        updateStartedAtMs: status.startedAtMs,
        startNotBeforeMs: draft.nowMs,
        startAnywayMs: draft.nowMs + (startFirst ? 0 : oldTaskTimeoutMs),
      },
    }),
  );
}

/** How long after a task runs its end still counts as the update's failure; longer than the delay between tasks. */
function monitorMs({ delayNs, monitorNs }: UpdateConfig): number {
  // 0 is what the API takes for one left out.
  const wanted = monitorNs === 0 ? defaultUpdateConfig.monitorNs : monitorNs;
  return delayNs >= wanted ? nsToMs(delayNs) + 1000 : nsToMs(wanted);
}

/** Pauses or rolls back when too many updated tasks ended early. True when the update must go no further. */
function reactToFailure(
  context: Context,
  service: Service,
  config: UpdateConfig,
  tasks: readonly Task[],
  total: number,
): boolean {
  if (config.failureAction === 'continue') return false;
  const failed = tasks
    .filter(({ status: { state, runningAtMs, appliedAtMs } }) => {
      // `shutdown` is what it was told to: its node was drained, or it was overtaken.
      if (!isTerminal(state) || state === 'shutdown') return false;
      return runningAtMs === undefined || appliedAtMs - runningAtMs <= monitorMs(config);
    })
    .sort((a, b) => a.status.appliedAtMs - b.status.appliedAtMs);
  // The failure that goes beyond the tolerated share is the one that is named.
  const trigger = failed.find((_, before) => isBeyond(config, before + 1, total));
  const status = service.updateStatus;
  if (!trigger || !status || !context.draft.fits(1)) return trigger !== undefined;
  const rollingBack = status.state === 'rollback_started';
  const because = `due to failure or early termination of task ${trigger.id}`;
  if (config.failureAction === 'pause' || (!rollingBack && !service.previousSpec))
    setStatus(context, service, {
      ...status,
      state: rollingBack ? 'rollback_paused' : 'paused',
      message: `update paused ${because}`,
    });
  else if (rollingBack)
    // Swarm says so too, but carries on and reports success in the end; here paused means paused.
    setStatus(context, service, {
      ...status,
      state: 'rollback_paused',
      message: `rollback paused ${because}`,
    });
  else rollBack(context, service, `update rolled back ${because}`);
  return true;
}

/** In the single precision that the ratio is sent and Swarm computes in: 29 of 50 are not beyond 0.58. */
const isBeyond = ({ maxFailureRatio }: UpdateConfig, failed: number, total: number): boolean =>
  Math.fround(failed / total) > Math.fround(maxFailureRatio);

function rollBack({ draft }: Context, service: Service, message: string): void {
  const { previousSpec, previousSpecVersion, updateStatus, ...rest } = service;
  assert(previousSpec && updateStatus, 'nothing to roll back to');
  draft.update('service', {
    ...rest,
    spec: previousSpec,
    specVersion: previousSpecVersion ?? service.specVersion,
    updateStatus: { ...updateStatus, state: 'rollback_started', message },
  });
}

/** Ends the update when the last task has been watched long enough. */
function complete(context: Context, service: Service, config: UpdateConfig, tasks: readonly Task[]): void {
  const { draft } = context;
  const status = service.updateStatus;
  assert(status, 'an update under way has a status');
  const reached = tasks.flatMap((task) => reachedAtMs(task) ?? []);
  const watchMs = nsToMs(config.delayNs) + monitorMs(config);
  if (reached.length > 0 && !draft.hasPassed(Math.max(...reached), watchMs)) return;
  if (!draft.fits(1)) return;
  const rollingBack = status.state === 'rollback_started';
  setStatus(context, service, {
    ...status,
    state: rollingBack ? 'rollback_completed' : 'completed',
    completedAtMs: draft.nowMs,
    message: rollingBack ? 'rollback completed' : 'update completed',
  });
}

function setStatus({ draft }: Context, service: Service, updateStatus: Status): void {
  draft.update('service', { ...service, updateStatus });
}
