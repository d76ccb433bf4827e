/**
 * Orchestrator, scheduler and rebalancer over one store and one clock, with agents that do at once what they are told, or not:
 * `obey` says what becomes of a task that is to start.
 */
import assert from 'node:assert';
import { planServices } from '../../../src/controlplane/orchestrator/orchestrator.js';
import { planReaping } from '../../../src/controlplane/orchestrator/reaper.js';
import { applyPlanner } from '../../../src/controlplane/plan.js';
import type { Planner } from '../../../src/controlplane/plan.js';
import { planRebalancing } from '../../../src/controlplane/rebalancer/rebalancer.js';
import { planScheduling } from '../../../src/controlplane/scheduler/scheduler.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { Transaction, View } from '../../../src/controlplane/store/store.js';
import type { NodeId, ServiceId } from '../../../src/model/ids.js';
import type { Node, Service, Task } from '../../../src/model/objects.js';
import type { ServiceSpec } from '../../../src/model/service-spec.js';
import type { TaskState } from '../../../src/model/task-state.js';
import { isTerminal } from '../../../src/model/task-state.js';
import { FakeTime, cluster, clusterSpec, seededBytes, storeOf } from '../../support/cluster-objects.js';

export class Town {
  readonly #random = seededBytes(1);
  /** What a task that is to run comes to; undefined: it stays as it is. */
  obey: (task: Task) => TaskState | undefined = () => 'running';
  /** Looks at every state of the store. */
  watch: (view: View) => void = () => undefined;

  private constructor(
    readonly store: MemoryStore,
    readonly time: FakeTime,
  ) {}

  /** @param historyLimit of records for each slot */
  static async of(nodes: readonly Node[], services: readonly Service[], historyLimit = 5): Promise<Town> {
    const time = new FakeTime(1_000_000);
    const spec = { ...clusterSpec, taskHistoryRetentionLimit: historyLimit };
    const town = new Town(
      await storeOf({ cluster: [cluster({ spec })], node: nodes, service: services }, time),
      time,
    );
    await town.rest();
    return town;
  }

  get view(): View {
    return this.store.view();
  }

  /** Until nobody has anything to do at this time. Resolves with when somebody next will have, in ms since the epoch. */
  async rest(): Promise<number> {
    const planners: Planner[] = [
      (view, nowMs) => planServices(view, nowMs, this.#random),
      planScheduling,
      (view, nowMs) => planRebalancing(view, nowMs, this.#random),
      planReaping,
    ];
    for (let round = 0; round < 100; round++) {
      const { revision } = this.view;
      let wakeAtMs = Infinity;
      for (const planner of planners) {
        wakeAtMs = Math.min(wakeAtMs, (await applyPlanner(this.store, planner, this.time.nowMs)) ?? Infinity);
        this.watch(this.view);
      }
      await this.#act();
      this.watch(this.view);
      if (this.view.revision === revision) return wakeAtMs;
    }
    assert.fail('the loops do not come to rest');
  }

  /** Passes as planners ask for them, as the loops do. */
  async after(ms: number): Promise<void> {
    const untilMs = this.time.ms + ms;
    for (;;) {
      this.time.ms = Math.min(untilMs, await this.rest());
      if (this.time.ms === untilMs) break;
    }
    await this.rest();
  }

  async write(body: (tx: Transaction) => void): Promise<void> {
    await this.store.update(body);
    await this.rest();
  }

  setNode(id: string, change: (node: Node) => Node): Promise<void> {
    return this.write((tx) => {
      const node = tx.get('node', id as NodeId);
      assert(node);
      tx.update('node', change(node));
    });
  }

  /** As the API does it. */
  update(change: Partial<ServiceSpec>, id = 'web'): Promise<void> {
    return this.write((tx) => {
      const service = tx.get('service', id as ServiceId);
      assert(service);
      const { updateStatus: _, ...rest } = service;
      const spec = { ...service.spec, ...change };
      tx.update('service', { ...rest, spec, specVersion: tx.revision, previousSpec: service.spec });
    });
  }

  service(id = 'web'): Service {
    const service = this.view.get('service', id as ServiceId);
    assert(service);
    return service;
  }

  /** Those that are to run, by slot. */
  live(id = 'web'): readonly Task[] {
    return this.view
      .tasksOfService(id as ServiceId)
      .filter(({ desiredState }) => desiredState === 'running' || desiredState === 'ready')
      .sort((a, b) => (a.slot ?? 0) - (b.slot ?? 0));
  }

  /** How many of them each node has. */
  spread(id = 'web'): Readonly<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (const { id: node } of this.view.list('node')) counts[node] = 0;
    for (const { nodeId = 'nowhere' } of this.live(id)) counts[nodeId] = (counts[nodeId] ?? 0) + 1;
    return counts;
  }

  async #act(): Promise<void> {
    await this.store.update((tx) => {
      for (const task of tx.list('task')) {
        const state = this.#next(tx, task);
        if (state === undefined || state === task.status.state) continue;
        const status = { state, message: '', timestampMs: this.time.ms, appliedAtMs: this.time.ms };
        tx.update('task', { ...task, status });
      }
    });
  }

  #next(tx: Transaction, task: Task): TaskState | undefined {
    const { desiredState, nodeId, status } = task;
    if (isTerminal(status.state)) return undefined;
    // No network has to be allocated.
    if (status.state === 'new') return 'pending';
    const node = nodeId && tx.get('node', nodeId);
    if (status.state === 'pending' || !node || node.status.state === 'down') return undefined;
    if (desiredState === 'shutdown' || desiredState === 'remove') return 'shutdown';
    if (desiredState === 'ready') return 'ready';
    return status.state === 'running' ? undefined : this.obey(task);
  }
}
