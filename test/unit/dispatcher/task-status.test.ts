import { expect, test } from 'vitest';
import { nextStatus, TaskStatusWriter } from '../../../src/controlplane/dispatcher/task-status.js';
import type { TaskStatusUpdate } from '../../../src/controlplane/rpc/messages.js';
import type { NodeId, TaskId } from '../../../src/model/ids.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { createLog } from '../../../src/runtime/log.js';
import { service, storeOf, task } from '../../support/cluster-objects.js';

const web = service('web');
const update = (taskId: string, state: string, over: Partial<TaskStatusUpdate> = {}): TaskStatusUpdate => ({
  taskId,
  timestampMs: 5,
  state,
  message: 'm',
  err: '',
  draining: false,
  container: null,
  ports: [],
  ...over,
});

test.each([
  ['running', 'starting', undefined],
  ['running', 'running', { state: 'running' }],
  ['running', 'failed', { state: 'failed', timestampMs: 5, appliedAtMs: 9 }],
  ['shutdown', 'running', undefined],
] as const)('%s, reported %s', (state, reported, expected) => {
  const next = nextStatus(task('t', web, state), update('t', reported), 9);
  if (expected) expect(next).toMatchObject(expected);
  else expect(next).toBeUndefined();
});

test('a running task that is about to be stopped drains, until it has ended', () => {
  const running = task('t', web, 'running');
  const status = nextStatus(running, update('t', 'running', { draining: true }), 9);
  expect(status).toMatchObject({ state: 'running', draining: true });
  const ended = nextStatus({ status: status ?? running.status }, update('t', 'failed'), 9);
  expect(ended).toMatchObject({ state: 'failed' });
  expect(ended).not.toHaveProperty('draining');
});

test('since when a task ran is known when it has ended, too', () => {
  const running = nextStatus(task('t', web, 'starting'), update('t', 'running'), 9);
  expect(running).toMatchObject({ state: 'running', runningAtMs: 9 });
  const drains = nextStatus({ status: running! }, update('t', 'running', { draining: true }), 20);
  const failed = nextStatus({ status: drains! }, update('t', 'failed'), 30);
  expect(failed).toMatchObject({ state: 'failed', runningAtMs: 9, appliedAtMs: 30 });
  const never = nextStatus(task('t', web, 'starting'), update('t', 'failed'), 9);
  expect(never).not.toHaveProperty('runningAtMs');
});

test('an identical report says nothing', () => {
  const times = { timestampMs: 5, appliedAtMs: 1, runningAtMs: 1 };
  const status = { state: 'running' as const, message: 'm', ...times };
  expect(nextStatus({ status }, update('t', 'running'), 9)).toBeUndefined();
});

test('reports are written together, the latest of a task wins, and acknowledged once stored', async () => {
  const tasks = ['a', 'b'].map((id) => task(id, web, 'assigned', { node: 'n1' }));
  const store = await storeOf({ service: [web], task: tasks });
  const log = createLog('test');
  const writer = new TaskStatusWriter({ store, clock: systemClock, log });
  const before = store.view().revision;
  await Promise.all([
    writer.report('n1' as NodeId, [update('a', 'accepted'), update('b', 'accepted')]),
    writer.report('n1' as NodeId, [update('a', 'preparing'), update('gone', 'running')]),
  ]);
  expect(store.view().revision).toBe(before + 1);
  const state = (id: string) => store.view().get('task', id as TaskId)?.status.state;
  expect([state('a'), state('b')]).toEqual(['preparing', 'accepted']);
});

test('an end is not lost to the report before it that arrives again in the same batch', async () => {
  const store = await storeOf({ service: [web], task: [task('a', web, 'running', { node: 'n1' })] });
  const writer = new TaskStatusWriter({ store, clock: systemClock, log: createLog('test') });
  await Promise.all([
    writer.report('n1' as NodeId, [update('a', 'complete')]),
    writer.report('n1' as NodeId, [update('a', 'running')]),
  ]);
  expect(store.view().get('task', 'a' as TaskId)?.status.state).toBe('complete');
});

test("a report on another node's task is refused whole", async () => {
  const store = await storeOf({
    service: [web],
    task: [task('a', web, 'assigned', { node: 'n1' }), task('b', web, 'assigned', { node: 'n2' })],
  });
  const writer = new TaskStatusWriter({ store, clock: systemClock, log: createLog('test') });
  await expect(
    writer.report('n1' as NodeId, [update('a', 'running'), update('b', 'running')]),
  ).rejects.toMatchObject({
    kind: 'permissionDenied',
    message: 'cannot update a task not assigned this node',
  });
  expect(store.view().get('task', 'a' as TaskId)?.status.state).toBe('assigned');
});
