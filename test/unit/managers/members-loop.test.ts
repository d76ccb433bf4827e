/** What the leader does with etcd's members as time passes. */
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { EtcdMember } from '../../../src/controlplane/etcd/members.js';
import { runMembersLoop } from '../../../src/controlplane/managers/members-loop.js';
import type { NodeId } from '../../../src/model/ids.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { node, presence, storeOf } from '../../support/cluster-objects.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test('a member that was taken in and never starts makes room for others after a minute', async () => {
  const manager = node('m1');
  const store = await storeOf({
    node: [{ ...manager, role: 'manager', spec: { ...manager.spec, role: 'manager' } }],
    manager: [presence('m1')],
  });
  let present: EtcdMember[] = [
    { id: '1', name: 'm1', peerUrls: ['https://192.0.2.1:2380'], isLearner: false },
    { id: '2', name: '', peerUrls: ['https://192.0.2.2:2380'], isLearner: true },
  ];
  const over = new AbortController();
  const running = runMembersLoop(
    {
      ...{ store, nodeId: 'm1' as NodeId, clock: systemClock, log: pino({ enabled: false }) },
      members: {
        list: async () => present,
        promote: async () => true,
        remove: async (id) => void (present = present.filter((member) => member.id !== id)),
      },
      client: { moveLeader: async () => undefined },
      raft: { status: undefined },
    },
    over.signal,
  );
  await vi.advanceTimersByTimeAsync(58_000);
  expect(present.map(({ id }) => id)).toEqual(['1', '2']);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(present.map(({ id }) => id)).toEqual(['1']);
  over.abort();
  await vi.advanceTimersByTimeAsync(10);
  await running;
});
