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

/** The loop of manager m1 over a cluster with these members; `lists` counts how often etcd was asked for them. */
async function looping(present: EtcdMember[], alive: readonly string[]) {
  const nodes = present.filter(({ name }) => name !== '').map(({ name }) => node(name));
  const store = await storeOf({
    node: nodes.map((one) => ({ ...one, role: 'manager', spec: { ...one.spec, role: 'manager' } })),
    manager: alive.map(presence),
  });
  const etcd = { present, lists: 0 };
  const over = new AbortController();
  const running = runMembersLoop(
    {
      ...{ store, nodeId: 'm1' as NodeId, clock: systemClock, log: pino({ enabled: false }) },
      members: {
        list: async () => {
          etcd.lists += 1;
          return etcd.present;
        },
        promote: async (id) => {
          etcd.present = etcd.present.map((one) => (one.id === id ? { ...one, isLearner: false } : one));
          return true;
        },
        remove: async (id) => void (etcd.present = etcd.present.filter((one) => one.id !== id)),
      },
      client: { moveLeader: async () => undefined },
      raft: { status: undefined },
    },
    over.signal,
  );
  const end = async (): Promise<void> => {
    over.abort();
    await vi.advanceTimersByTimeAsync(10);
    await running;
  };
  return { etcd, store, end };
}

const member = (id: string, name: string, isLearner = false): EtcdMember => ({
  ...{ id, name, isLearner },
  peerUrls: [`https://192.0.2.${id}:2380`],
});

test('a member that was taken in and never starts makes room for others after a minute', async () => {
  const { etcd, end } = await looping([member('1', 'm1'), member('2', '', true)], ['m1']);
  await vi.advanceTimersByTimeAsync(58_000);
  expect(etcd.present.map(({ id }) => id)).toEqual(['1', '2']);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(etcd.present.map(({ id }) => id)).toEqual(['1']);
  await end();
});

test('where all managers are members and alive, etcd is hardly ever asked', async () => {
  const { etcd, end } = await looping([member('1', 'm1'), member('2', 'm2')], ['m1', 'm2']);
  await vi.advanceTimersByTimeAsync(2_000);
  etcd.lists = 0;
  await vi.advanceTimersByTimeAsync(600_000);
  expect(etcd.lists).toBeLessThanOrEqual(40);
  await end();
});

test('a manager that lost its store votes again within two seconds, though no node has changed', async () => {
  const { etcd, store, end } = await looping([member('1', 'm1'), member('2', 'm2')], ['m1', 'm2']);
  await vi.advanceTimersByTimeAsync(60_000);
  // Another manager takes it in; nothing of that is in the store but that its lease has ended.
  await store.update((tx) => tx.delete('manager', 'm2'));
  await vi.advanceTimersByTimeAsync(5_000);
  etcd.present = [member('1', 'm1'), member('3', 'm2', true)];
  await vi.advanceTimersByTimeAsync(2_000);
  expect(etcd.present).toEqual([member('1', 'm1'), member('3', 'm2')]);
  await end();
});
