/**
 * Which of the nodes that pass gets the task. Tasks are placed one at a time, each on the best node as the ones before
 * it left it; that fills the least loaded first and then goes round.
 */
import { attributeOf, isSpreadDescriptor } from '../../model/constraint.js';
import type { Task } from '../../model/objects.js';
import type { NodeLoad } from './node-load.js';

/** From so many recent failures on, a node is avoided for the service (swarmkit's maxFailures). */
export const failuresMax = 5;

/** Negative when `a` suits better. `failureLimit`: failures from which on they matter. */
export function compareLoads(a: NodeLoad, b: NodeLoad, task: Task, failureLimit = failuresMax): number {
  const [failedA, failedB] = [a.failures(task), b.failures(task)];
  if ((failedA >= failureLimit || failedB >= failureLimit) && failedA !== failedB) return failedA - failedB;
  return a.activeOf(task.serviceId) - b.activeOf(task.serviceId) || a.activeTasks - b.activeTasks;
}

/**
 * The best of `passing`. Placement preferences come first: at each level the branch (nodes with one value of the label)
 * that has the fewest tasks of the service, counted over `all` nodes; within the last branch the least loaded node.
 */
export function chooseNode(
  task: Task,
  passing: readonly NodeLoad[],
  all: readonly NodeLoad[],
  failureLimit = failuresMax,
): NodeLoad | undefined {
  let candidates = passing;
  let counted = all;
  for (const { spreadDescriptor } of task.spec.placement?.preferences ?? []) {
    // Only labels make branches; other descriptors are ignored.
    if (!isSpreadDescriptor(spreadDescriptor)) continue;
    const branchOf = (load: NodeLoad): string => attributeOf(load.node, spreadDescriptor) ?? '';
    const totals = new Map<string, number>();
    for (const load of counted)
      totals.set(branchOf(load), (totals.get(branchOf(load)) ?? 0) + load.activeOf(task.serviceId));
    const branches = [...new Set(candidates.map(branchOf))];
    const branch = least(branches, (a, b) => (totals.get(a) ?? 0) - (totals.get(b) ?? 0));
    candidates = candidates.filter((load) => branchOf(load) === branch);
    counted = counted.filter((load) => branchOf(load) === branch);
  }
  return least(candidates, (a, b) => compareLoads(a, b, task, failureLimit));
}

/** The first of the smallest. */
function least<T>(items: readonly T[], compare: (a: T, b: T) => number): T | undefined {
  let best: T | undefined;
  for (const item of items) if (best === undefined || compare(item, best) < 0) best = item;
  return best;
}
