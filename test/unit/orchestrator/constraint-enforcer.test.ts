import { expect, test } from 'vitest';
import { planEnforcement } from '../../../src/controlplane/orchestrator/constraint-enforcer.js';
import type { Node, Service, Task } from '../../../src/model/objects.js';
import { attachment, node, service, storeOf, task, taskSpec, viewOf } from '../../support/cluster-objects.js';

const asking = (constraint: string): Service['spec']['taskTemplate'] =>
  taskSpec({ placement: { constraints: [constraint], preferences: [], maxReplicas: 0, platforms: [] } });
const web = service('web', { taskTemplate: asking('node.labels.disk==ssd') });
const greedy = service('web', {
  taskTemplate: taskSpec({ resources: { reservations: { nanoCpus: 3e9, memoryBytes: 0 } } }),
});
const plain = service('web');
const on = (of: Service, id = 't', over: Partial<Task> = {}): Task =>
  task(id, of, 'running', { node: 'n1', ...over });
const ssd = { labels: { disk: 'ssd' } };

test.each<[string, Node, Service, Task[], string[]]>([
  ['a node that fits', node('n1', ssd), web, [on(web)], []],
  ['a label that went', node('n1'), web, [on(web)], ['t']],
  ['a paused node is left alone', node('n1', { availability: 'pause' }), web, [on(web)], []],
  ['one that is down may go on running it', node('n1', { state: 'down' }), web, [on(web)], []],
  ['a task that is on its way out', node('n1'), web, [on(web, 't', { desiredState: 'shutdown' })], []],
  [
    'a user’s own container is nobody’s to move',
    node('n1', { nanoCpus: 0, memoryBytes: 0 }),
    greedy,
    [attachment('t0', 'n1', { networkId: 'net', address: '10.0.1.5' })],
    [],
  ],
  ['too little CPU for two', node('n1'), greedy, [on(greedy, 't1'), on(greedy, 't2')], ['t2']],
  ...(
    [
      ['a named resource that is there', [{ kind: 'gpu', name: 'a' }], []],
      ['a named resource that went', [{ kind: 'gpu', name: 'b' }], ['t']],
      ['names that became a number', [{ kind: 'gpu', count: 1 }], ['t']],
    ] as const
  ).map(([title, genericResources, ended]): [string, Node, Service, Task[], string[]] => [
    title,
    node('n1', { genericResources }),
    plain,
    [on(plain, 't', { assignedGenericResources: [{ kind: 'gpu', name: 'a' }] })],
    [...ended],
  ]),
  [
    'fewer of a kind than two were given',
    node('n1', { genericResources: [{ kind: 'ssd', count: 3 }] }),
    plain,
    ['t1', 't2'].map((id) => on(plain, id, { assignedGenericResources: [{ kind: 'ssd', count: 2 }] })),
    ['t2'],
  ],
  [
    'a constraint that the service took back',
    node('n1'),
    service('web', { taskTemplate: asking('node.role==worker') }),
    [on(web)],
    [],
  ],
  [
    'a constraint that is new to the service is for the updater',
    node('n1', ssd),
    service('web', { taskTemplate: asking('node.labels.disk==none') }),
    [on(web)],
    [],
  ],
])('%s', async (_, where, current, tasks, expected) => {
  const view = await viewOf({ node: [where], service: [current], task: tasks });
  const { writes } = planEnforcement(view, 7);
  expect(writes.map((write) => (write.op === 'delete' ? write.id : write.object.id))).toEqual(expected);
  for (const write of writes)
    expect(write).toMatchObject({
      object: {
        status: { state: 'rejected', err: 'assigned node no longer meets constraints', appliedAtMs: 7 },
      },
    });
});

test('tasks that were well on a node are looked at again once the node, the tasks or the service are others', async () => {
  const store = await storeOf({
    ...{ node: [node('n1', ssd)], service: [web] },
    task: [on(web)],
  });
  const rejected = (): number => planEnforcement(store.view(), 7).writes.length;
  expect([rejected(), rejected()]).toEqual([0, 0]);
  const known = store.view().list('node')[0];
  if (!known) throw new Error('there is one');
  await store.update((tx) => tx.update('node', { ...known, spec: { ...known.spec, labels: {} } }));
  // Still what the service asks for now.
  await store.update((tx) => {
    const service = tx.list('service')[0];
    if (service)
      tx.update('service', {
        ...service,
        spec: { ...service.spec, taskTemplate: asking('node.role==worker') },
      });
  });
  expect([rejected(), rejected()]).toEqual([0, 0]);
  await store.update((tx) => {
    const service = tx.list('service')[0];
    if (service) tx.update('service', { ...service, spec: web.spec });
  });
  expect(rejected()).toBe(1);
});
