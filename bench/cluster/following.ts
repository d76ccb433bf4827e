/** When each of many nodes has planned what one task's endpoint has become. */
import type { TaskId } from '../../src/model/ids.js';
import type { Op } from '../../src/dataplane/plan/diff.js';
import { endpointKey, itemAt } from '../../src/dataplane/state-change.js';
import type { NodeNetworkState } from '../../src/dataplane/state.js';
import { Waiters } from '../../src/runtime/waiters.js';

/** Whether flows are sent to the task, on any of the node's networks. */
export const isServed = ({ overlays }: NodeNetworkState, taskId: TaskId): boolean =>
  overlays.some(({ endpoints }) => itemAt(endpoints, endpointKey, taskId)?.serving === true);

export class Following {
  readonly #waiters = new Waiters();
  /** What is waited for, one at a time, and when each node was so far. */
  #wanted: { readonly taskId: TaskId; readonly serving: boolean } | undefined;
  #atMs = new Map<string, number>();

  /** @param nowMs any clock */
  constructor(private readonly nowMs: () => number) {}

  /** A node has planned. What changes no balancing is not what is waited for. */
  planned(nodeId: string, state: NodeNetworkState, ops: readonly Op[]): void {
    const wanted = this.#wanted;
    if (!wanted || this.#atMs.has(nodeId)) return;
    if (!ops.some(({ object }) => object.kind === 'realServer')) return;
    if (isServed(state, wanted.taskId) !== wanted.serving) return;
    this.#atMs.set(nodeId, this.nowMs());
    this.#waiters.check();
  }

  /**
   * Resolves when so many nodes have planned that flows are sent to the task, or are not any more; rejects when the signal aborts.
   * @param begin makes it so, once planning is watched
   * @returns when each had, the first first
   */
  async until(
    wanted: { readonly taskId: TaskId; readonly serving: boolean },
    nodes: number,
    begin: () => void,
    signal: AbortSignal,
  ): Promise<readonly number[]> {
    this.#wanted = wanted;
    this.#atMs = new Map();
    try {
      begin();
      await this.#waiters.until(() => this.#atMs.size >= nodes, signal);
      return [...this.#atMs.values()];
    } finally {
      this.#wanted = undefined;
    }
  }
}
