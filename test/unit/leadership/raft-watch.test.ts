/** How often a manager asks its etcd who leads Raft: never while the beats of its lease say it, often once they do not. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { RaftWatch } from '../../../src/controlplane/leadership/raft-watch.js';
import type { RaftStatus } from '../../../src/controlplane/leadership/raft-watch.js';
import { systemClock } from '../../../src/runtime/clock.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const beatMs = 500;

/** A watch over an etcd whose answers the test sets; `looks` counts them. */
function watched(isLeader: boolean) {
  const etcd = {
    status: { hasLeader: true, isLeader, memberId: '1', raftTerm: 7 } as RaftStatus,
    looks: 0,
    seen: [] as (RaftStatus | undefined)[],
  };
  const client = {
    status: async () => {
      etcd.looks += 1;
      return etcd.status as never;
    },
  };
  const watch = new RaftWatch(client, systemClock, () => etcd.seen.push(watch.status));
  const over = new AbortController();
  const running = watch.run(over.signal);
  const pass = async (ms: number, { beats = true } = {}): Promise<number> => {
    const before = etcd.looks;
    for (let passedMs = 0; passedMs < ms; passedMs += beatMs) {
      if (beats) watch.heard({ raftTerm: etcd.status.raftTerm, nextMs: beatMs });
      await vi.advanceTimersByTimeAsync(Math.min(beatMs, ms - passedMs));
    }
    return etcd.looks - before;
  };
  const end = async (): Promise<void> => {
    over.abort();
    await running;
  };
  return { etcd, watch, pass, end };
}

for (const [who, isLeader] of [
  ['who leads Raft', true],
  ['who follows', false],
] as const)
  describe(who, () => {
    test('does not ask while beats are answered', async () => {
      const { pass, end } = watched(isLeader);
      await pass(3_000);
      expect(await pass(10 * 60_000)).toBe(0);
      await end();
    });

    test('asks when a beat is late, before others can have elected anybody', async () => {
      const { etcd, pass, end } = watched(isLeader);
      await pass(3_000);
      expect(await pass(100, { beats: false })).toBe(0);
      etcd.status = { ...etcd.status, hasLeader: false, isLeader: false };
      expect(await pass(700, { beats: false })).toBeGreaterThan(0);
      expect(etcd.seen.at(-1)?.hasLeader).toBe(false);
      // A tenth of what an election takes.
      expect(await pass(1_500, { beats: false })).toBeGreaterThanOrEqual(9);
      await end();
    });

    test('asks at once when a beat is of another term', async () => {
      const { etcd, pass, end } = watched(isLeader);
      await pass(3_000);
      etcd.status = { ...etcd.status, isLeader: !isLeader, raftTerm: 8 };
      expect(await pass(10)).toBe(1);
      expect(etcd.seen.at(-1)).toEqual(etcd.status);
      await end();
    });
  });

test('after an election asks until beats have been well for a while: the term is told later than its leader', async () => {
  const { etcd, watch, pass, end } = watched(false);
  await pass(3_000);
  await pass(1_500, { beats: false });
  etcd.status = { ...etcd.status, isLeader: true };
  watch.heard({ raftTerm: 7, nextMs: beatMs });
  await vi.advanceTimersByTimeAsync(200);
  etcd.status = { ...etcd.status, raftTerm: 8 };
  await vi.advanceTimersByTimeAsync(1_000);
  expect(etcd.seen.at(-1)?.raftTerm).toBe(8);
  await end();
});
