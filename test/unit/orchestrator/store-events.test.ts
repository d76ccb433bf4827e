/** What of a change of the store is a decision that the leader's log has. */
import { expect, test } from 'vitest';
import { logStoreEvents } from '../../../src/controlplane/store-events.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { Transaction } from '../../../src/controlplane/store/store.js';
import type { NodeId, ServiceId, TaskId } from '../../../src/model/ids.js';
import type { Node, Service, Task, TaskStatus } from '../../../src/model/objects.js';
import type { TraceId } from '../../../src/model/trace.js';
import { collectedLog, eventsIn } from '../../support/collected-log.js';
import { cluster, node, service, storeOf, task } from '../../support/cluster-objects.js';

const trace = 'a'.repeat(32) as TraceId;
const web = service('web', {}, { trace });
const followed = (cause: 'restart' | 'update' | 'rebalance', of: string, over: Partial<Task> = {}): Task =>
  task('t9', web, 'new', {
    trace,
    succession: { of: of as TaskId, cause, startNotBeforeMs: 5_000, startAnywayMs: 60_000 },
    ...over,
  });

const place = (): Promise<MemoryStore> =>
  storeOf({
    cluster: [cluster()],
    node: [node('n1'), node('drained', { availability: 'drain' }), node('dead', { state: 'down' })],
    service: [web],
    task: [
      task('t1', web, 'running', { node: 'n1', trace }),
      task('t2', web, 'running', { node: 'drained', slot: 2 }),
      task('t3', web, 'running', { node: 'dead', slot: 3 }),
      task('t4', web, 'pending', { slot: 4, trace }),
    ],
  });

const setTask = (
  tx: Transaction,
  id: string,
  change: Partial<Task>,
  status: Partial<TaskStatus> = {},
): void => {
  const known = tx.get('task', id as TaskId);
  if (known) tx.update('task', { ...known, ...change, status: { ...known.status, ...status } });
};
const setService = (tx: Transaction, change: Partial<Service>): void => {
  const known = tx.get('service', 'web' as ServiceId);
  if (known) tx.update('service', { ...known, ...change });
};
const setNode = (tx: Transaction, id: string, change: Partial<Node['status']>): void => {
  const known = tx.get('node', id as NodeId);
  if (known) tx.update('node', { ...known, status: { ...known.status, ...change } });
};
const update = (state: NonNullable<Service['updateStatus']>['state']) => ({
  updateStatus: { state, startedAtMs: 1, message: `is ${state}` },
});
const create = (tx: Transaction, { version: _v, createdAtMs: _c, updatedAtMs: _u, ...object }: Task): void =>
  tx.create('task', object);
const about = { service: 'web', trace_id: trace };

const cases: [name: string, write: (tx: Transaction) => void, expected: readonly object[]][] = [
  ['a new task of a new service: the request has said it', (tx) => create(tx, task('t9', web, 'new')), []],
  [
    'a node for a task',
    (tx) => setTask(tx, 't4', { nodeId: 'n1' as NodeId }, { state: 'assigned' }),
    [{ event: 'task.scheduled', task: 't4', slot: 4, node: 'n1', ...about }],
  ],
  [
    'no node for a task',
    (tx) => setTask(tx, 't4', {}, { err: 'no suitable node (1 node not available)' }),
    [{ event: 'task.unplaced', task: 't4', why: 'no suitable node (1 node not available)', ...about }],
  ],
  ['a report of a task that gets on', (tx) => setTask(tx, 't1', {}, { message: 'still here' }), []],
  [
    'a task that fails',
    (tx) =>
      setTask(
        tx,
        't1',
        {},
        {
          state: 'failed',
          err: 'task: non-zero exit (3)',
          container: { containerId: 'c', pid: 0, exitCode: 3 },
        },
      ),
    [
      {
        ...{ event: 'task.failed', task: 't1', node: 'n1', state: 'failed', exitCode: 3, ...about },
        why: 'task: non-zero exit (3)',
      },
    ],
  ],
  [
    'a task that failed, and another in its place',
    (tx) => {
      setTask(tx, 't1', { desiredState: 'shutdown' }, { state: 'failed', err: 'x' });
      create(tx, followed('restart', 't1', { createdAtMs: 0 }));
    },
    [
      { event: 'task.failed', task: 't1', node: 'n1', state: 'failed', why: 'x', ...about },
      { event: 'task.restarted', task: 't9', of: 't1', delayMs: 5_000, ...about },
    ],
  ],
  [
    'a task that failed, and nothing follows',
    (tx) => setTask(tx, 't1', { desiredState: 'shutdown' }, { state: 'failed', err: 'x' }),
    [
      { event: 'task.failed', task: 't1', node: 'n1', state: 'failed', why: 'x', ...about },
      { event: 'task.given-up', task: 't1', node: 'n1', why: 'x', ...about },
    ],
  ],
  [
    'a task that failed and goes with its service',
    (tx) => setTask(tx, 't1', { desiredState: 'remove' }, { state: 'failed', err: 'x' }),
    [{ event: 'task.failed', task: 't1', node: 'n1', state: 'failed', why: 'x', ...about }],
  ],
  [
    'a task of a node that is drained',
    (tx) => create(tx, followed('restart', 't2')),
    [{ event: 'task.moved', task: 't9', of: 't2', from: 'drained', why: 'node drained', ...about }],
  ],
  [
    'a task of a node that is down',
    (tx) => create(tx, followed('restart', 't3')),
    [{ event: 'task.moved', task: 't9', of: 't3', from: 'dead', why: 'node down', ...about }],
  ],
  [
    'a task that goes to an emptier node',
    (tx) => create(tx, followed('rebalance', 't1')),
    [{ event: 'task.moved', task: 't9', of: 't1', from: 'n1', why: 'rebalanced', ...about }],
  ],
  [
    'a step of an update',
    (tx) => create(tx, followed('update', 't1')),
    [{ event: 'update.step', task: 't9', of: 't1', ...about }],
  ],
  ...(
    [
      ['updating', 'update.started'],
      ['paused', 'update.paused'],
      ['completed', 'update.completed'],
      ['rollback_started', 'rollback.started'],
      ['rollback_paused', 'rollback.paused'],
      ['rollback_completed', 'rollback.completed'],
    ] as const
  ).map(([state, event]): (typeof cases)[number] => [
    `an update that is ${state}`,
    (tx) => setService(tx, update(state)),
    [{ event, why: `is ${state}`, ...about }],
  ]),
  ['a node that only says again that it is there', (tx) => setNode(tx, 'n1', { addr: '192.0.2.9' }), []],
  [
    'a node that comes',
    (tx) => setNode(tx, 'dead', { state: 'ready' }),
    [{ event: 'node.up', node: 'dead', host: 'dead', was: 'down' }],
  ],
  [
    'a node that a new leader does not know of',
    (tx) => setNode(tx, 'n1', { state: 'unknown', message: 'leadership change' }),
    [{ event: 'node.unknown', node: 'n1', host: 'n1', why: 'leadership change' }],
  ],
  [
    'a node that is found down: who finds it says it, and why',
    (tx) => setNode(tx, 'n1', { state: 'down' }),
    [],
  ],
  [
    'keys of networks',
    (tx) =>
      tx.update('cluster', {
        ...tx.cluster(),
        encryption: {
          keys: [
            { sequence: 2, key: 'THE-KEY' },
            { sequence: 3, key: 'THE-NEXT' },
          ],
          sends: 2,
          sendsSinceMs: 0,
        },
      }),
    [{ event: 'key.rotated', sequence: 2, keys: 2 }],
  ],
  [
    'a root that is to be the next',
    (tx) =>
      tx.update('cluster', {
        ...tx.cluster(),
        trace,
        rootRotation: { certPem: 'NEXT', keyPem: 'THE-KEY', abandoned: [], toldAtMs: 0 },
      }),
    [{ event: 'root.rotating', root: expect.stringMatching(/^[0-9a-f]{64}$/) as unknown, trace_id: trace }],
  ],
  [
    'a root that is another one',
    (tx) => tx.update('cluster', { ...tx.cluster(), rootCa: { certPem: 'NEXT', keyPem: 'THE-KEY' } }),
    [{ event: 'root.rotated', root: expect.stringMatching(/^[0-9a-f]{64}$/) as unknown }],
  ],
];

test.each(cases)('%s', async (_, write, expected) => {
  const store = await place();
  const { log, lines } = collectedLog('info');
  const stop = logStoreEvents(store, log);
  await store.update(write);
  expect(eventsIn(lines)).toEqual(expected);
  // Keys and roots are named, never shown.
  expect(JSON.stringify(lines)).not.toMatch(/THE-/);
  stop();
  await store.update((tx) => setNode(tx, 'n1', { state: 'ready', message: 'x' }));
  expect(eventsIn(lines)).toEqual(expected);
});
