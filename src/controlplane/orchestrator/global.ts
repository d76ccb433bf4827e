/** Global services: exactly one task on every node that may have one. */
import { satisfiesConstraints } from '../../model/constraint.js';
import type { Node, Service, Task } from '../../model/objects.js';
import type { Context } from './context.js';
import { groupTasks, hasMissedGoal, isInvalidNode, isLive, presentTasks, setDesired } from './context.js';
import { occupants, restartTask, startWaitingTasks } from './restart.js';
import { createTask } from './task-factory.js';
import { planUpdate } from './update.js';

export function planGlobal(context: Context, service: Service): void {
  const { draft, cluster, random } = context;
  startWaitingTasks(context, presentTasks(context, service));
  const nodes = draft.view.list('node');
  const before = onNodes(context, service);
  for (const node of nodes) settleNode(context, service, node, before.get(node.id) ?? []);

  const after = onNodes(context, service);
  const updatable: (readonly Task[])[] = [];
  for (const node of nodes) {
    if (isInvalidNode(node) || node.spec.availability === 'pause' || !meetsConstraints(node, service))
      continue;
    const occupying = occupants(service, after.get(node.id) ?? []);
    if (occupying.length > 0) updatable.push(occupying);
    else if (draft.fits(1))
      draft.create('task', createTask(cluster, service, { nodeId: node.id }, { random, nowMs: draft.nowMs }));
  }
  planUpdate(context, service, updatable);

  forgetLostNodes(context, service);
}

/** Deletes the records of nodes that are gone: nobody will ever report on them. */
export function forgetLostNodes({ draft }: Context, service: Service): void {
  for (const task of draft.tasksOfService(service.id))
    if (task.nodeId !== undefined && !draft.get('node', task.nodeId) && draft.fits(1))
      draft.delete('task', task.id);
}

/** Ends what may not be on the node, restarts what failed there. */
export function settleNode(context: Context, service: Service, node: Node, tasks: readonly Task[]): void {
  const banned = isInvalidNode(node) || !meetsConstraints(node, service);
  const paused = node.spec.availability === 'pause';
  for (const task of tasks) {
    const failed = hasMissedGoal(task);
    // On a paused node what runs may go on, but what fails is not replaced.
    if ((banned && isLive(task)) || (paused && failed)) {
      if (context.draft.fits(1)) setDesired(context, task, 'shutdown');
    } else if (failed) restartTask(context, service, task, tasks);
  }
}

export const meetsConstraints = (node: Node, service: Service): boolean =>
  satisfiesConstraints(node, service.spec.taskTemplate.placement?.constraints ?? []);

const onNodes = (context: Context, service: Service): Map<string, Task[]> =>
  groupTasks(presentTasks(context, service), (task) => task.nodeId ?? '');
