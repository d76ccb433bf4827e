import { describe, expect, test } from 'vitest';
import { planServices } from '../../../src/controlplane/orchestrator/orchestrator.js';
import { planReaping } from '../../../src/controlplane/orchestrator/reaper.js';
import { applyPlanner } from '../../../src/controlplane/plan.js';
import type { Planner, Write } from '../../../src/controlplane/plan.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import { Touched } from '../../../src/controlplane/touched.js';
import type { NodeId, ServiceId } from '../../../src/model/ids.js';
import type { Node, Service } from '../../../src/model/objects.js';
import type { ServiceSpec } from '../../../src/model/service-spec.js';
import { isTerminal, taskStates } from '../../../src/model/task-state.js';
import type { TaskState } from '../../../src/model/task-state.js';
import {
  FakeTime,
  cluster,
  node,
  seededBytes,
  seededNumbers,
  service,
  storeOf,
  task,
  taskSpec,
} from '../../support/cluster-objects.js';
import { active, down, drained, paused } from './stage.js';

const random = seededBytes(1);
const planners: Readonly<Record<string, Planner>> = {
  orchestrator: (view, nowMs, scope) => planServices(view, nowMs, random, scope),
  reaper: planReaping,
};

const unheardOf = (known: Node): Node => ({ ...known, status: { ...known.status, state: 'unknown' } });

/** What a write does, whatever id a new task was given. */
const lineOf = (write: Write): string => {
  if (write.op === 'delete') return `delete ${write.id}`;
  if (write.kind === 'task' && write.op === 'create')
    return `create of ${write.object.serviceId} ${JSON.stringify({ ...write.object, id: '' })}`;
  return `${write.op} ${JSON.stringify(write.object)}`;
};

const serviceIds = ['api', 'db', 'everywhere', 'job', 'job everywhere', 'web'];
const nodeIds = ['n1', 'n2', 'n3'];

/** A cluster in which one thing after another happens, as users, nodes and agents would have it. */
class Turmoil {
  readonly #next: () => number;

  private constructor(
    seed: number,
    readonly store: MemoryStore,
    readonly time: FakeTime,
  ) {
    this.#next = seededNumbers(seed);
  }

  static async of(seed: number): Promise<Turmoil> {
    const time = new FakeTime(1_000_000);
    const store = await storeOf({ cluster: [cluster()], node: nodeIds.map((id) => node(id)) }, time);
    const turmoil = new Turmoil(seed, store, time);
    for (const id of serviceIds) await store.update((tx) => tx.create('service', turmoil.#service(id)));
    return turmoil;
  }

  #pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.#next() * items.length)] as T;
  }

  #service(id: string): Service {
    const restartPolicy = {
      condition: 'any',
      delayNs: 5e9,
      maxAttempts: this.#pick([0, 2]),
      windowNs: 0,
    } as const;
    const modes: Readonly<Record<string, ServiceSpec['mode']>> = {
      everywhere: { kind: 'global' },
      job: { kind: 'replicated-job', maxConcurrent: 2, totalCompletions: this.#pick([2, 4]) },
      'job everywhere': { kind: 'global-job' },
    };
    const mode = modes[id] ?? { kind: 'replicated', replicas: this.#pick([0, 1, 3]) };
    const run = id.startsWith('job')
      ? { jobStatus: { iteration: this.#pick([0, 1]), lastExecutionMs: 0 } }
      : {};
    const taskTemplate = taskSpec({ restartPolicy }, this.#pick(['image:1', 'image:2']));
    return service(id, { mode, taskTemplate }, run);
  }

  /** One thing, after some time. */
  async happen(): Promise<void> {
    this.time.ms += this.#pick([0, 10, 1_000, 6_000, 70_000]);
    await this.store.update((tx) => {
      const tasks = tx.list('task');
      const kind = this.#next();
      if (kind < 0.6 && tasks.length > 0) {
        const one = this.#pick(tasks);
        if (isTerminal(one.status.state)) return;
        const later = (Object.keys(taskStates) as TaskState[]).filter(
          (state) => taskStates[state] > taskStates[one.status.state] && state !== 'remove',
        );
        const nodeId = one.nodeId ?? tx.get('node', this.#pick(nodeIds) as NodeId)?.id;
        const status = {
          state: this.#pick(later),
          message: '',
          timestampMs: tx.nowMs,
          appliedAtMs: tx.nowMs,
        };
        tx.update('task', { ...one, ...(nodeId && { nodeId }), status });
      } else if (kind < 0.8) {
        const id = this.#pick(serviceIds) as ServiceId;
        const known = tx.get('service', id);
        const { spec, jobStatus } = this.#service(id);
        if (!known) tx.create('service', this.#service(id));
        else if (this.#next() < 0.3) tx.delete('service', id);
        else {
          const { updateStatus: _, ...rest } = known;
          const previous = { previousSpec: known.spec, previousSpecVersion: known.specVersion };
          tx.update('service', {
            ...rest,
            spec,
            specVersion: tx.revision,
            ...previous,
            ...(jobStatus && { jobStatus }),
          });
        }
      } else if (kind < 0.95) {
        const id = this.#pick(nodeIds);
        const known = tx.get('node', id as NodeId);
        const change = this.#pick([active, active, drained, paused, down, unheardOf]);
        if (!known) tx.create('node', node(id));
        else if (this.#next() < 0.3) tx.delete('node', id);
        else tx.update('node', change({ ...known, status: { ...known.status, state: 'ready' } }));
      } else {
        const known = tx.cluster();
        tx.update('cluster', {
          ...known,
          spec: { ...known.spec, taskHistoryRetentionLimit: this.#pick([0, 1, 5]) },
        });
      }
    });
  }
}

describe.each(Object.entries(planners))('a pass of the %s over what was touched', (_, planner) => {
  test('writes what one over everything would, and asks for the same time', { timeout: 60_000 }, async () => {
    let writes = 0;
    let scoped = 0;
    for (let seed = 1; seed <= 30; seed++) {
      const turmoil = await Turmoil.of(seed);
      const { store, time } = turmoil;
      const touched = new Touched();
      store.subscribe(({ changes }) => changes.forEach((change) => touched.note(change)));
      for (let step = 0; step < 40; step++) {
        await turmoil.happen();
        // The others' part, so that tasks come and go.
        for (const other of Object.values(planners))
          if (other !== planner) await applyPlanner(store, other, time.nowMs);
        for (;;) {
          const whole = planner(store.view(), time.ms);
          const scope = touched.take(time.ms, store.view());
          const plan = planner(store.view(), time.ms, scope);
          expect(plan.writes.map(lineOf).sort(), `seed ${seed}, step ${step}`).toEqual(
            whole.writes.map(lineOf).sort(),
          );
          touched.planned(scope, plan);
          expect(touched.wakeAtMs(), `seed ${seed}, step ${step}`).toEqual(whole.wakeAtMs);
          scoped += Number(scope !== undefined);
          writes += plan.writes.length;
          if (plan.writes.length === 0) break;
          await applyPlanner(store, () => plan, time.nowMs);
        }
      }
    }
    expect(scoped).toBeGreaterThan(500);
    expect(writes).toBeGreaterThan(150);
  });
});

test('everything is looked at bit by bit where there is much, and what was touched before the rest', async () => {
  const ids = Array.from({ length: 10 }, (_, i) => `s${i}`);
  const services = ids.map((id) => service(id));
  const store = await storeOf({
    ...{ cluster: [cluster()], service: services },
    task: services.flatMap((one) =>
      [1, 2, 3].map((i) => task(`${one.id}.${i}`, one, 'running', { node: 'n1' })),
    ),
  });
  const touched = new Touched(8);
  const seen: string[] = [];
  const look = (): readonly string[] => {
    const scope = touched.take(0, store.view());
    if (scope === undefined) throw new Error('there is more than fits one look');
    touched.planned(scope, { wakes: new Map(), unfinished: new Set() });
    seen.push(...scope);
    return [...scope];
  };
  expect(look()).toHaveLength(2);
  expect(touched.wakeAtMs()).toBe(0);
  touched.note({ kind: 'service', id: 's9' as ServiceId });
  expect(look()[0]).toBe('s9');
  while (touched.wakeAtMs() === 0) expect(look().length).toBeLessThanOrEqual(2);
  expect([...new Set(seen)].sort()).toEqual(ids);
  expect(look()).toEqual([]);
});

test('a node that is another now concerns those with tasks there, and those that are to have one on each', async () => {
  const [near, far] = [service('near'), service('far')];
  const everywhere = service('everywhere', { mode: { kind: 'global' } });
  const store = await storeOf({
    ...{ cluster: [cluster()], node: [node('n1'), node('n2')], service: [near, far, everywhere] },
    task: [task('t1', near, 'running', { node: 'n1' }), task('t2', far, 'running', { node: 'n2' })],
  });
  const touched = new Touched();
  touched.planned(touched.take(0, store.view()), { wakes: new Map(), unfinished: new Set() });
  store.subscribe(({ changes }) => changes.forEach((change) => touched.note(change)));
  await store.update((tx) => {
    const known = tx.get('node', 'n1' as NodeId);
    if (known) tx.update('node', drained(known));
  });
  expect([...(touched.take(0, store.view()) ?? [])].sort()).toEqual(['everywhere', 'near']);
});
