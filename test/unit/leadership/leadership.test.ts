/** Managers over one store: one leads at a time, and what it began has ended before the next begins. */
import { pino } from 'pino';
import { afterEach, expect, test } from 'vitest';
import { Leadership } from '../../../src/controlplane/leadership/leadership.js';
import type { RaftStatus } from '../../../src/controlplane/leadership/raft-watch.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import { leaderId } from '../../../src/model/ids.js';
import type { NodeId } from '../../../src/model/ids.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { presence, storeOf } from '../../support/cluster-objects.js';

const log = pino({ enabled: false });
const soon = { timeout: 3_000, interval: 5 };
const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** A manager whose etcd says what the test wants it to. */
function manager(store: MemoryStore, id: string, said: string[]) {
  const raft: { status: RaftStatus | undefined; leaderlessMs: number } = {
    status: { hasLeader: true, isLeader: false, memberId: id, raftTerm: 1 },
    leaderlessMs: 0,
  };
  const leadership = new Leadership({
    ...{ store, nodeId: id as NodeId, raft, clock: systemClock, log },
    lead: async (_inOffice, signal) => {
      said.push(`${id} begins`);
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
      said.push(`${id} ends`);
    },
  });
  const stop = new AbortController();
  const running = leadership.run(stop.signal);
  const end = async (): Promise<void> => {
    stop.abort();
    await running;
  };
  stops.push(end);
  const see = (change: Partial<RaftStatus>): void => {
    raft.status = { ...raft.status!, ...change };
    leadership.look();
  };
  return { raft, see, look: leadership.look, end };
}

test('the leader of Raft leads, its successor takes over, the former one stops', async () => {
  const store = await storeOf({ manager: ['a', 'b'].map(presence) });
  const said: string[] = [];
  const a = manager(store, 'a', said);
  await expect.poll(() => said, soon).toEqual(['a begins']);
  const b = manager(store, 'b', said);
  b.see({ isLeader: true, raftTerm: 2 });
  await expect.poll(() => [...said].sort(), soon).toEqual(['a begins', 'a ends', 'b begins']);
  expect(store.view().get('leader', leaderId)?.nodeId).toBe('b');
  a.look();
  b.look();
  expect(said).toHaveLength(3);
});

test('a leader that is not heard of any more is followed by the first that is', async () => {
  const store = await storeOf({ manager: ['a', 'b', 'c'].map(presence) });
  const said: string[] = [];
  const a = manager(store, 'a', said);
  await expect.poll(() => said, soon).toEqual(['a begins']);
  manager(store, 'c', said);
  manager(store, 'b', said);
  await a.end();
  await store.update((tx) => tx.delete('manager', 'a'));
  await expect.poll(() => said, soon).toEqual(['a begins', 'a ends', 'b begins']);
});

test('a leader without a majority gives up, and leads again when it has one', async () => {
  const store = await storeOf({ manager: [presence('a')] });
  const said: string[] = [];
  const { raft, see } = manager(store, 'a', said);
  await expect.poll(() => said, soon).toEqual(['a begins']);
  raft.leaderlessMs = 60_000;
  see({ hasLeader: false });
  await expect.poll(() => said, soon).toEqual(['a begins', 'a ends']);
  raft.leaderlessMs = 0;
  see({ hasLeader: true });
  await expect.poll(() => said, soon).toEqual(['a begins', 'a ends', 'a begins']);
});
