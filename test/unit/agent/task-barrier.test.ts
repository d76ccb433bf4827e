/** The node's side of the barrier, with a clock that the test moves: how long a task waits for whom. */
import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { barrierWaitMs, silentWaitMs, TaskBarrier } from '../../../src/controlplane/agent/task-barrier.js';
import type { AwaitAcknowledgedReply } from '../../../src/controlplane/rpc/messages.js';
import type { TaskId } from '../../../src/model/ids.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { createLog } from '../../../src/runtime/log.js';

const log = createLog('test');
log.level = 'silent';
const never = new AbortController().signal;

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const barrierOf = () =>
  new TaskBarrier({ programmedPast: () => new Promise(() => undefined), clock: systemClock, log });

const forever = new Promise<never>(() => undefined);

/** A manager that takes four seconds for each answer. */
const managerOf = (answer: () => AwaitAcknowledgedReply) => ({
  acknowledgeRevision: async () => ({}),
  acknowledgeRevisions: () => ({ stream: new PassThrough({ objectMode: true }) as never, done: forever }),
  awaitAcknowledged: async () => {
    await systemClock.sleep(4_000);
    return answer();
  },
});

/** When the wait was over, in ms; undefined while it is not. */
function timed(wait: Promise<void>): { ms: number | undefined } {
  const startMs = Date.now();
  const state: { ms: number | undefined } = { ms: undefined };
  void wait.then(() => (state.ms = Date.now() - startMs));
  return state;
}

test('without a manager a task waits for a moment only', async () => {
  const state = timed(barrierOf().wait('t1' as TaskId, true, never));
  await vi.advanceTimersByTimeAsync(silentWaitMs - 1);
  expect(state.ms).toBeUndefined();
  await vi.advanceTimersByTimeAsync(1);
  expect(state.ms).toBe(silentWaitMs);
});

test('nodes that are cut off: it goes on with the answer', async () => {
  const barrier = barrierOf();
  void barrier.run(
    managerOf(() => ({ missing: ['cut'], atWork: false })),
    's',
    never,
  );
  const state = timed(barrier.wait('t1' as TaskId, true, never));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(state.ms).toBe(4_000);
});

test('nodes that are slow are waited for, and not for ever', async () => {
  const barrier = barrierOf();
  let answers = 0;
  let patience = 3;
  const slow = (): AwaitAcknowledgedReply =>
    ++answers < patience ? { missing: ['slow'], atWork: true } : { missing: [], atWork: false };
  void barrier.run(managerOf(slow), 's', never);
  const done = timed(barrier.wait('t1' as TaskId, true, never));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(done.ms).toBe(12_000);
  patience = Infinity;
  const given = timed(barrier.wait('t1' as TaskId, true, never));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(given.ms).toBe(barrierWaitMs);
  const start = timed(barrier.wait('t1' as TaskId, false, never));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(start.ms).toBe(silentWaitMs);
});

test('a wait that is called off ends with the reason', async () => {
  const stop = new AbortController();
  const wait = barrierOf().wait('t1' as TaskId, true, stop.signal);
  const refused = expect(wait).rejects.toThrow('closed');
  stop.abort(new Error('closed'));
  await refused;
});

test('a manager that is slow to take acknowledgements is told the newest one next', async () => {
  let programmed = 1;
  const told: number[] = [];
  const stream = new EventEmitter();
  const write = ({ revision }: { revision: number }): boolean => {
    told.push(revision);
    return false;
  };
  const manager = {
    ...managerOf(() => ({ missing: [], atWork: false })),
    acknowledgeRevisions: () => ({ stream: Object.assign(stream, { write }) as never, done: forever }),
  };
  const stop = new AbortController();
  const programmedPast = async (revision: number, signal: AbortSignal): Promise<number> => {
    while (programmed <= revision) await systemClock.sleep(1, signal);
    return programmed;
  };
  const running = new TaskBarrier({ programmedPast, clock: systemClock, log }).run(manager, 's', stop.signal);
  for (const next of [2, 3, 4]) {
    await vi.advanceTimersByTimeAsync(10);
    programmed = next;
  }
  stream.emit('drain');
  await vi.advanceTimersByTimeAsync(10);
  expect(told).toEqual([1, 4]);
  stop.abort(new Error('session ended'));
  await vi.advanceTimersByTimeAsync(10);
  await running;
});
