/** Which secrets and configs a node is told: those that its tasks need, for as long as they do, and never another's. */
import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import {
  changesBetween,
  nodeAssignments,
  payloadBytesMax,
} from '../../../src/controlplane/dispatcher/assignments.js';
import { sharedAssignments } from '../../../src/controlplane/dispatcher/shared-assignments.js';
import { assignmentKey, formatChange, parseChange } from '../../../src/controlplane/rpc/assignment.js';
import type { Assignment } from '../../../src/controlplane/rpc/assignment.js';
import type { NodeId, SecretId, TaskId } from '../../../src/model/ids.js';
import type { TaskState } from '../../../src/model/task-state.js';
import { assignmentsFor } from '../../support/assignments.js';
import {
  cluster,
  node,
  payload,
  reference,
  service,
  storeOf,
  task,
  taskSpec,
} from '../../support/cluster-objects.js';

const template = taskSpec();
const web = service('web', {
  taskTemplate: {
    ...template,
    container: { ...template.container, secrets: [reference('password')], configs: [reference('site')] },
  },
});
const objects = (state: TaskState, more: object = {}) => ({
  cluster: [cluster()],
  node: [node('n1'), node('n2')],
  service: [web],
  secret: [payload<'secret'>('password', 'THE-PASSWORD'), payload<'secret'>('other', 'ANOTHER')],
  config: [payload<'config'>('site', 'THE-SITE', { templating: { name: 'golang', options: {} } })],
  task: [task('t1', web, state, { node: 'n1' })],
  ...more,
});
const told = (assignments: ReadonlyMap<string, Assignment>): string[] =>
  [...assignments.keys()].filter((key) => /^(secret|config)\//.test(key)).sort();

const both = ['config/site', 'secret/password'];
test.each<[TaskState, string[]]>([
  ['pending', []],
  ['assigned', both],
  ['preparing', both],
  ['running', both],
  ['shutdown', []],
  ['complete', []],
  ['failed', []],
  ['rejected', []],
])('while its task is %s a node knows %j', async (state, expected) => {
  const view = (await storeOf(objects(state))).view();
  expect(told(assignmentsFor(view, 'n1' as NodeId))).toEqual(expected);
  expect(told(assignmentsFor(view, 'n2' as NodeId)), 'the other node').toEqual([]);
});

test('they come once for all tasks, and go with the last one', async () => {
  const store = await storeOf(
    objects('running', {
      task: [task('t1', web, 'running', { node: 'n1' }), task('t2', web, 'running', { node: 'n1' })],
    }),
  );
  const now = () => nodeAssignments(store.view(), 'n1' as NodeId, sharedAssignments(store.view()));
  const changes = (before: ReturnType<typeof now>): string[] =>
    changesBetween(before, now(), 'n1' as NodeId)
      .map(({ remove, assignment }) => `${remove ? '-' : '+'}${assignmentKey(assignment)}`)
      .filter((change) => /secret|config/.test(change));
  const all = now();
  expect(changes(null)).toEqual(['+secret/password', '+config/site']);
  await store.update((tx) => tx.delete('task', 't1'));
  expect(changes(all)).toEqual([]);
  const one = now();
  await store.update((tx) => {
    const last = tx.get('task', 't2' as TaskId)!;
    tx.update('task', { ...last, status: { ...last.status, state: 'failed' } });
  });
  expect(changes(one)).toEqual(['-secret/password', '-config/site']);
});

test('other labels are no news', async () => {
  const store = await storeOf(objects('running'));
  const now = () => nodeAssignments(store.view(), 'n1' as NodeId, sharedAssignments(store.view()));
  const before = now();
  await store.update((tx) => {
    const secret = tx.get('secret', 'password' as SecretId)!;
    tx.update('secret', { ...secret, spec: { ...secret.spec, labels: { a: 'b' } } });
  });
  expect(changesBetween(before, now(), 'n1' as NodeId)).toEqual([]);
});

test('what goes over the wire is what comes, and shows nowhere by itself', async () => {
  const assignments = assignmentsFor((await storeOf(objects('running'))).view(), 'n1' as NodeId);
  for (const key of both) {
    const assignment = assignments.get(key)!;
    const sent = formatChange({ remove: false, assignment });
    const { assignment: come } = parseChange({ ...sent, item: assignment.kind });
    expect(come).toEqual(assignment);
    for (const shown of [JSON.stringify(come), inspect(come, { depth: 9 })])
      expect(shown).not.toMatch(/THE-/);
    const gone = formatChange({ remove: true, assignment });
    expect(JSON.stringify(gone)).toBe(
      JSON.stringify({ remove: true, [assignment.kind]: { id: key.split('/')[1] } }),
    );
  }
  expect(assignments.get('config/site')?.item).toMatchObject({ templating: 'golang' });
});

test('one that is gone is not told; and no more than one message carries', async () => {
  const gone = await storeOf(objects('running', { secret: [] }));
  expect(told(assignmentsFor(gone.view(), 'n1' as NodeId))).toEqual(['config/site']);
  const size = 1_000_000;
  const many = Array.from({ length: Math.floor(payloadBytesMax / size) + 3 }, (_, at) => `c${at}`);
  const large = service('large', {
    taskTemplate: {
      ...template,
      container: { ...template.container, configs: many.map((id) => reference(id)) },
    },
  });
  const store = await storeOf({
    ...objects('running'),
    config: many.map((id) => payload<'config'>(id, 'x'.repeat(size))),
    secret: [],
    service: [large],
    task: [task('t1', large, 'running', { node: 'n1' })],
  });
  expect(told(assignmentsFor(store.view(), 'n1' as NodeId))).toHaveLength(many.length - 3);
});
