/**
 * The scheduler: gives pending tasks a node, or says why none suits. Loads are counted from the store on every pass.
 * A task that global orchestration bound to a node is only confirmed there.
 */
import { isAttachment } from '../../model/attachments.js';
import type { NodeId } from '../../model/ids.js';
import type { Cluster, Task, TaskStatus } from '../../model/objects.js';
import { atLeast, atMost } from '../../model/task-state.js';
import { Draft } from '../plan.js';
import type { Plan } from '../plan.js';
import type { View } from '../store/store.js';
import { chooseNode, failuresMax } from './choice.js';
import { preferEsp, usesEncryption } from './encryption.js';
import { explain, failingFilter } from './filters.js';
import { NodeLoad } from './node-load.js';

export const assignedMessage = 'scheduler assigned task to node';
export const confirmedMessage = 'scheduler confirmed task can run on preassigned node';

/** One pass over the pending tasks; the bound ones first, since they have no choice. */
export function planScheduling(view: View, nowMs: number): Plan {
  const draft = new Draft(view, nowMs);
  for (const task of view.waitingTasks())
    // What waits for addresses waits in vain: the allocator gives it none.
    if (task.status.state === 'new' && atLeast(task.desiredState, 'shutdown')) endUnassigned(draft, task);
  const pending = view.waitingTasks().filter((task) => task.status.state === 'pending');
  if (pending.length === 0) return draft.plan();
  const loads = new Map(
    view.list('node').map((node) => {
      // A user's own container is no load that the swarm has put there.
      const tasks = view.tasksOnNode(node.id).filter((task) => !isAttachment(task));
      return [node.id, new NodeLoad(node, tasks, nowMs)];
    }),
  );
  const failureLimit = failureLimitOf(view.cluster());
  for (const task of pending) if (atLeast(task.desiredState, 'shutdown')) endUnassigned(draft, task);
  const wanted = pending.filter((task) => atMost(task.desiredState, 'complete'));
  for (const task of wanted) if (task.nodeId !== undefined) confirm(draft, task, loads.get(task.nodeId));
  for (const group of groupsOf(wanted.filter((task) => task.nodeId === undefined)))
    placeGroup(draft, group, loads, failureLimit);
  return draft.plan();
}

/** Failures are counted in the records that the history keeps, so fewer of them must do where it keeps fewer. */
const failureLimitOf = ({ spec }: Cluster): number =>
  spec.taskHistoryRetentionLimit < 0
    ? failuresMax
    : Math.max(1, Math.min(failuresMax, spec.taskHistoryRetentionLimit - 1));

/** A task that is to stop before it ever had a node has stopped. */
function endUnassigned(draft: Draft, task: Task): void {
  // Desired `remove` is the reaper's: it deletes the record.
  if (task.desiredState !== 'shutdown' || !draft.fits(1)) return;
  draft.update('task', { ...task, status: stamp(draft, { state: 'shutdown', message: 'shutdown' }) });
}

function confirm(draft: Draft, task: Task, load: NodeLoad | undefined): void {
  if (!load || !draft.fits(1)) return;
  const failing = failingFilter(task, load);
  if (failing) return reportUnplaced(draft, task, failing.explain(1));
  const placed = load.claimFor(task);
  load.place(placed);
  draft.update('task', { ...placed, status: stamp(draft, { state: 'assigned', message: confirmedMessage }) });
}

/** Tasks of one service and spec version, oldest service task first by slot. */
function groupsOf(tasks: readonly Task[]): Iterable<readonly Task[]> {
  const groups = new Map<string, Task[]>();
  for (const task of tasks) {
    const key = `${task.serviceId}/${task.specVersion}`;
    const group = groups.get(key);
    if (group) group.push(task);
    else groups.set(key, [task]);
  }
  for (const group of groups.values()) group.sort((a, b) => (a.slot ?? 0) - (b.slot ?? 0));
  return groups.values();
}

function placeGroup(
  draft: Draft,
  group: readonly Task[],
  loads: ReadonlyMap<NodeId, NodeLoad>,
  failureLimit: number,
): void {
  const all = [...loads.values()];
  const encrypted = usesEncryption(draft.view, group[0]);
  for (const task of group) {
    if (!draft.fits(1)) return;
    const judged = all.map((load) => ({ load, failing: failingFilter(task, load) }));
    const passing = judged.flatMap(({ load, failing }) => (failing ? [] : [load]));
    const chosen = chooseNode(task, encrypted ? preferEsp(passing) : passing, all, failureLimit);
    if (chosen) {
      const placed = chosen.claimFor(task);
      chosen.place(placed);
      draft.update('task', {
        ...placed,
        nodeId: chosen.node.id,
        status: stamp(draft, { state: 'assigned', message: assignedMessage }),
      });
    } else {
      const why = explain(judged.flatMap(({ failing }) => failing ?? []));
      reportUnplaced(draft, task, why === '' ? 'no suitable node' : `no suitable node (${why})`);
    }
  }
}

/** Tells why; written only when it is news, or each pass would wake the next. */
function reportUnplaced(draft: Draft, task: Task, err: string): void {
  if (task.status.err === err) return;
  draft.update('task', {
    ...task,
    status: stamp(draft, { state: 'pending', message: task.status.message, err }),
  });
}

const stamp = (
  { nowMs }: Draft,
  status: Pick<TaskStatus, 'state' | 'message'> & { readonly err?: string },
): TaskStatus => ({ ...status, timestampMs: nowMs, appliedAtMs: nowMs });
