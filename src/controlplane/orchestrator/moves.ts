/**
 * A move of a task to another node (ADR 32), once the rebalancer has begun it: two live tasks share a slot, the one that
 * serves and the one that is to follow it elsewhere. The old one is ended when the new one runs; if that does not come
 * about the new one is given up and the old one stays as it is.
 */
import type { Service, Task } from '../../model/objects.js';
import { isTerminal } from '../../model/task-state.js';
import type { Context } from './context.js';
import { isInvalidNode, isLive, nodeOf, setDesired } from './context.js';
import { mayRestart } from './restart.js';

/** How long a moved task may take to run: images are pulled, and health is waited for. */
export const moveDeadlineMs = 5 * 60_000;

export interface Move {
  readonly from: Task;
  readonly to: Task;
}

/** The move that is under way in a slot. */
export function moveIn(slotTasks: readonly Task[]): Move | undefined {
  for (const to of slotTasks) {
    if (to.succession?.cause !== 'rebalance' || !isLive(to)) continue;
    const from = slotTasks.find((task) => task.id === to.succession?.of && isLive(task));
    if (from) return { from, to };
  }
  return undefined;
}

/** Takes the move of a slot a step further. Gives the tasks that have no part in it. At most two writes. */
export function advanceMove(context: Context, service: Service, slotTasks: readonly Task[]): readonly Task[] {
  const move = moveIn(slotTasks);
  if (!move) return slotTasks;
  const { from, to } = move;
  const { draft } = context;
  const others = slotTasks.filter((task) => task !== from && task !== to);
  if (!draft.fits(2)) return others;
  if (hasEnded(context, from)) {
    // What was to follow it does so now, and that is all the replacement there is.
    setDesired(context, from, 'shutdown');
    if (!mayRestart(from, slotTasks)) setDesired(context, to, 'shutdown');
  } else if (hasEnded(context, to)) setDesired(context, to, 'shutdown');
  else if (to.status.state === 'running') setDesired(context, from, 'shutdown');
  else if (draft.hasPassed(to.createdAtMs, moveDeadlineMs)) setDesired(context, to, 'shutdown');
  return others;
}

const hasEnded = (context: Context, task: Task): boolean =>
  isTerminal(task.status.state) || (task.nodeId !== undefined && isInvalidNode(nodeOf(context, task)));
