/**
 * Replicated jobs: so many completions, each in a slot of its own, numbered from 0, and so many of them at a time. A slot whose
 * restart policy has given up stays without one: no other is tried in its place.
 */
import assert from 'node:assert';
import type { Service, Task } from '../../model/objects.js';
import type { ServiceMode } from '../../model/service-spec.js';
import type { Context } from './context.js';
import { groupTasks, hasMissedGoal, isInvalidNode, nodeOf, setDesired } from './context.js';
import { endEarlierRuns, isComplete, isUnderWay, tasksOfRun } from './jobs.js';
import { restartTask, startWaitingTasks } from './restart.js';
import { createTask } from './task-factory.js';

type ReplicatedJob = Extract<ServiceMode, { readonly kind: 'replicated-job' }>;

export function planReplicatedJob(
  context: Context,
  service: Service,
  { maxConcurrent, totalCompletions }: ReplicatedJob,
): void {
  const { draft, cluster, random } = context;
  const leftover = endEarlierRuns(context, service, (task) => slotOf(task) < totalCompletions);
  startWaitingTasks(context, tasksOfRun(context, service));
  for (const tasks of groupTasks(tasksOfRun(context, service), slotOf).values())
    settleSlot(context, service, tasks);

  const slots = groupTasks(tasksOfRun(context, service), slotOf);
  const active = [...slots.values()].filter((tasks) => tasks.some(isUnderWay)).length;
  // What is left of an earlier run counts until it has stopped: of what may run once at a time, two never do.
  let free = maxConcurrent - active - leftover.length;
  for (let slot = 0; slot < totalCompletions && free > 0; slot++) {
    if (slots.has(slot)) continue;
    if (!draft.fits(1)) return;
    draft.create('task', createTask(cluster, service, { slot }, { random, nowMs: draft.nowMs }));
    free -= 1;
  }
}

const slotOf = ({ slot }: Task): number => {
  assert(slot !== undefined, 'tasks of a replicated job have slots');
  return slot;
};

function settleSlot(context: Context, service: Service, tasks: readonly Task[]): void {
  // One that was given up with its node may complete all the same: then its replacement has nothing left to do.
  if (tasks.some(isComplete)) {
    for (const task of tasks)
      if (isUnderWay(task) && context.draft.fits(1)) setDesired(context, task, 'shutdown');
    return;
  }
  for (const task of tasks) {
    // One that failed while it waits for its start is replaced after that wait, not before.
    if (task.desiredState !== 'complete') continue;
    const lostNode = task.nodeId !== undefined && isInvalidNode(nodeOf(context, task));
    if (hasMissedGoal(task) || lostNode) restartTask(context, service, task, tasks);
  }
}
