/** What a pass looks at, counted in objects that it reads: as many as the change touches, whatever else there is. */
import { expect, test } from 'vitest';
import { controlLoops } from '../../../src/controlplane/loops.js';
import { applyPlanner } from '../../../src/controlplane/plan.js';
import type { Planner } from '../../../src/controlplane/plan.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import { maxWrites } from '../../../src/controlplane/store/store.js';
import type { View } from '../../../src/controlplane/store/store.js';
import { Touched, concernsAddresses, isMoreThanProgress } from '../../../src/controlplane/touched.js';
import type { TaskState } from '../../../src/model/task-state.js';
import {
  FakeTime,
  cluster,
  network,
  node,
  seededBytes,
  service,
  storeOf,
} from '../../support/cluster-objects.js';

/** The control loops, one after the other whenever something has changed for them, and what each has read. */
class Loops {
  readonly read = new Map<string, number>();
  readonly #loops;

  constructor(
    private readonly store: MemoryStore,
    private readonly time: FakeTime,
  ) {
    this.#loops = controlLoops(seededBytes(1)).map((loop) => ({
      ...loop,
      isWoken: true,
      touched: loop.byService ? new Touched() : undefined,
    }));
    store.subscribe(({ changes }) => {
      for (const loop of this.#loops)
        for (const change of changes.filter(loop.concerns)) {
          loop.isWoken = true;
          loop.touched?.note(change);
        }
    });
  }

  async settle(): Promise<void> {
    for (let loop = this.#woken(); loop; loop = this.#woken()) {
      loop.isWoken = false;
      const { name, plan, touched } = loop;
      const counted: Planner = (view, nowMs, scope) => plan(this.#counting(view, name), nowMs, scope);
      await applyPlanner(this.store, counted, this.time.nowMs, () => undefined, touched);
    }
  }

  async move(state: TaskState, of = this.store.view().list('task')): Promise<void> {
    for (let i = 0; i < of.length; i += maxWrites)
      await this.store.update((tx) => {
        for (const task of of.slice(i, i + maxWrites))
          tx.update('task', { ...task, status: { ...task.status, state } });
      });
    await this.settle();
  }

  #woken() {
    return this.#loops.find(({ isWoken }) => isWoken);
  }

  #counting(view: View, name: string): View {
    const count = (objects: number): void => void this.read.set(name, (this.read.get(name) ?? 0) + objects);
    const counted = <T>(objects: readonly T[]): readonly T[] => {
      count(objects.length);
      return objects;
    };
    return {
      revision: view.revision,
      cluster: () => view.cluster(),
      byName: (kind, id) => view.byName(kind, id),
      get: (kind, id) => {
        count(1);
        return view.get(kind, id);
      },
      list: (kind) => counted(view.list(kind)),
      tasksOfService: (id) => counted(view.tasksOfService(id)),
      tasksOnNode: (id) => counted(view.tasksOnNode(id)),
      servicesOfTasks: () => view.servicesOfTasks(),
      waitingTasks: () => counted(view.waitingTasks()),
    };
  }
}

/** Services of 20 tasks, all running. */
async function running(tasks: number): Promise<{ store: MemoryStore; loops: Loops }> {
  const time = new FakeTime(1_000);
  const given = { cluster: [cluster()], network: [network('ingress', { ingress: true })] };
  const nodes = Array.from({ length: 10 }, (_, i) => node(`n${i}`, { nanoCpus: 1e12, memoryBytes: 2 ** 42 }));
  const store = await storeOf({ ...given, node: nodes }, time);
  const loops = new Loops(store, time);
  await store.update((tx) => {
    for (let i = 0; i < tasks / 20; i++)
      tx.create('service', service(`s${i}`, { mode: { kind: 'replicated', replicas: 20 } }));
  });
  await loops.settle();
  await loops.move('running');
  expect(store.view().list('task')).toHaveLength(tasks);
  return { store, loops };
}

const byService = ['orchestrator', 'reaper'];

test('the end of a task costs a look at its service, not at the others', async () => {
  const costs = await Promise.all(
    [60, 600].map(async (tasks) => {
      const { store, loops } = await running(tasks);
      loops.read.clear();
      await loops.move('failed', store.view().list('task').slice(0, 1));
      return byService.map((name) => loops.read.get(name));
    }),
  );
  expect(costs[1]).toEqual(costs[0]);
});

test('a task on its way costs the orchestrator a look at its service, and the other loops nothing', async () => {
  const { store, loops } = await running(60);
  await loops.move('failed', store.view().list('task').slice(0, 1));
  const assigned = store
    .view()
    .list('task')
    .filter(({ status }) => status.state === 'assigned');
  expect(assigned).toHaveLength(1);
  loops.read.clear();
  await loops.move('preparing', assigned);
  // The last two look at what services there are.
  expect([...loops.read.keys()]).toEqual(['orchestrator', 'schedules', 'rebalancer']);
});

test(
  'ten times the tasks of services cost their orchestrator ten times as much to create',
  { timeout: 30_000 },
  async () => {
    const [few, many] = await Promise.all(
      [100, 1_000].map(async (tasks) => (await running(tasks)).loops.read.get('orchestrator') ?? NaN),
    );
    expect((many ?? NaN) / (few ?? NaN)).toBeLessThan(12);
  },
);

test('what a loop is not woken for changes nothing that it would do', async () => {
  const { store, loops } = await running(60);
  const heedless = controlLoops(seededBytes(2)).filter(({ concerns }) =>
    [isMoreThanProgress, concernsAddresses].includes(concerns),
  );
  expect(heedless.map(({ name }) => name)).toEqual([
    'allocator',
    'scheduler',
    'constraint enforcer',
    'old versions',
    'reaper',
  ]);
  for (const state of ['assigned', 'accepted', 'preparing', 'ready', 'starting', 'running'] as const) {
    await loops.move(state);
    for (const { name, plan } of heedless) expect(plan(store.view(), 1_000).writes, name).toEqual([]);
  }
});
