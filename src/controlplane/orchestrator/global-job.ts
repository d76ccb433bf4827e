/**
 * Global jobs: one completion on every node that is ready and active and meets the constraints, those that come to be so later
 * included. A node that is lost or drained meanwhile is tried anew when it is back.
 */
import type { Service } from '../../model/objects.js';
import { instanceOf } from '../../model/objects.js';
import type { Context } from './context.js';
import { groupTasks } from './context.js';
import { forgetLostNodes, settleNode } from './global.js';
import { endEarlierRuns, isUnderWay, takesJob, tasksOfRun } from './jobs.js';
import { occupants, oldTaskTimeoutMs, startWaitingTasks } from './restart.js';
import { createTask } from './task-factory.js';

export function planGlobalJob(context: Context, service: Service): void {
  const { draft, cluster, random } = context;
  const { nowMs } = draft;
  const leftover = groupTasks(
    endEarlierRuns(context, service, () => true),
    instanceOf,
  );
  startWaitingTasks(context, tasksOfRun(context, service));
  const nodes = draft.view.list('node');
  const before = groupTasks(tasksOfRun(context, service), instanceOf);
  for (const node of nodes)
    settleNode(context, service, node, (before.get(node.id) ?? []).filter(isUnderWay));

  const after = groupTasks(tasksOfRun(context, service), instanceOf);
  for (const node of nodes) {
    if (!takesJob(node, service) || occupants(service, after.get(node.id) ?? []).length > 0) continue;
    if (!draft.fits(1)) break;
    const old = leftover.get(node.id)?.[0];
    // Made for all nodes at once, as clients expect it, each starts when the earlier run has ended there.
    const waiting = old && {
      desiredState: 'ready' as const,
      succession: {
        of: old.id,
        cause: 'update' as const,
        startNotBeforeMs: nowMs,
        startAnywayMs: nowMs + oldTaskTimeoutMs,
      },
    };
    draft.create('task', createTask(cluster, service, { nodeId: node.id }, { random, nowMs, ...waiting }));
  }
  forgetLostNodes(context, service);
}
