/** What every step of the orchestrator works with. */
import type { RandomSource } from '../../model/ids.js';
import type { Cluster, Node, Service, Task } from '../../model/objects.js';
import type { TaskState } from '../../model/task-state.js';
import { compareStates } from '../../model/task-state.js';
import type { Traced } from '../../model/trace.js';
import type { Draft } from '../plan.js';

export interface Context {
  readonly draft: Draft;
  readonly cluster: Cluster;
  readonly random: RandomSource;
}

/** Desired to run, now or after its delay. */
export const isLive = (task: Task): boolean =>
  task.desiredState === 'running' || task.desiredState === 'ready' || task.desiredState === 'complete';

/** What a task is to reach once nothing holds it up. */
export const goalOf = ({ jobIteration }: Pick<Task, 'jobIteration'>): TaskState =>
  jobIteration === undefined ? 'running' : 'complete';

/** It was to reach its goal and has gone beyond: it failed, or ended where it should run on. */
export const hasMissedGoal = (task: Task): boolean =>
  task.desiredState === goalOf(task) && compareStates(task.status.state, task.desiredState) > 0;

/** A node that can keep no task: gone, down or drained. A paused, unknown or disconnected one keeps what it has. */
export const isInvalidNode = (node: Node | undefined): boolean =>
  node === undefined || node.status.state === 'down' || node.spec.availability === 'drain';

/** The node a task is on; undefined while it has none or when its record is gone. */
export const nodeOf = ({ draft }: Context, task: Task): Node | undefined =>
  task.nodeId === undefined ? undefined : draft.get('node', task.nodeId);

/**
 * Writes the desired state unless it is that already; desired states only ever move forward. The task follows its service, and its
 * trace goes with what is written in any case.
 */
export function setDesired({ draft }: Context, task: Task, desiredState: TaskState, cause?: Traced): void {
  const current = draft.get('task', task.id) ?? task;
  if (current.desiredState === desiredState) return;
  const { trace } = cause ?? draft.get('service', task.serviceId) ?? {};
  draft.update('task', { ...current, desiredState, ...(trace !== undefined && { trace }) });
}

/** Oldest first, by a job's runs before clocks; of two of one millisecond a replacement is the younger, else the id decides, the same in every pass. */
export const byCreation = (a: Task, b: Task): number =>
  (a.jobIteration ?? 0) - (b.jobIteration ?? 0) ||
  a.createdAtMs - b.createdAtMs ||
  Number(a.succession?.of === b.id) - Number(b.succession?.of === a.id) ||
  (a.id < b.id ? -1 : 1);

export const newest = (tasks: readonly Task[]): Task | undefined => [...tasks].sort(byCreation).at(-1);

/** The service's tasks without those on their way out of the store: they take part in nothing. */
export const presentTasks = ({ draft }: Context, service: Service): readonly Task[] =>
  draft.tasksOfService(service.id).filter((task) => task.desiredState !== 'remove');

export function groupTasks<K>(tasks: readonly Task[], keyOf: (task: Task) => K): Map<K, Task[]> {
  const groups = new Map<K, Task[]>();
  for (const task of tasks) {
    const group = groups.get(keyOf(task));
    if (group) group.push(task);
    else groups.set(keyOf(task), [task]);
  }
  return groups;
}
