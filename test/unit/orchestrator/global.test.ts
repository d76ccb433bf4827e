import { expect, test } from 'vitest';
import { node, service, taskSpec } from '../../support/cluster-objects.js';
import { Stage, active, down, drained, paused } from './stage.js';

const onRack = taskSpec({
  placement: { constraints: ['node.labels.rack==a'], preferences: [], maxReplicas: 0, platforms: [] },
});

async function running(): Promise<Stage> {
  const nodes = [node('n1'), node('n2')];
  const stage = await Stage.of({ node: nodes, service: [service('web', { mode: { kind: 'global' } })] });
  await stage.settle();
  await stage.perform();
  expect(stage.picture()).toEqual(['n1 running/running', 'n2 running/running']);
  return stage;
}

test('one task on every node, bound from the start', async () => {
  await running();
});

test('a drained node loses its task and gets a new one when it is back', async () => {
  const stage = await running();
  await stage.setNode('n1', drained);
  expect(stage.picture()).toEqual(['n1 shutdown/running', 'n2 running/running']);
  await stage.perform();
  await stage.after(10);
  await stage.setNode('n1', active);
  expect(stage.picture().filter((line) => line.startsWith('n1 '))).toEqual([
    'n1 shutdown/shutdown',
    'n1 running/new',
  ]);
});

test('a node that is down', async () => {
  const stage = await running();
  await stage.setNode('n2', down);
  expect(stage.picture()).toEqual(['n1 running/running', 'n2 shutdown/running']);
});

test('a paused node keeps what runs and gets nothing for what fails', async () => {
  const stage = await running();
  await stage.setNode('n1', paused);
  expect(stage.picture()[0]).toBe('n1 running/running');
  await stage.move(stage.tasks()[0], 'failed');
  expect(stage.picture()).toEqual(['n1 shutdown/failed', 'n2 running/running']);
});

test('a failed task is restarted on its node', async () => {
  const stage = await running();
  await stage.move(stage.tasks()[0], 'failed');
  expect(stage.picture()).toEqual(['n1 shutdown/failed', 'n1 ready/new', 'n2 running/running']);
});

test('records of a node that is gone are deleted', async () => {
  const stage = await running();
  await stage.store.update((tx) => tx.delete('node', 'n2'));
  await stage.settle();
  expect(stage.picture()).toEqual(['n1 running/running']);
});

test('constraints choose the nodes, now and later', async () => {
  const nodes = [node('n1', { labels: { rack: 'a' } }), node('n2')];
  const spec = { mode: { kind: 'global' }, taskTemplate: onRack } as const;
  const stage = await Stage.of({ node: nodes, service: [service('web', spec)] });
  await stage.settle();
  expect(stage.picture()).toEqual(['n1 running/new']);
  await stage.setNode('n2', (each) => ({ ...each, spec: { ...each.spec, labels: { rack: 'a' } } }));
  await stage.setNode('n1', (each) => ({ ...each, spec: { ...each.spec, labels: {} } }));
  expect(stage.picture()).toEqual(['n1 shutdown/new', 'n2 running/new']);
});

test('an update rolls over the nodes one by one', async () => {
  const stage = await running();
  await stage.update({ taskTemplate: taskSpec({}, 'image:2') });
  expect(stage.picture()).toEqual(['n1 shutdown/running', 'n1 ready/new', 'n2 running/running']);
});
