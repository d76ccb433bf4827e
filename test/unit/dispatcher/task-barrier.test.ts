/** The manager's side of the barrier, with a clock that the test moves: who is waited for, and for how long. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Acknowledgements } from '../../../src/controlplane/dispatcher/acknowledgements.js';
import type { Session } from '../../../src/controlplane/dispatcher/sessions.js';
import { barrierWaitMs, TaskBarrier } from '../../../src/controlplane/dispatcher/task-barrier.js';
import type { Store } from '../../../src/controlplane/store/store.js';
import type { Ip, Mac } from '../../../src/model/addresses.js';
import { SkepError } from '../../../src/model/errors.js';
import type { NetworkId, NodeId, SessionId, TaskId } from '../../../src/model/ids.js';
import type { Node, Task } from '../../../src/model/objects.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { createLog } from '../../../src/runtime/log.js';
import { node, service, storeOf, task } from '../../support/cluster-objects.js';

const log = createLog('test');
log.level = 'silent';
const mac = '02:00:00:00:00:01' as Mac;
const attached = (id: string, networks: readonly string[] = ['net'], over: Partial<Node> = {}): Node => ({
  ...node(id),
  attachments: networks.map((networkId) => ({
    networkId: networkId as NetworkId,
    address: '10.0.0.2' as Ip,
    mac,
  })),
  ...over,
});
const draining = (over: Partial<Task> = {}): Task =>
  task('t1', service('web'), 'running', {
    node: 'n1',
    desiredState: 'shutdown',
    networks: [
      { networkId: 'net' as NetworkId, address: '10.0.0.9' as Ip, prefixLength: 24, mac, aliases: [] },
    ],
    ...over,
  });

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

/** Sessions of these nodes, all of which know everything. */
async function barrierOf(nodes: readonly Node[], of: Task, connected = nodes.map(({ id }) => id as string)) {
  const store: Store = await storeOf({ node: nodes, service: [service('web')], task: [of] });
  const acknowledgements = new Acknowledgements();
  const ends = new Map(connected.map((id) => [id, new AbortController()]));
  const sessions = new Map<string, Session>();
  for (const [id, { signal }] of ends) {
    const session = { id: `s-${id}` as SessionId, nodeId: id as NodeId, signal };
    sessions.set(id, session);
    acknowledgements.begin(session);
    const { revision } = store.view();
    acknowledgements.sending(session, revision);
    acknowledgements.acknowledge(session, revision);
  }
  const session = (id: string): Session => sessions.get(id) ?? expect.fail(`no session of ${id}`);
  const barrier = new TaskBarrier({ store, clock: systemClock, log }, acknowledgements);
  const wait = (from = 'n1', drained = true) => {
    const answer = { value: undefined as unknown };
    const done = barrier.wait(session(from), 't1' as TaskId, drained);
    done.then(
      ({ missing, atWork }) => (answer.value = atWork ? { atWork: missing } : missing),
      (err: unknown) => (answer.value = err),
    );
    return answer;
  };
  const write = async (change: (of: Task) => Task): Promise<number> => {
    await store.update((tx) => {
      const found = tx.get('task', 't1' as TaskId) ?? expect.fail();
      tx.update('task', change(found));
    });
    return store.view().revision;
  };
  const end = (id: string, reason: SkepError): void => ends.get(id)?.abort(reason);
  return { store, acknowledgements, session, wait, write, end };
}
const settled = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

test('who knows already is not waited for, nor who has no part in the network', async () => {
  const { wait } = await barrierOf([attached('n1'), attached('n2'), attached('n3', ['other'])], draining(), [
    'n1',
    'n2',
  ]);
  const answer = wait();
  await settled();
  expect(answer.value).toEqual([]);
});

test('a node is as far when it has acknowledged all that it was sent up to there, and not before', async () => {
  const { acknowledgements, session, wait, write } = await barrierOf(
    [attached('n1'), attached('n2')],
    draining({ desiredState: 'running' }),
  );
  const before = acknowledgements.reached('n2' as NodeId);
  const revision = await write((of) => ({ ...of, desiredState: 'shutdown' }));
  const answer = wait();
  acknowledgements.compared(session('n1'), revision); // nothing for it in there
  acknowledgements.sending(session('n2'), revision);
  await settled();
  expect(answer.value).toBeUndefined();
  acknowledgements.acknowledge(session('n2'), before);
  await settled();
  expect(answer.value).toBeUndefined();
  // What is sent after it is none of this question.
  acknowledgements.sending(session('n2'), revision + 5);
  acknowledgements.acknowledge(session('n2'), revision);
  await settled();
  expect(answer.value).toEqual([]);
  expect(acknowledgements.reached('n2' as NodeId)).toBe(revision);
});

test('drained: a task that serves is waited for first', async () => {
  const { acknowledgements, session, wait, write } = await barrierOf(
    [attached('n1')],
    draining({ desiredState: 'running' }),
  );
  const [known, drained] = [wait('n1', false), wait('n1', true)];
  await settled();
  expect([known.value, drained.value]).toEqual([[], undefined]);
  const revision = await write((of) => ({ ...of, status: { ...of.status, draining: true } }));
  await settled();
  expect(drained.value).toBeUndefined();
  acknowledgements.sending(session('n1'), revision);
  acknowledgements.acknowledge(session('n1'), revision);
  await settled();
  expect(drained.value).toEqual([]);
});

test('a node that is cut off is waited for only so long, and named', async () => {
  const { wait } = await barrierOf([attached('n1'), attached('cut')], draining(), ['n1']);
  const answer = wait();
  await vi.advanceTimersByTimeAsync(barrierWaitMs - 1);
  expect(answer.value).toBeUndefined();
  await vi.advanceTimersByTimeAsync(1);
  expect(answer.value).toEqual(['cut']);
});

test('a node that is slow but at work is worth asking about again', async () => {
  const { wait, write } = await barrierOf([attached('n1'), attached('slow')], draining());
  await write((of) => ({ ...of, status: { ...of.status, message: 'changed' } }));
  const answer = wait();
  await vi.advanceTimersByTimeAsync(barrierWaitMs);
  expect(answer.value).toEqual({ atWork: ['n1', 'slow'] });
});

test('a node that is found down meanwhile is not waited for any longer', async () => {
  const { store, wait } = await barrierOf([attached('n1'), attached('cut')], draining(), ['n1']);
  const answer = wait();
  await settled();
  expect(answer.value).toBeUndefined();
  await store.update((tx) => {
    const cut = tx.get('node', 'cut' as NodeId) ?? expect.fail();
    tx.update('node', { ...cut, status: { ...cut.status, state: 'down' } });
  });
  await settled();
  expect(answer.value).toEqual([]);
});

test('another node’s task is refused; one that is no more needs no wait; a session that ends takes its questions along', async () => {
  const { store, wait, write, end, acknowledgements, session } = await barrierOf(
    [attached('n1'), attached('n2')],
    draining({ desiredState: 'running' }),
  );
  const foreign = wait('n2');
  await settled();
  expect(foreign.value).toMatchObject({
    kind: 'permissionDenied',
    message: 'cannot wait for a task not assigned this node',
  });
  const ended = wait('n1');
  await settled();
  end('n1', new SkepError('invalidArgument', 'session invalid'));
  await settled();
  expect(ended.value).toMatchObject({ message: 'session invalid' });
  // A new session begins with knowing nothing of it.
  await write((of) => of);
  acknowledgements.begin(session('n2'));
  expect(acknowledgements.reached('n2' as NodeId)).toBe(-1);
  await store.update((tx) => tx.delete('task', 't1'));
  const gone = wait('n2');
  await settled();
  expect(gone.value).toEqual([]);
});

test('however many messages wait for their acknowledgement, what is remembered of them is bounded and never too far', async () => {
  const { acknowledgements, session } = await barrierOf([attached('n1')], draining());
  const start = acknowledgements.reached('n1' as NodeId);
  for (let revision = start + 1; revision <= start + 1_000; revision++)
    acknowledgements.sending(session('n1'), revision);
  for (let revision = start; revision <= start + 1_000; revision += 7) {
    acknowledgements.acknowledge(session('n1'), revision);
    expect(acknowledgements.reached('n1' as NodeId)).toBeLessThanOrEqual(revision);
  }
  acknowledgements.acknowledge(session('n1'), start + 1_000);
  expect(acknowledgements.reached('n1' as NodeId)).toBe(start + 1_000);
});
