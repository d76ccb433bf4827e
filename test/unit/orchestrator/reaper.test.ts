import { expect, test } from 'vitest';
import { planReaping } from '../../../src/controlplane/orchestrator/reaper.js';
import type { Cluster, Task } from '../../../src/model/objects.js';
import type { TaskState } from '../../../src/model/task-state.js';
import { attachment, cluster, node, service, task, taskSpec, viewOf } from '../../support/cluster-objects.js';

const web = service('web');

/** Records of one slot, oldest first, as `desired/observed`. */
const history = (...records: readonly `${TaskState}/${TaskState}`[]): Task[] =>
  records.map((record, index) => {
    const [desiredState, state] = record.split('/') as [TaskState, TaskState];
    return task(`t${index}`, web, state, { desiredState, createdAtMs: index, node: 'n1' });
  });

const limited = (taskHistoryRetentionLimit: number): Cluster => ({
  ...cluster(),
  spec: { ...cluster().spec, taskHistoryRetentionLimit },
});

const done = 'shutdown/failed';
test.each<[string, number, Task[], string[]]>([
  ['within the limit', 5, history(done, done, done, done, 'running/running'), []],
  ['the oldest beyond it', 2, history(done, done, 'running/running'), ['t0']],
  ['what may still run stays', 1, history('shutdown/running', done, 'running/running'), ['t1']],
  ['never assigned and not wanted', 1, history('shutdown/pending', 'running/running'), ['t0']],
  ['the newest stays', 0, history(done, done), ['t0']],
  ['a negative limit keeps all', -1, history(done, done, done), []],
  ['a failure nobody reacted to yet stays', 1, history('running/failed', 'running/running'), []],
  [
    'to be removed and stopped',
    5,
    history('remove/shutdown', 'remove/complete', 'remove/new'),
    ['t0', 't1', 't2'],
  ],
  ['to be removed, and an agent has it', 5, history('remove/assigned', 'remove/running'), []],
])('%s', async (_, limit, tasks, expected) => {
  const view = await viewOf({ cluster: [limited(limit)], node: [node('n1')], service: [web], task: tasks });
  expect(planReaping(view, 0).writes.map((write) => (write.op === 'delete' ? write.id : write.op))).toEqual(
    expected,
  );
});

test('a policy with attempts keeps one record more than these', async () => {
  const tried = service('web', {
    taskTemplate: taskSpec({ restartPolicy: { condition: 'any', maxAttempts: 1, windowNs: 0 } }),
  });
  const view = await viewOf({ service: [tried], task: history(done, done, done) });
  expect(planReaping(view, 0).writes).toHaveLength(1);
});

test('to be removed on a node that is gone', async () => {
  const view = await viewOf({ task: history('remove/running') });
  expect(planReaping(view, 0).writes).toHaveLength(1);
});

test.each<[string, Parameters<typeof node>[1] | null, string[]]>([
  ['is down: it may still run them', { state: 'down' }, []],
  ['is not known to be there: the same', { state: 'unknown' }, []],
  ['is back, and stops what is not to run', {}, ['t0', 't1']],
  ['was removed', null, ['t0', 't1']],
])('orphaned tasks whose node %s', async (_, options, expected) => {
  const view = await viewOf({
    cluster: [limited(1)],
    node: options ? [node('n1', options)] : [],
    service: [web],
    task: [
      ...history('remove/orphaned', 'shutdown/orphaned'),
      task('t9', web, 'running', { createdAtMs: 9, node: 'n2' }),
    ],
  });
  expect(planReaping(view, 0).writes.map((write) => (write.op === 'delete' ? write.id : write.op))).toEqual(
    expected,
  );
});

test('an attachment goes with its node, and only then', async () => {
  const leg = { networkId: 'net', address: '10.0.1.5' };
  const orphaned = attachment('a2', 'n1', leg);
  const view = await viewOf({
    node: [node('n1', { state: 'down' })],
    task: [
      attachment('a1', 'n1', leg),
      { ...orphaned, status: { ...orphaned.status, state: 'orphaned' } },
      attachment('a3', 'gone', leg),
    ],
  });
  expect(planReaping(view, 0).writes.map((write) => (write.op === 'delete' ? write.id : write.op))).toEqual([
    'a2',
    'a3',
  ]);
});
