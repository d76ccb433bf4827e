/** One node as the scheduler sees it during a pass: what is free there, and what it runs. */
import assert from 'node:assert';
import { claimResources, withoutResources } from '../../model/generic-resources.js';
import type { GenericResource } from '../../model/generic-resources.js';
import type { ServiceId } from '../../model/ids.js';
import type { Node, Task } from '../../model/objects.js';
import type { PortConfig } from '../../model/service-spec.js';
import { atLeast, atMost, isTerminal } from '../../model/task-state.js';

/** How long a failure counts against a node (swarmkit's monitorFailures). */
export const failureWindowMs = 5 * 60_000;

export class NodeLoad {
  nanoCpus: number;
  memoryBytes: number;
  /** What no task has been given. */
  genericResources: readonly GenericResource[];
  activeTasks = 0;
  readonly #activeOfService = new Map<ServiceId, number>();
  readonly #failures = new Map<string, number>();
  readonly #hostPorts = new Set<string>();

  constructor(
    readonly node: Node,
    tasks: readonly Task[],
    nowMs: number,
  ) {
    this.nanoCpus = node.description?.resources.nanoCpus ?? 0;
    this.memoryBytes = node.description?.resources.memoryBytes ?? 0;
    this.genericResources = node.description?.resources.genericResources ?? [];
    for (const task of tasks) {
      const { state, appliedAtMs } = task.status;
      if (atLeast(state, 'assigned') && !isTerminal(state)) this.place(task);
      // Tasks of global services and jobs have no other node to go to, so their failures say nothing.
      if (
        (state === 'failed' || state === 'rejected') &&
        task.slot !== undefined &&
        nowMs - appliedAtMs <= failureWindowMs
      )
        this.#failures.set(failureKey(task), this.failures(task) + 1);
    }
  }

  /** Accounts for a task that is on the node or comes to it. */
  place(task: Task): void {
    const reserved = task.spec.resources?.reservations;
    this.nanoCpus -= reserved?.nanoCpus ?? 0;
    this.memoryBytes -= reserved?.memoryBytes ?? 0;
    if (task.assignedGenericResources)
      this.genericResources = withoutResources(this.genericResources, task.assignedGenericResources);
    for (const port of fixedHostPorts(task)) this.#hostPorts.add(portKey(port));
    if (!atMost(task.desiredState, 'complete')) return;
    this.activeTasks += 1;
    this.#activeOfService.set(task.serviceId, this.activeOf(task.serviceId) + 1);
  }

  /** The task with what it reserves, taken of what is free here: the filters have seen that there is enough. */
  claimFor(task: Task): Task {
    const reserved = task.spec.resources?.reservations?.genericResources ?? [];
    const claimed = claimResources(this.genericResources, reserved);
    assert(claimed, `${this.node.id} has not what ${task.id} reserves`);
    return claimed.length === 0 ? task : { ...task, assignedGenericResources: claimed };
  }

  activeOf(service: ServiceId): number {
    return this.#activeOfService.get(service) ?? 0;
  }

  /** Recent failures of this task's service under its spec version. */
  failures(task: Task): number {
    return this.#failures.get(failureKey(task)) ?? 0;
  }

  holdsHostPort(port: PortConfig): boolean {
    return this.#hostPorts.has(portKey(port));
  }
}

/** Host-mode ports with a number: at most one task of a node may have each. */
export const fixedHostPorts = (task: Task): readonly PortConfig[] =>
  (task.endpointSpec?.ports ?? []).filter((port) => port.publishMode === 'host' && port.publishedPort);

const portKey = (port: PortConfig): string => `${port.protocol}/${port.publishedPort}`;
const failureKey = (task: Task): string => `${task.serviceId}/${task.specVersion}`;
