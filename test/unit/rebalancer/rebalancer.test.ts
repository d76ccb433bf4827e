import { beforeEach, describe, expect, test } from 'vitest';
import { moveIn } from '../../../src/controlplane/orchestrator/moves.js';
import { planRebalancing } from '../../../src/controlplane/rebalancer/rebalancer.js';
import type { View } from '../../../src/controlplane/store/store.js';
import type { NodeId, TaskId } from '../../../src/model/ids.js';
import type { Node, Service, Task } from '../../../src/model/objects.js';
import { instanceOf } from '../../../src/model/objects.js';
import type { Placement, ServiceSpec, TaskSpec } from '../../../src/model/service-spec.js';
import { defaultUpdateConfig } from '../../../src/model/service-laws.js';
import { node, seededBytes, seededNumbers, service, taskSpec } from '../../support/cluster-objects.js';
import { active, down, drained, paused } from '../orchestrator/stage.js';
import { Town } from '../orchestrator/town.js';

const noPlacement: Placement = { constraints: [], preferences: [], maxReplicas: 0, platforms: [] };
const restartPolicy = { condition: 'any', delayNs: 0, maxAttempts: 0, windowNs: 0 } as const;
const template = (over: Partial<TaskSpec> = {}, image = 'a'): TaskSpec =>
  taskSpec({ restartPolicy, ...over }, image);
const asking = (replicas: number, over: Partial<ServiceSpec> = {}, label = '60/minute'): Service =>
  service('web', {
    mode: { kind: 'replicated', replicas },
    labels: { 'skep.rebalance': label },
    taskTemplate: template(),
    ...over,
  });
const ready = (node: Node): Node => ({ ...node, status: { ...node.status, state: 'ready' } });
const moved = (town: Town): Task[] =>
  town.view.list('task').filter(({ succession }) => succession?.cause === 'rebalance');

/** Three nodes, of which the third has been down while the service was created; it is back now. */
async function returned(of: Service, over: (node: Node) => Node = (node) => node): Promise<Town> {
  const town = await Town.of([node('n1'), node('n2'), over(down(node('n3')))], [of]);
  await town.setNode('n3', ready);
  return town;
}

describe('a node that returns', () => {
  test('gets its share, start-first, once it has settled', async () => {
    const town = await returned(asking(6));
    await town.after(29_000);
    expect(town.spread()).toEqual({ n1: 3, n2: 3, n3: 0 });
    const least: number[] = [];
    town.watch = (view) =>
      least.push(
        view.list('task').filter((task) => task.desiredState === 'running' && task.status.state === 'running')
          .length,
      );
    await town.after(10_000);
    expect(town.spread()).toEqual({ n1: 2, n2: 2, n3: 2 });
    expect(Math.min(...least)).toBe(6);
    await town.after(300_000);
    expect(moved(town)).toHaveLength(2);
    expect(town.service()).not.toHaveProperty('updateStatus');
    // Nobody asks for another pass for its sake.
    expect(planRebalancing(town.view, town.time.ms, seededBytes(2))).toMatchObject({
      writes: [],
      more: false,
    });
  });

  test('counts as one when it was drained', async () => {
    const town = await Town.of([node('n1'), node('n2'), node('n3')], [asking(5)]);
    await town.setNode('n1', drained);
    await town.after(60_000);
    expect(Object.values(town.spread()).sort()).toEqual([0, 2, 3]);
    await town.setNode('n1', active);
    await town.after(60_000);
    expect(Object.values(town.spread()).sort()).toEqual([1, 2, 2]);
  });

  test('gets no more in a minute than the budget allows, also under another leader', async () => {
    const town = await returned(asking(12, {}, '1/minute'));
    const times = async (ms: number): Promise<number> => {
      await town.after(ms);
      return moved(town).length;
    };
    expect(await times(31_000)).toBe(1);
    expect(await times(55_000)).toBe(1);
    expect(await times(10_000)).toBe(2);
    expect(await times(60_000)).toBe(3);
    expect(await times(60_000)).toBe(4);
    expect(await times(600_000)).toBe(4);
    expect(town.service().rebalancing?.movesAtMs).toHaveLength(1);
  });
});

test.each([
  // Four of the two in rack a, none in b: two go there.
  [
    { n1: 'a', n2: 'a', n3: 'b' },
    { n1: 1, n2: 1, n3: 2 },
  ],
  // The racks are even; within b the nodes are not.
  [
    { n1: 'a', n2: 'b', n3: 'b' },
    { n1: 2, n2: 1, n3: 1 },
  ],
])('racks are evened before nodes where they are preferred: %j', async (racks, expected) => {
  const preferences = [{ spreadDescriptor: 'node.labels.rack' }];
  const inRack = (id: keyof typeof racks): Node => node(id, { labels: { rack: racks[id] } });
  const of = asking(4, { taskTemplate: template({ placement: { ...noPlacement, preferences } }) });
  const town = await Town.of([inRack('n1'), inRack('n2'), down(inRack('n3'))], [of]);
  await town.setNode('n3', ready);
  await town.after(120_000);
  expect(town.spread()).toEqual(expected);
});

test('a slot that its policy has given up keeps the others of its service from nothing', async () => {
  const policy = { ...restartPolicy, condition: 'none' } as const;
  const town = await Town.of(
    [node('n1')],
    [asking(5, { taskTemplate: template({ restartPolicy: policy }) })],
  );
  const [done] = town.live();
  await town.write((tx) => {
    if (done) tx.update('task', { ...done, status: { ...done.status, state: 'complete' } });
  });
  await town.write((tx) => tx.create('node', node('n2')));
  await town.after(120_000);
  expect(town.spread()).toEqual({ n1: 2, n2: 2 });
});

test('a node that joins gets its share', async () => {
  const town = await Town.of([node('n1')], [asking(4)]);
  await town.write((tx) => tx.create('node', node('n2')));
  await town.after(60_000);
  expect(town.spread()).toEqual({ n1: 2, n2: 2 });
});

describe('nothing is moved', () => {
  test.each<[string, Service, ((node: Node) => Node)?]>([
    ['without the label', asking(6, { labels: {} })],
    ['where it says off', asking(6, {}, 'off')],
    ['of a difference of one', asking(1)],
    [
      'against a constraint',
      asking(6, { taskTemplate: template({ placement: { ...noPlacement, constraints: ['node.id!=n3'] } }) }),
    ],
    [
      'where there is no room',
      asking(6, {
        taskTemplate: template({ resources: { reservations: { nanoCpus: 1e9, memoryBytes: 0 } } }),
      }),
      (node) => ({
        ...node,
        ...(node.description && {
          description: { ...node.description, resources: { nanoCpus: 1, memoryBytes: 1 } },
        }),
      }),
    ],
    ['to a paused node', asking(6), paused],
    ['to a drained node', asking(6), drained],
  ])('%s', async (_, of, over) => {
    const town = await returned(of, over);
    const before = town.spread();
    await town.after(120_000);
    expect(moved(town)).toEqual([]);
    expect(town.spread()).toEqual(before);
  });

  test('from a paused node', async () => {
    const town = await Town.of([node('n1')], [asking(4)]);
    await town.setNode('n1', paused);
    await town.write((tx) => tx.create('node', node('n2')));
    await town.after(120_000);
    expect(town.spread()).toEqual({ n1: 4, n2: 0 });
  });

  test('of a service whose update is paused', async () => {
    const town = await returned(asking(6));
    await town.write((tx) =>
      tx.update('service', {
        ...town.service(),
        updateStatus: { state: 'paused', startedAtMs: town.time.ms, message: '' },
      }),
    );
    await town.after(120_000);
    expect(moved(town)).toEqual([]);
  });

  test('of a slot that has failed within five minutes', async () => {
    const town = await Town.of([node('n1')], [asking(2)]);
    await town.write((tx) => {
      for (const task of town.live())
        tx.update('task', {
          ...task,
          status: { ...task.status, state: 'failed', appliedAtMs: town.time.ms },
        });
    });
    await town.write((tx) => tx.create('node', node('n2')));
    await town.after(299_000);
    expect(moved(town)).toEqual([]);
    await town.after(31_000);
    expect(town.spread()).toEqual({ n1: 1, n2: 1 });
  });

  test('to a node where the service has failed within five minutes', async () => {
    const town = await returned(asking(6));
    await town.store.update((tx) => {
      const [example] = town.live();
      if (!example) throw new Error('no task');
      const status = { ...example.status, state: 'failed' as const, appliedAtMs: town.time.ms };
      tx.create('task', {
        ...{ ...example, id: 'failed' as TaskId, nodeId: 'n3' as NodeId, desiredState: 'shutdown', status },
      });
    });
    const plan = (afterMs: number): readonly unknown[] =>
      planRebalancing(town.view, town.time.ms + afterMs, seededBytes(2)).writes;
    expect(plan(290_000)).toEqual([]);
    expect(plan(301_000)).toHaveLength(2);
  });
});

describe('a move', () => {
  let town: Town;
  const move = (): { from: Task; to: Task } => {
    const slots = new Map<string, Task[]>();
    for (const task of town.live())
      slots.set(instanceOf(task), [...(slots.get(instanceOf(task)) ?? []), task]);
    const found = [...slots.values()].flatMap((tasks) => moveIn(tasks) ?? []);
    expect(found).toHaveLength(1);
    return found[0] as { from: Task; to: Task };
  };
  const get = (id: TaskId): Task | undefined => town.view.get('task', id);
  const report = (task: Task, state: Task['status']['state']): Promise<void> =>
    town.write((tx) => {
      const current = tx.get('task', task.id);
      if (!current) throw new Error('no such task');
      tx.update('task', { ...current, status: { ...current.status, state, appliedAtMs: town.time.ms } });
    });

  beforeEach(async () => {
    town = await returned(asking(6));
    town.obey = (task) => (task.succession?.cause === 'rebalance' ? 'starting' : 'running');
    await town.after(31_000);
  });

  test('is one at a time, bound to its node, and the old task goes when the new one runs', async () => {
    const { from, to } = move();
    expect(to).toMatchObject({ slot: from.slot, nodeId: 'n3', desiredState: 'running' });
    expect(to.status.state).toBe('starting');
    await town.after(60_000);
    expect(move()).toMatchObject({ from: { id: from.id }, to: { id: to.id } });
    await report(to, 'running');
    expect(get(from.id)).toMatchObject({ desiredState: 'shutdown', status: { state: 'shutdown' } });
  });

  test('is given up when the new task fails, the old one stays, and the next waits', async () => {
    const { from, to } = move();
    await report(to, 'failed');
    expect(get(to.id)).toMatchObject({ desiredState: 'shutdown', status: { state: 'failed' } });
    expect(get(from.id)).toMatchObject({ desiredState: 'running', status: { state: 'running' } });
    expect(town.live()).toHaveLength(6);
    await town.after(9 * 60_000);
    expect(town.live()).toHaveLength(6);
    await town.after(2 * 60_000);
    expect(town.service().rebalancing).toMatchObject({ failures: 1 });
    await report(move().to, 'failed');
    await town.after(13 * 60_000);
    expect(town.live()).toHaveLength(6);
    town.obey = () => 'running';
    await town.after(6 * 60_000);
    expect(town.spread()).toEqual({ n1: 2, n2: 2, n3: 2 });
    expect(town.service().rebalancing).toMatchObject({ failures: 0 });
  });

  test('is given up when the new task does not run in time', async () => {
    const { from, to } = move();
    await town.after(5 * 60_000 - 2_000);
    expect(move().to.id).toBe(to.id);
    await town.after(3_000);
    expect(get(to.id)).toMatchObject({ desiredState: 'shutdown' });
    expect(get(from.id)).toMatchObject({ desiredState: 'running' });
  });

  test('is given up when the new node is lost', async () => {
    const { from, to } = move();
    await town.setNode('n3', down);
    expect(get(to.id)).toMatchObject({ desiredState: 'shutdown' });
    expect(get(from.id)).toMatchObject({ desiredState: 'running' });
    expect(town.live()).toHaveLength(6);
  });

  test('is what replaces the old task when that fails meanwhile', async () => {
    const { from, to } = move();
    await report(from, 'failed');
    expect(get(from.id)).toMatchObject({ desiredState: 'shutdown' });
    expect(town.live().filter(({ slot }) => slot === from.slot)).toMatchObject([{ id: to.id }]);
    // From now on it is restarted as any other.
    await report(to, 'failed');
    expect(town.live().filter(({ slot }) => slot === from.slot)).toMatchObject([
      { succession: { of: to.id, cause: 'restart' } },
    ]);
  });

  test('ends with a slot that is not to be filled again', async () => {
    town = await returned(
      asking(6, { taskTemplate: template({ restartPolicy: { ...restartPolicy, condition: 'none' } }) }),
    );
    town.obey = () => 'starting';
    await town.after(31_000);
    const { from, to } = move();
    await report(from, 'complete');
    expect(get(to.id)).toMatchObject({ desiredState: 'shutdown' });
    expect(new Set(town.live().map(instanceOf)).size).toBe(5);
  });

  test('is overtaken by an update, which replaces each slot once', async () => {
    for (const order of ['stop-first', 'start-first'] as const) {
      town = await returned(asking(6, { updateConfig: { ...defaultUpdateConfig, order } }));
      town.obey = (task) => (task.succession?.cause === 'rebalance' ? 'starting' : 'running');
      await town.after(31_000);
      move();
      await town.update({ taskTemplate: template({}, 'b') });
      await town.after(20_000);
      expect(town.service().updateStatus?.state).toBe('completed');
      expect(town.live().map((task) => task.spec.container.image)).toEqual(Array(6).fill('b'));
    }
  });

  test('survives an update that replaces nothing, and is no update of its own', async () => {
    const { to } = move();
    await town.update({ labels: { ...town.service().spec.labels, more: 'words' } });
    expect(move().to.id).toBe(to.id);
    await report(to, 'running');
    expect(town.service()).not.toHaveProperty('updateStatus');
  });

  test('goes with a slot that is scaled away', async () => {
    const { from, to } = move();
    await town.update({ mode: { kind: 'replicated', replicas: 5 } });
    expect([get(from.id), get(to.id)]).toEqual([undefined, undefined]);
    expect(new Set(town.live().map(instanceOf)).size).toBe(5);
  });
});

describe('clusters by chance', () => {
  const seeds = Array.from({ length: 30 }, (_, i) => i + 1);
  test.each(seeds)(
    'come to rest as even as can be, within the budget, and stay so (seed %i)',
    async (seed) => {
      const next = seededNumbers(seed);
      const int = (below: number): number => Math.floor(next() * below);
      const nodes = Array.from({ length: 3 + int(4) }, (_, i) =>
        node(`n${i + 1}`, { labels: { rack: `r${int(3)}` }, nanoCpus: 12e9 }),
      );
      const services = Array.from({ length: 1 + int(3) }, (_, i) =>
        service(`s${i}`, {
          mode: { kind: 'replicated', replicas: 1 + int(9) },
          labels: { 'skep.rebalance': `${1 + int(4)}/minute` },
          taskTemplate: template({
            resources: { reservations: { nanoCpus: int(2) * 1e9, memoryBytes: 0 } },
            placement: {
              ...noPlacement,
              preferences: next() < 0.4 ? [{ spreadDescriptor: 'node.labels.rack' }] : [],
              constraints: next() < 0.3 ? ['node.labels.rack!=r0'] : [],
            },
          }),
        }),
      );
      const town = await Town.of(nodes, services);
      town.watch = (view) => lawful(view, services);
      for (let i = 0; i < 3; i++) {
        const { id } = nodes[int(nodes.length)] ?? { id: 'n1' };
        const leave = next() < 0.5 ? drained : down;
        await town.setNode(id, leave);
        await town.after(5_000 * int(4));
        await town.setNode(id, leave === drained ? active : ready);
      }
      const before = moved(town).length;
      await town.after(10 * 60_000);
      const replicas = services.reduce((sum, { id }) => sum + town.live(id).length, 0);
      expect(moved(town).length - before).toBeLessThanOrEqual(replicas);
      for (const { id, spec } of services) expect(unevenness(town, id, spec)).toBeLessThanOrEqual(1);
      const { revision } = town.view;
      await town.after(10 * 60_000);
      expect(town.view.revision).toBe(revision);
    },
  );

  /** Never two moves of one service, nor a slot with none that runs for a move's sake. */
  function lawful(view: View, services: readonly Service[]): void {
    for (const { id } of services) {
      const slots = new Map<string, Task[]>();
      for (const task of view.tasksOfService(id))
        slots.set(instanceOf(task), [...(slots.get(instanceOf(task)) ?? []), task]);
      const moves = [...slots.values()].flatMap((tasks) => moveIn(tasks) ?? []);
      expect(moves.length).toBeLessThanOrEqual(1);
    }
  }

  /** Of racks where they are preferred, else of the nodes that the service may be on. */
  function unevenness(town: Town, id: string, { taskTemplate: { placement } }: ServiceSpec): number {
    const counts = new Map<string, number>();
    const spread = town.spread(id);
    for (const { id: nodeId, spec } of town.view.list('node')) {
      const rack = spec.labels['rack'] ?? '';
      if (placement?.constraints.length && rack === 'r0') continue;
      const place = placement?.preferences.length ? rack : nodeId;
      counts.set(place, (counts.get(place) ?? 0) + (spread[nodeId] ?? 0));
    }
    if (counts.size === 0) return 0;
    return Math.max(...counts.values()) - Math.min(...counts.values());
  }
});
