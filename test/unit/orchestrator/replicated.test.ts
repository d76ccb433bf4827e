import { describe, expect, test } from 'vitest';
import { slotsToKeep } from '../../../src/controlplane/orchestrator/replicated.js';
import type { ServiceSpec } from '../../../src/model/service-spec.js';
import { node, service, task } from '../../support/cluster-objects.js';
import { Stage, active, drained } from './stage.js';

const nodes = [node('n1'), node('n2'), node('n3')];
const replicas = (count: number): Pick<ServiceSpec, 'mode'> => ({
  mode: { kind: 'replicated', replicas: count },
});

describe('replicated services', () => {
  test('creates a task per replica, each a snapshot of the service', async () => {
    const stage = await Stage.of({ node: nodes, service: [service('web', replicas(3), { specVersion: 7 })] });
    await stage.settle();
    expect(stage.picture()).toEqual(['1 running/new', '2 running/new', '3 running/new']);
    expect(stage.tasks()[0]).toMatchObject({
      serviceName: 'web',
      specVersion: 7,
      status: { state: 'new', message: 'created', appliedAtMs: 1000 },
      networks: [],
    });
  });

  test('scales up into the lowest free slots, down to none, and up again', async () => {
    const stage = await Stage.of({ node: nodes, service: [service('web', replicas(2))] });
    await stage.settle();
    await stage.perform();
    await stage.update(replicas(4));
    expect(stage.picture()).toEqual([
      '1 running/running',
      '2 running/running',
      '3 running/new',
      '4 running/new',
    ]);
    expect(stage.service().updateStatus).toBeUndefined();
    await stage.update(replicas(0));
    expect(stage.picture().every((line) => line.includes(' remove/'))).toBe(true);
    await stage.update(replicas(1));
    expect(stage.picture().filter((line) => line === '1 running/new')).toHaveLength(1);
  });

  test('more replicas than a transaction takes', async () => {
    const stage = await Stage.of({ node: nodes, service: [service('web', replicas(450))] });
    await stage.settle();
    expect(stage.tasks().map(({ slot }) => slot)).toEqual(Array.from({ length: 450 }, (_, i) => i + 1));
  });

  test('a removed service: its tasks are to be removed', async () => {
    const stage = await Stage.of({ node: nodes, service: [service('web', replicas(2))] });
    await stage.settle();
    await stage.store.update((tx) => tx.delete('service', 'web'));
    await stage.settle();
    expect(stage.picture()).toEqual(['1 remove/new', '2 remove/new']);
  });

  test('a deleted record is replaced in its slot', async () => {
    const stage = await Stage.of({ node: nodes, service: [service('web', replicas(2))] });
    await stage.settle();
    await stage.store.update((tx) => tx.delete('task', stage.tasks()[0]?.id ?? ''));
    await stage.settle();
    expect(stage.picture()).toEqual(['1 running/new', '2 running/new']);
  });

  test('a drained node loses its tasks without delay; nothing moves back', async () => {
    const stage = await Stage.of({ node: nodes, service: [service('web', replicas(2))] });
    await stage.settle();
    await stage.perform();
    await stage.setNode('n1', drained);
    expect(stage.picture()).toEqual(['1 shutdown/running', '1 ready/new', '2 running/running']);
    // Drained or not, the old task is waited for.
    await stage.move(stage.tasks()[0], 'shutdown');
    expect(stage.picture()).toEqual(['1 shutdown/shutdown', '1 running/new', '2 running/running']);
    await stage.setNode('n1', active);
    expect(stage.picture()).toEqual(['1 shutdown/shutdown', '1 running/new', '2 running/running']);
  });
});

describe('slotsToKeep', () => {
  const of = service('web');
  const at = (slot: number, on: string | undefined, state: 'running' | 'pending' = 'running') =>
    [slot, [task(`t${slot}`, of, state, { slot, ...(on === undefined ? {} : { node: on }) })]] as const;
  const twoTasks = [9, [...at(9, 'n9')[1], ...at(9, 'n8')[1]]] as const;
  test.each([
    ['the highest numbers go', [at(1, 'n1'), at(2, 'n2'), at(3, 'n3')], 2, [1, 2]],
    ['the fullest node gives first', [at(1, 'n1'), at(2, 'n1'), at(3, 'n2')], 2, [1, 3]],
    ['what does not run goes before what does', [at(1, 'n1', 'pending'), at(2, 'n1')], 1, [2]],
    ['what has no node yet goes first', [at(1, undefined, 'pending'), at(2, 'n1'), at(3, 'n1')], 2, [2, 3]],
    ['a slot with two tasks goes first', [twoTasks, at(10, 'n1'), at(11, 'n1')], 2, [10, 11]],
    ['nothing goes', [at(1, 'n1')], 3, [1]],
  ])('%s', (_, slots, count, kept) => {
    expect(
      slotsToKeep(slots, count)
        .map(([slot]) => slot)
        .sort((a, b) => a - b),
    ).toEqual(kept);
  });
});
