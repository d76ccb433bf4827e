/** A service that cannot run on one of three nodes: its tasks end up on the others. */
import { expect, test } from 'vitest';
import { node, service, taskSpec } from '../../support/cluster-objects.js';
import { Town } from './town.js';

const nodes = ['n1', 'n2', 'n3'].map((id) => node(id));

test.each([
  { historyLimit: 5, failuresMost: 4 },
  { historyLimit: 10, failuresMost: 5 },
  { historyLimit: -1, failuresMost: 5 },
  { historyLimit: 2, failuresMost: 1 },
  { historyLimit: 1, failuresMost: 1 },
  { historyLimit: 0, failuresMost: 1 },
])('with a history of $historyLimit after $failuresMost failures', async ({ historyLimit, failuresMost }) => {
  const web = service('web', { mode: { kind: 'replicated', replicas: 3 }, taskTemplate: taskSpec() });
  const town = await Town.of(nodes, [], historyLimit);
  const failed = new Set<string>();
  town.obey = ({ id, nodeId }) => {
    if (nodeId === 'n2') failed.add(id);
    return nodeId === 'n2' ? 'failed' : 'running';
  };
  await town.write((tx) => tx.create('service', web));
  await town.after(120_000);
  expect(town.live().map(({ status }) => status.state)).toEqual(['running', 'running', 'running']);
  expect(town.spread()).toMatchObject({ n2: 0 });
  expect(failed.size).toBe(failuresMost);
  // Nobody goes back for the node's being empty.
  await town.after(600_000);
  expect(failed.size).toBe(failuresMost);
});

test('a service with another spec tries again', async () => {
  const web = service('web', { mode: { kind: 'replicated', replicas: 3 }, taskTemplate: taskSpec() });
  const town = await Town.of(nodes, []);
  town.obey = ({ nodeId, spec }) =>
    nodeId === 'n2' && spec.container.image === 'image:1' ? 'failed' : 'running';
  await town.write((tx) => tx.create('service', web));
  await town.after(120_000);
  expect(town.spread()).toMatchObject({ n2: 0 });
  await town.update({ taskTemplate: taskSpec({}, 'image:2') });
  await town.after(60_000);
  expect(town.spread()).toEqual({ n1: 1, n2: 1, n3: 1 });
});
