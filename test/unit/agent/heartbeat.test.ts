/** What an agent says with its heartbeats, and when, with a clock that the test moves. */
import { expect, test, vi } from 'vitest';
import { Heartbeat } from '../../../src/controlplane/agent/heartbeat.js';
import { Silence } from '../../../src/controlplane/agent/silence.js';
import { OutsideError } from '../../../src/model/errors.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { createLog } from '../../../src/runtime/log.js';
import { fakeTimers } from '../../support/fake-timers.js';

const log = createLog('test');
log.level = 'silent';
const periodMs = 5_000;

const stop = fakeTimers();

/** An agent that beats, and a dataplane that answers as the test says: with nodes, or not at all for null. */
function beating() {
  let answer: (nodes: readonly string[] | null) => void = () => undefined;
  const silence = new Silence({
    dataplane: {
      waitSilent: (known, signal) =>
        new Promise((resolve, reject) => {
          if (known === null) asks.push('all');
          answer = (nodes) => (nodes ? resolve(nodes) : reject(new OutsideError('away', true)));
          signal.addEventListener('abort', () => reject(signal.reason as Error));
        }),
    },
    clock: systemClock,
    log,
  });
  const asks: string[] = [];
  const beats: string[] = [];
  const heartbeat = new Heartbeat({ silence, clock: systemClock });
  const startedMs = Date.now();
  const client = {
    heartbeat: async ({ silent }: { silent: { nodeIds: readonly string[] } | null }) => {
      beats.push(`${Date.now() - startedMs} ${silent?.nodeIds.join(' ') ?? 'cannot tell'}`);
      return { periodMs };
    },
  };
  void silence.run(stop.signal);
  void heartbeat.run(client, 'session', stop.signal);
  return { heartbeat, beats, asks, answer: (nodes: readonly string[] | null) => answer(nodes) };
}

test('once a period, and at once when others fall silent, are back, or cannot be judged any more', async () => {
  const { beats, asks, answer } = beating();
  await vi.advanceTimersByTimeAsync(1_000);
  answer([]);
  await vi.advanceTimersByTimeAsync(6_000);
  answer(['n2', 'n3']);
  await vi.advanceTimersByTimeAsync(1_000);
  answer(null);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(beats).toEqual(['0 cannot tell', '1000 ', '6000 ', '7000 n2 n3', '8000 cannot tell']);
  expect(asks, 'an answer that failed is asked for from the beginning').toEqual(['all', 'all']);
});

test('at once when a manager asks, and not more often than ten times a second', async () => {
  const { heartbeat, beats } = beating();
  heartbeat.asked(7);
  await vi.advanceTimersByTimeAsync(1_000);
  heartbeat.asked(7);
  await vi.advanceTimersByTimeAsync(1_000);
  for (let count = 8; count < 100; count++) heartbeat.asked(count);
  await vi.advanceTimersByTimeAsync(1);
  for (let count = 8; count < 100; count++) heartbeat.asked(count);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(beats.map((beat) => parseInt(beat))).toEqual([0, 2_000, 2_100]);
});
