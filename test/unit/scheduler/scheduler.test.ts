import { describe, expect, test } from 'vitest';
import { applyPlanner } from '../../../src/controlplane/plan.js';
import { planScheduling } from '../../../src/controlplane/scheduler/scheduler.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { TaskId } from '../../../src/model/ids.js';
import type { Node, Service, Task } from '../../../src/model/objects.js';
import type { NodeOptions } from '../../support/cluster-objects.js';
import {
  FakeTime,
  attachment,
  network,
  node,
  service,
  storeOf,
  task,
  taskSpec,
} from '../../support/cluster-objects.js';

const web = service('web');
const other = service('other');
const time = new FakeTime(9000);
const pending = (count: number, of: Service = web): Task[] =>
  Array.from({ length: count }, (_, i) => task(`p${i + 1}`, of, 'pending', { slot: i + 1 }));
const running = (id: string, of: Service, on: string): Task =>
  task(id, of, 'running', { node: on, slot: 50 });
const nodes = (...given: readonly (readonly [string, NodeOptions?])[]): Node[] =>
  given.map(([id, options]) => node(id, options));

/** Schedules all there is, and checks that a second pass finds nothing to do. */
async function schedule(on: readonly Node[], tasks: readonly Task[]): Promise<MemoryStore> {
  const store = await storeOf({ node: on, service: [web, other], task: tasks }, time);
  await applyPlanner(store, planScheduling, time.nowMs);
  expect(planScheduling(store.view(), time.ms).writes).toEqual([]);
  return store;
}
const get = (store: MemoryStore, id: string): Task => store.view().get('task', id as TaskId) as Task;
const placement = (store: MemoryStore, tasks: readonly Task[]): (string | undefined)[] =>
  tasks.map(({ id }) => get(store, id).nodeId);

describe('placing', () => {
  test('spreads over nodes', async () => {
    const tasks = pending(7);
    const store = await schedule(nodes(['a'], ['b'], ['c']), tasks);
    expect(placement(store, tasks)).toEqual(['a', 'b', 'c', 'a', 'b', 'c', 'a']);
    expect(get(store, 'p1').status).toEqual({
      state: 'assigned',
      message: 'scheduler assigned task to node',
      timestampMs: 9000,
      appliedAtMs: 9000,
    });
  });

  test('tasks on encrypted networks go where the kernel has ESP, and anywhere where none has', async () => {
    const base = network('enc');
    const enc = { ...base, spec: { ...base.spec, driverOptions: { encrypted: '' } } };
    const leg = {
      networkId: enc.id,
      address: '10.0.1.5',
      prefixLength: 24,
      mac: '02:00:00:00:00:01',
      aliases: [],
    };
    const tasks = pending(2).map((one) => ({
      ...one,
      networks: [leg as unknown as Task['networks'][number]],
    }));
    const saying = (id: string, esp: string): Node => {
      const one = node(id);
      const { description } = one;
      if (!description) throw new Error('a node with a description');
      const engine = { ...description.engine, labels: { 'skep.esp': esp } };
      return { ...one, description: { ...description, engine } };
    };
    const placed = async (...on: readonly Node[]): Promise<(string | undefined)[]> => {
      const store = await storeOf({ node: on, service: [web], network: [enc], task: tasks }, time);
      await applyPlanner(store, planScheduling, time.nowMs);
      return placement(store, tasks);
    };
    expect(await placed(saying('a', 'false'), saying('b', 'true'))).toEqual(['b', 'b']);
    expect(await placed(saying('a', 'false'), node('c'))).toEqual(['c', 'c']);
    expect(await placed(saying('a', 'false'))).toEqual(['a', 'a']);
  });

  test('fills the least loaded of the service first, then by all tasks', async () => {
    const there = [running('w1', web, 'a'), running('o1', other, 'b'), running('o2', other, 'b')];
    const tasks = pending(3);
    const store = await schedule(nodes(['a'], ['b'], ['c']), [...there, ...tasks]);
    expect(placement(store, tasks)).toEqual(['c', 'b', 'a']);
  });

  test('a user’s own containers count for nothing', async () => {
    const own = ['x', 'y'].map((id) => attachment(id, 'a', { networkId: 'net', address: '10.0.1.5' }));
    const tasks = pending(2);
    const store = await schedule(nodes(['a'], ['b']), [...own, running('o1', other, 'b'), ...tasks]);
    expect(placement(store, tasks)).toEqual(['a', 'b']);
  });

  test('each task gets resources of its own, by name where they have names', async () => {
    const greedy = service('web', {
      taskTemplate: taskSpec({
        resources: {
          reservations: {
            nanoCpus: 0,
            memoryBytes: 0,
            genericResources: [
              { kind: 'gpu', count: 2 },
              { kind: 'ssd', count: 1 },
            ],
          },
        },
      }),
    });
    const gpus = ['x', 'y', 'z', 'w', 'v'].map((name) => ({ kind: 'gpu', name }));
    const held = task('w1', greedy, 'running', {
      node: 'a',
      slot: 50,
      assignedGenericResources: [{ kind: 'gpu', name: 'y' }],
    });
    const tasks = pending(3, greedy);
    const rich = nodes(['a', { genericResources: [...gpus, { kind: 'ssd', count: 9 }] }], ['b']);
    const store = await schedule(rich, [held, ...tasks]);
    expect(tasks.map(({ id }) => get(store, id).assignedGenericResources)).toEqual([
      [
        { kind: 'gpu', name: 'x' },
        { kind: 'gpu', name: 'z' },
        { kind: 'ssd', count: 1 },
      ],
      [
        { kind: 'gpu', name: 'w' },
        { kind: 'gpu', name: 'v' },
        { kind: 'ssd', count: 1 },
      ],
      undefined,
    ]);
    expect(get(store, 'p3').status.err).toBe('no suitable node (insufficient resources on 2 nodes)');
  });

  test('counts what it placed in the same pass: reservations', async () => {
    const greedy = service('web', {
      taskTemplate: taskSpec({ resources: { reservations: { nanoCpus: 3e9, memoryBytes: 0 } } }),
    });
    const tasks = pending(3, greedy);
    const store = await schedule(nodes(['a'], ['b']), tasks);
    expect(placement(store, tasks)).toEqual(['a', 'b', undefined]);
    expect(get(store, 'p3').status.err).toBe('no suitable node (insufficient resources on 2 nodes)');
  });

  test('spreads over the values of a label first', async () => {
    const spread = service('web', {
      taskTemplate: taskSpec({
        placement: {
          constraints: [],
          preferences: [{ spreadDescriptor: 'node.labels.rack' }],
          maxReplicas: 0,
          platforms: [],
        },
      }),
    });
    const tasks = pending(4, spread);
    const racks = nodes(
      ['a', { labels: { rack: '1' } }],
      ['b', { labels: { rack: '1' } }],
      ['c', { labels: { rack: '1' } }],
      ['d', { labels: { rack: '2' } }],
    );
    const store = await schedule(racks, tasks);
    expect(placement(store, tasks)).toEqual(['a', 'd', 'b', 'd']);
    // A branch that is full hands over to the rest.
    const full = await schedule(
      racks.map((each) => (each.id === 'd' ? { ...each, status: { ...each.status, state: 'down' } } : each)),
      tasks,
    );
    expect(placement(full, tasks)).toEqual(['a', 'b', 'c', 'a']);
  });

  test('avoids a node where the service keeps failing', async () => {
    const failures = Array.from({ length: 4 }, (_, i) =>
      task(`f${i}`, web, 'failed', { node: 'a', slot: 1, desiredState: 'shutdown', appliedAtMs: 8000 }),
    );
    const tasks = pending(1);
    const busy = [running('w1', web, 'b')];
    expect(placement(await schedule(nodes(['a'], ['b']), [...busy, ...failures, ...tasks]), tasks)).toEqual([
      'b',
    ]);
    // One failure less is no reason.
    expect(
      placement(await schedule(nodes(['a'], ['b']), [...busy, ...failures.slice(1), ...tasks]), tasks),
    ).toEqual(['a']);
  });
});

describe('explaining', () => {
  test.each<[string, Node[], string]>([
    ['no nodes', [], 'no suitable node'],
    ['one node', nodes(['a', { state: 'down' }]), 'no suitable node (1 node not available for new tasks)'],
    [
      'several',
      nodes(['a', { availability: 'pause' }], ['b', { state: 'down' }]),
      'no suitable node (2 nodes not available for new tasks)',
    ],
  ])('%s', async (_, on, err) => {
    const store = await schedule(on, pending(1));
    expect(get(store, 'p1').status).toMatchObject({ state: 'pending', err, timestampMs: 9000 });
  });

  test('the reason goes when a node comes', async () => {
    const store = await schedule([], pending(1));
    await store.update((tx) => tx.create('node', node('a')));
    await applyPlanner(store, planScheduling, time.nowMs);
    expect(get(store, 'p1').status).not.toHaveProperty('err');
  });
});

describe('tasks bound to a node', () => {
  const bound = task('g', web, 'pending', { bound: true, node: 'a' });
  test('are confirmed there', async () => {
    const store = await schedule(nodes(['a']), [bound]);
    expect(get(store, 'g')).toMatchObject({
      nodeId: 'a',
      status: { state: 'assigned', message: 'scheduler confirmed task can run on preassigned node' },
    });
  });
  test('claim what they reserve there, and are told if there is not enough', async () => {
    const wanting = service('web', {
      taskTemplate: taskSpec({
        resources: {
          reservations: { nanoCpus: 0, memoryBytes: 0, genericResources: [{ kind: 'ssd', count: 2 }] },
        },
      }),
    });
    const both = ['g', 'h'].map((id) => task(id, wanting, 'pending', { slot: 0, node: 'a' }));
    const store = await schedule(nodes(['a', { genericResources: [{ kind: 'ssd', count: 3 }] }]), both);
    expect(get(store, 'g').assignedGenericResources).toEqual([{ kind: 'ssd', count: 2 }]);
    expect(get(store, 'h').status).toMatchObject({
      state: 'pending',
      err: 'insufficient resources on 1 node',
    });
  });
  test('are told why not, without the prefix', async () => {
    const store = await schedule(nodes(['a', { availability: 'pause' }], ['b']), [bound]);
    expect(get(store, 'g').status).toMatchObject({
      state: 'pending',
      err: '1 node not available for new tasks',
    });
  });
});

test.each(['new', 'pending'] as const)('a task that is to stop while it is %s has stopped', async (state) => {
  const store = await schedule(nodes(['a']), [task('t', web, state, { desiredState: 'shutdown' })]);
  expect(get(store, 't').status).toMatchObject({ state: 'shutdown', message: 'shutdown' });
});
