/**
 * The task reaper: deletes records that have served. Deleting a record is what makes the agent delete the container, so
 * what may still run is never deleted; each instance of a service keeps a few records as its history.
 */
import { isAttachment } from '../../model/attachments.js';
import { instanceOf } from '../../model/objects.js';
import type { Cluster, Service, Task } from '../../model/objects.js';
import { compareStates, hasEnded, isTerminal } from '../../model/task-state.js';
import { Draft } from '../plan.js';
import type { Plan } from '../plan.js';
import type { View } from '../store/store.js';
import { servicesAndTheirTasks } from '../touched.js';
import type { Scope } from '../touched.js';
import { byCreation, groupTasks, isLive } from './context.js';
import { isComplete } from './jobs.js';

/** One pass over the tasks of the services in scope; attachments are those of the service without a name. */
export function planReaping(view: View, nowMs: number, scope?: Scope): Plan {
  const draft = new Draft(view, nowMs);
  const cluster = view.cluster();
  for (const id of scope ?? servicesAndTheirTasks(view)) {
    if (!draft.begin(id)) continue;
    for (const task of view.tasksOfService(id))
      if (isRemovable(view, task) && draft.fits(1)) draft.delete('task', task.id);
    const service = view.get('service', id);
    const keep = service && historyLimit(cluster, service);
    if (!service || keep === undefined) continue;
    for (const tasks of groupTasks(draft.tasksOfService(id), instanceOf).values())
      for (const task of surplus(view, service, tasks, keep))
        if (!isOfUpdate(service, task) && draft.fits(1)) draft.delete('task', task.id);
  }
  return draft.plan();
}

/** What nobody needs any more: an attachment that its node has lost, or a task desired `remove` that no agent has it (any more). */
function isRemovable(view: View, task: Task): boolean {
  const { state } = task.status;
  // Orphaned with its node, or made while the node went. It has no history to keep.
  if (isAttachment(task)) return isTerminal(state) || !task.nodeId || !view.get('node', task.nodeId);
  if (task.desiredState !== 'remove') return false;
  if (isDone(view, task)) return true;
  return task.nodeId !== undefined && view.get('node', task.nodeId) === undefined;
}

/** No agent has it, or has it any more. With the record go its addresses: what a lost node may still run stays. */
const isDone = (view: View, { status, nodeId }: Task): boolean =>
  compareStates(status.state, 'assigned') < 0 ||
  hasEnded(status.state, () => (nodeId === undefined ? undefined : view.get('node', nodeId)?.status.state));

/** Records to keep per instance, the running one included; undefined: all. A policy with attempts counts them there. */
function historyLimit(cluster: Cluster, service: Service): number | undefined {
  const attempts = service.spec.taskTemplate.restartPolicy?.maxAttempts ?? 0;
  if (attempts > 0) return attempts + 1;
  const limit = cluster.spec.taskHistoryRetentionLimit;
  return limit < 0 ? undefined : limit;
}

/** While an update rolls its failures are counted, which its tasks are the only record of: at most one in a slot. */
const isOfUpdate = ({ updateStatus }: Service, { succession }: Task): boolean =>
  (updateStatus?.state === 'updating' || updateStatus?.state === 'rollback_started') &&
  succession?.updateStartedAtMs === updateStatus.startedAtMs;

/** The oldest records beyond the limit that are done with. The newest always stays: it says how the instance ended. */
function surplus(view: View, service: Service, tasks: readonly Task[], keep: number): readonly Task[] {
  const count = tasks.length - Math.max(1, keep);
  if (count <= 0) return [];
  // The scheduler is to know where a task has failed while it looks for a node for the next one.
  const unplaced = tasks.filter((task) => isLive(task) && compareStates(task.status.state, 'assigned') < 0);
  const looked = new Set(unplaced.map(({ succession }) => succession?.of));
  return [...tasks]
    .sort(byCreation)
    .slice(0, -1)
    .filter((task) => isHistory(service, task) && isDone(view, task) && !looked.has(task.id))
    .slice(0, count);
}

/** Of a job's present run what completed is no history: it is what the run has come to. */
const isHistory = (service: Service, task: Task): boolean =>
  isComplete(task) && task.jobIteration !== undefined
    ? task.jobIteration !== service.jobStatus?.iteration
    : !isLive(task);
