/**
 * A stage for the orchestrator alone: a store, a clock, and a play of what others would do. Task states are moved by
 * hand; `settle` runs the planner until it has nothing more to write.
 */
import assert from 'node:assert';
import { byCreation, goalOf } from '../../../src/controlplane/orchestrator/context.js';
import { planServices } from '../../../src/controlplane/orchestrator/orchestrator.js';
import { applyPlanner } from '../../../src/controlplane/plan.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { Kind, Objects } from '../../../src/controlplane/store/store.js';
import type { NodeId, ServiceId } from '../../../src/model/ids.js';
import type { Node, Service, Task } from '../../../src/model/objects.js';
import type { ServiceSpec } from '../../../src/model/service-spec.js';
import { nextRun } from '../../../src/model/service-laws.js';
import type { TaskState } from '../../../src/model/task-state.js';
import { compareStates, isTerminal } from '../../../src/model/task-state.js';
import { FakeTime, seededBytes, storeOf } from '../../support/cluster-objects.js';

export class Stage {
  readonly #random = seededBytes(1);
  wakeAtMs: number | undefined;

  private constructor(
    readonly store: MemoryStore,
    readonly time: FakeTime,
  ) {}

  static async of(given: { readonly [K in Kind]?: readonly Objects[K][] }): Promise<Stage> {
    const time = new FakeTime(1000);
    return new Stage(await storeOf(given, time), time);
  }

  /** Plans until nothing is left to write. */
  async settle(): Promise<void> {
    for (let round = 0; round < 20; round++) {
      const { revision } = this.store.view();
      this.wakeAtMs = await applyPlanner(
        this.store,
        (view, nowMs) => planServices(view, nowMs, this.#random),
        this.time.nowMs,
      );
      if (this.store.view().revision === revision) return;
    }
    assert.fail('the orchestrator does not come to rest');
  }

  async after(ms: number): Promise<void> {
    this.time.ms += ms;
    await this.settle();
  }

  service(id = 'web'): Service {
    const service = this.store.view().get('service', id as ServiceId);
    assert(service);
    return service;
  }

  /** By slot or node, oldest first. */
  tasks(id = 'web'): readonly Task[] {
    const place = (task: Task): string => String(task.slot ?? task.nodeId).padStart(4);
    return [...this.store.view().tasksOfService(id as ServiceId)].sort(
      (a, b) => place(a).localeCompare(place(b)) || byCreation(a, b),
    );
  }

  /** `slot desired/observed` of all tasks. */
  picture(id = 'web'): string[] {
    return this.tasks(id).map(
      (task) => `${task.slot ?? task.nodeId} ${task.desiredState}/${task.status.state}`,
    );
  }

  async move(task: Task | undefined, state: TaskState, node?: string): Promise<void> {
    await this.store.update((tx) => {
      const current = task && tx.get('task', task.id);
      assert(current, 'no such task');
      const { ms } = this.time;
      const runningAtMs = current.status.runningAtMs ?? (state === 'running' ? ms : undefined);
      const status = {
        ...{ state, message: '', timestampMs: ms, appliedAtMs: ms },
        ...(runningAtMs === undefined ? {} : { runningAtMs }),
      };
      tx.update('task', { ...current, status, ...(node === undefined ? {} : { nodeId: node as NodeId }) });
    });
    await this.settle();
  }

  /** What scheduler and agents would do at once: everything runs that is to, everything stops that is to; no job completes. */
  async perform(place = (task: Task): string => this.#nodeOf(task)): Promise<void> {
    for (let round = 0; round < 50; round++) {
      const next = this.store
        .view()
        .list('task')
        .flatMap((task): [Task, TaskState][] => {
          if (isTerminal(task.status.state)) return [];
          if (task.desiredState === goalOf(task))
            return task.status.state === 'running' ? [] : [[task, 'running']];
          if (task.desiredState === 'ready' && task.status.state !== 'ready') return [[task, 'ready']];
          return compareStates(task.desiredState, 'running') > 0 ? [[task, 'shutdown']] : [];
        });
      if (next.length === 0) return;
      for (const [task, state] of next) await this.move(task, state, task.nodeId ?? place(task));
    }
    assert.fail('tasks come and go for ever');
  }

  /** By slot, over the nodes that there are. */
  #nodeOf({ slot = 1 }: Task): string {
    const nodes = this.store.view().list('node');
    const node = nodes[Math.max(0, slot - 1) % nodes.length];
    assert(node);
    return node.id;
  }

  /** An update as the API makes it. */
  async update(change: Partial<ServiceSpec>, id = 'web'): Promise<void> {
    await this.store.update((tx) => {
      const { updateStatus: _, ...service } = this.service(id);
      tx.update('service', {
        ...service,
        spec: { ...service.spec, ...change },
        specVersion: tx.revision,
        previousSpec: service.spec,
        previousSpecVersion: service.specVersion,
        ...nextRun(service.spec, service, tx.nowMs),
      });
    });
    await this.settle();
  }

  /** All that runs of the job ends well. */
  async finish(id = 'web'): Promise<void> {
    for (const task of this.tasks(id)) if (task.status.state === 'running') await this.move(task, 'complete');
  }

  async setNode(id: string, change: (node: Node) => Node): Promise<void> {
    await this.store.update((tx) => {
      const node = tx.get('node', id as NodeId);
      assert(node);
      tx.update('node', change(node));
    });
    await this.settle();
  }
}

export const drained = (node: Node): Node => ({ ...node, spec: { ...node.spec, availability: 'drain' } });
export const active = (node: Node): Node => ({ ...node, spec: { ...node.spec, availability: 'active' } });
export const paused = (node: Node): Node => ({ ...node, spec: { ...node.spec, availability: 'pause' } });
export const down = (node: Node): Node => ({ ...node, status: { ...node.status, state: 'down' } });
