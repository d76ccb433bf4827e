/** Global services: exactly one task on every node that may have one. */
import { satisfiesConstraints } from '../../model/constraint.js';
import type { Node, Service, Task } from '../../model/objects.js';
import { isTerminal } from '../../model/task-state.js';
import type { Context } from './context.js';
import { groupTasks, isInvalidNode, isLive, presentTasks, setDesired } from './context.js';
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

  const known = new Set<string>(nodes.map(({ id }) => id));
  // Tasks of a node that is gone: nobody will ever report on them.
  for (const [nodeId, tasks] of after)
    if (!known.has(nodeId)) for (const task of tasks) if (draft.fits(1)) draft.delete('task', task.id);
}

/** Ends what may not be on the node, restarts what failed there. */
function settleNode(context: Context, service: Service, node: Node, tasks: readonly Task[]): void {
  const banned = isInvalidNode(node) || !meetsConstraints(node, service);
  const paused = node.spec.availability === 'pause';
  for (const task of tasks) {
    const failed = task.desiredState === 'running' && isTerminal(task.status.state);
    // On a paused node what runs may go on, but what fails is not replaced.
    if ((banned && isLive(task)) || (paused && failed)) {
      if (context.draft.fits(1)) setDesired(context, task, 'shutdown');
    } else if (failed) restartTask(context, service, task, tasks);
  }
}

const meetsConstraints = (node: Node, service: Service): boolean =>
  satisfiesConstraints(node, service.spec.taskTemplate.placement?.constraints ?? []);

const onNodes = (context: Context, service: Service): Map<string, Task[]> =>
  groupTasks(presentTasks(context, service), (task) => task.nodeId ?? '');
