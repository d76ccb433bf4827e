/**
 * The constraint enforcer: a task whose node no longer has the labels or resources it was placed for is rejected, and
 * restarted elsewhere by the restart supervisor. A change of the service's own constraints is the updater's, who moves
 * tasks at the pace of the update; hence a task must violate what it was created with as well.
 */
import { isAttachment } from '../../model/attachments.js';
import { satisfiesConstraints } from '../../model/constraint.js';
import { holdsResources, withoutResources } from '../../model/generic-resources.js';
import type { Node, NodeDescription, Task } from '../../model/objects.js';
import { atLeast, atMost, isTerminal } from '../../model/task-state.js';
import { Draft } from '../plan.js';
import type { Plan } from '../plan.js';
import type { View } from '../store/store.js';

/** One pass over the active nodes. */
export function planEnforcement(view: View, nowMs: number): Plan {
  const draft = new Draft(view, nowMs);
  for (const node of view.list('node')) {
    // One that does not answer may go on running what it has: nobody else is to say that it has ended.
    if (node.spec.availability !== 'active' || node.status.state !== 'ready') continue;
    for (const task of violators(view, node))
      if (draft.fits(1))
        draft.update('task', {
          ...task,
          status: {
            ...task.status,
            state: 'rejected',
            message: 'task rejected by constraint enforcer',
            err: 'assigned node no longer meets constraints',
            timestampMs: nowMs,
            appliedAtMs: nowMs,
          },
        });
  }
  return draft.plan();
}

/** Tasks in order of id claim what the node has; those for whom it is not enough violate. */
function violators(view: View, node: Node): readonly Task[] {
  let {
    nanoCpus,
    memoryBytes,
    genericResources = [],
  }: NodeDescription['resources'] = node.description?.resources ?? {
    nanoCpus: Infinity,
    memoryBytes: Infinity,
  };
  return view.tasksOnNode(node.id).filter((task) => {
    const { state } = task.status;
    // A user's own container stays where its user has put it.
    if (isAttachment(task)) return false;
    if (!atLeast(state, 'assigned') || isTerminal(state) || !atMost(task.desiredState, 'complete'))
      return false;
    if (!meetsConstraints(view, node, task)) return true;
    const reserved = task.spec.resources?.reservations ?? { nanoCpus: 0, memoryBytes: 0 };
    if (reserved.nanoCpus > nanoCpus || reserved.memoryBytes > memoryBytes) return true;
    const claimed = task.assignedGenericResources ?? [];
    if (node.description && !holdsResources(genericResources, claimed)) return true;
    nanoCpus -= reserved.nanoCpus;
    memoryBytes -= reserved.memoryBytes;
    genericResources = withoutResources(genericResources, claimed);
    return false;
  });
}

function meetsConstraints(view: View, node: Node, task: Task): boolean {
  const own = task.spec.placement?.constraints ?? [];
  if (satisfiesConstraints(node, own)) return true;
  const current = view.get('service', task.serviceId)?.spec.taskTemplate.placement?.constraints ?? own;
  return satisfiesConstraints(node, current);
}
