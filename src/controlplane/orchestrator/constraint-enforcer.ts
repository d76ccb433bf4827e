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

/** Lists of tasks that are all as they were placed, with the node that they were compared with: neither ever changes. */
const sound = new WeakMap<readonly Task[], Node>();

/** Tasks in order of id claim what the node has; those for whom it is not enough violate. */
function violators(view: View, node: Node): readonly Task[] {
  const tasks = view.tasksOnNode(node.id);
  if (sound.get(tasks) === node) return [];
  let {
    nanoCpus,
    memoryBytes,
    genericResources = [],
  }: NodeDescription['resources'] = node.description?.resources ?? {
    nanoCpus: Infinity,
    memoryBytes: Infinity,
  };
  let hangOnServices = false;
  const found = tasks.filter((task) => {
    const { state } = task.status;
    // A user's own container stays where its user has put it.
    if (isAttachment(task)) return false;
    if (!atLeast(state, 'assigned') || isTerminal(state) || !atMost(task.desiredState, 'complete'))
      return false;
    const own = task.spec.placement?.constraints ?? [];
    if (!satisfiesConstraints(node, own)) {
      hangOnServices = true;
      if (!satisfiesConstraints(node, constraintsOfService(view, task) ?? own)) return true;
    }
    const reserved = task.spec.resources?.reservations ?? { nanoCpus: 0, memoryBytes: 0 };
    if (reserved.nanoCpus > nanoCpus || reserved.memoryBytes > memoryBytes) return true;
    const claimed = task.assignedGenericResources ?? [];
    if (node.description && !holdsResources(genericResources, claimed)) return true;
    nanoCpus -= reserved.nanoCpus;
    memoryBytes -= reserved.memoryBytes;
    genericResources = withoutResources(genericResources, claimed);
    return false;
  });
  if (found.length === 0 && !hangOnServices) sound.set(tasks, node);
  return found;
}

/** What the service asks for now. */
const constraintsOfService = (view: View, { serviceId }: Task): readonly string[] | undefined =>
  view.get('service', serviceId)?.spec.taskTemplate.placement?.constraints;
