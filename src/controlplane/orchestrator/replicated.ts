/** Replicated services: as many occupied slots as replicas, numbered from 1. */
import assert from 'node:assert';
import type { Service, Task } from '../../model/objects.js';
import { isTerminal } from '../../model/task-state.js';
import type { Context } from './context.js';
import { groupTasks, isInvalidNode, nodeOf, presentTasks, setDesired } from './context.js';
import { advanceMove } from './moves.js';
import { occupants, restartTask, startWaitingTasks } from './restart.js';
import { createTask } from './task-factory.js';
import { planUpdate } from './update.js';

export function planReplicated(context: Context, service: Service, replicas: number): void {
  const { draft, cluster, random } = context;
  startWaitingTasks(context, presentTasks(context, service));
  restartStoppedTasks(context, service);

  const occupied = new Map<number, readonly Task[]>();
  const dead = new Map<number, readonly Task[]>();
  for (const [slot, tasks] of groupTasks(presentTasks(context, service), slotOf)) {
    const occupying = occupants(service, tasks);
    if (occupying.length > 0) occupied.set(slot, occupying);
    else dead.set(slot, tasks);
  }

  const inOrder = [...occupied].sort(([a], [b]) => a - b);
  const kept = slotsToKeep(inOrder, replicas);
  planUpdate(
    context,
    service,
    kept.map(([, tasks]) => tasks),
  );
  for (let slot = 1, missing = replicas - kept.length; missing > 0; slot++) {
    if (occupied.has(slot)) continue;
    if (!draft.fits(1)) return;
    draft.create('task', createTask(cluster, service, { slot }, { random, nowMs: draft.nowMs }));
    // A dead slot that is used again keeps its records as history.
    dead.delete(slot);
    missing -= 1;
  }

  const keptSlots = new Set(kept.map(([slot]) => slot));
  const removed = presentTasks(context, service).filter(
    (task) => dead.has(slotOf(task)) || (occupied.has(slotOf(task)) && !keptSlots.has(slotOf(task))),
  );
  for (const task of removed) if (draft.fits(1)) setDesired(context, task, 'remove');
}

const slotOf = ({ slot }: Task): number => {
  assert(slot !== undefined, 'tasks of a replicated service have slots');
  return slot;
};

function restartStoppedTasks(context: Context, service: Service): void {
  const slots = groupTasks(presentTasks(context, service), slotOf);
  for (const tasks of slots.values())
    for (const task of advanceMove(context, service, tasks)) {
      // One that failed while it waits for its start is replaced after that wait, not before.
      if (task.desiredState !== 'running') continue;
      const lostNode = task.nodeId !== undefined && isInvalidNode(nodeOf(context, task));
      if (isTerminal(task.status.state) || lostNode) restartTask(context, service, task, tasks);
    }
}

/**
 * Which slots survive a scale-down. Slots that do not run go before those that do, then the fullest nodes give first,
 * then the highest numbers; a slot in transition (several tasks, or none placed yet) goes before all.
 */
export function slotsToKeep(
  slots: readonly (readonly [number, readonly Task[]])[],
  replicas: number,
): readonly (readonly [number, readonly Task[]])[] {
  if (slots.length <= replicas) return slots;
  const runs = (tasks: readonly Task[]): number =>
    tasks.some((task) => task.status.state === 'running') ? 0 : 1;
  const ordered = [...slots].sort(([a, x], [b, y]) => runs(x) - runs(y) || a - b);
  const copies = new Map<string, number>();
  const ranked = ordered.map((slot) => {
    const [only, ...others] = slot[1];
    if (!only || others.length > 0 || only.nodeId === undefined) return { slot, rank: Infinity };
    const rank = copies.get(only.nodeId) ?? 0;
    copies.set(only.nodeId, rank + 1);
    return { slot, rank };
  });
  // Stable: within one rank the order above stays. Infinity minus itself is no number, hence the comparison first.
  ranked.sort((a, b) => (a.rank === b.rank ? 0 : a.rank - b.rank));
  return ranked.slice(0, replicas).map(({ slot }) => slot);
}
