/** Who is alive, with a clock that the test moves. */
import { describe, expect, test, vi } from 'vitest';
import { Heartbeats, heartbeatPeriodMs } from '../../../src/controlplane/dispatcher/heartbeat.js';
import { rpcTimeoutMs, sessionRetryMsMax } from '../../../src/controlplane/rpc/clients.js';
import type { NodeId, TaskId } from '../../../src/model/ids.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { createLog } from '../../../src/runtime/log.js';
import { attachment, node, seededBytes, service, storeOf, task } from '../../support/cluster-objects.js';
import { fakeTimers } from '../../support/fake-timers.js';

const log = createLog('test');
log.level = 'silent';
const web = service('web');
const half = (size: number): Uint8Array => new Uint8Array(size).fill(127);

const stop = fakeTimers();

async function watched(nodes: Parameters<typeof storeOf>[0]) {
  const store = await storeOf(nodes);
  const down: string[] = [];
  const asked: string[] = [];
  const heartbeats = new Heartbeats(
    { store, clock: systemClock, random: half, log },
    { has: () => true, askForBeat: (id) => asked.push(id), end: (id) => down.push(id) },
  );
  void heartbeats.run(stop.signal);
  await vi.advanceTimersByTimeAsync(50);
  const status = (id: string) => store.view().get('node', id as NodeId)?.status;
  return { store, heartbeats, status, down, asked };
}

test('after a restart every node that was not down is unknown, and has twice the time', async () => {
  const { heartbeats, status, down } = await watched({
    node: [node('back'), node('lost'), node('gone', { state: 'down' })],
  });
  expect(status('back')).toMatchObject({
    state: 'unknown',
    message: 'Node moved to "unknown" state due to leadership change in cluster',
  });
  expect(status('gone')?.state).toBe('down');
  heartbeats.beat('back' as NodeId, null);
  await vi.advanceTimersByTimeAsync(14_000);
  heartbeats.beat('back' as NodeId, null);
  await vi.advanceTimersByTimeAsync(15_000);
  expect(status('lost')?.state).toBe('unknown');
  await vi.advanceTimersByTimeAsync(1_500);
  expect(status('lost')).toMatchObject({
    state: 'down',
    message: 'heartbeat failure for node in "unknown" state',
  });
  expect(down).toContain('lost');
});

test('after a restart an agent between two tries is not lost, however short the period', async () => {
  const store = await storeOf({ node: [node('waiting')] });
  await store.update((tx) =>
    tx.update('cluster', { ...tx.cluster(), spec: { ...tx.cluster().spec, heartbeatPeriodNs: 1e9 } }),
  );
  const down: string[] = [];
  const heartbeats = new Heartbeats(
    { store, clock: systemClock, random: half, log },
    {
      has: () => false,
      askForBeat: () => undefined,
      end: (id) => down.push(id),
    },
  );
  void heartbeats.run(stop.signal);
  await vi.advanceTimersByTimeAsync(sessionRetryMsMax + rpcTimeoutMs - 100);
  expect(down).toEqual([]);
  await vi.advanceTimersByTimeAsync(200);
  expect(down).toEqual(['waiting']);
});

test('three missed beats: down, once; a beat in time keeps it', async () => {
  const { store, heartbeats, status, down } = await watched({});
  await store.update((tx) => tx.create('node', node('n1')));
  heartbeats.beat('n1' as NodeId, null);
  await vi.advanceTimersByTimeAsync(14_000);
  heartbeats.beat('n1' as NodeId, null);
  await vi.advanceTimersByTimeAsync(14_000);
  expect(status('n1')?.state).toBe('ready');
  await vi.advanceTimersByTimeAsync(2_000);
  expect(status('n1')).toMatchObject({ state: 'down', message: 'heartbeat failure' });
  await vi.advanceTimersByTimeAsync(60_000);
  expect(down).toEqual(['n1']);
});

test('nobody is late because the clock was set forward, nor early because it was set back', async () => {
  const { store, heartbeats, status, down } = await watched({});
  await store.update((tx) => tx.create('node', node('n1')));
  heartbeats.beat('n1' as NodeId, null);
  vi.setSystemTime(Date.now() + 3_600_000);
  await vi.advanceTimersByTimeAsync(14_000);
  expect(status('n1')?.state).toBe('ready');
  heartbeats.beat('n1' as NodeId, null);
  vi.setSystemTime(Date.now() - 7_200_000);
  await vi.advanceTimersByTimeAsync(16_000);
  expect(down).toEqual(['n1']);
});

test('the period that an administrator sets holds from the next beat on; none is the default', async () => {
  const { store, heartbeats } = await watched({ node: [node('n1')] });
  const told: number[] = [];
  for (const heartbeatPeriodNs of [5e9, 60e9, 1e9, 0]) {
    await store.update((tx) =>
      tx.update('cluster', { ...tx.cluster(), spec: { ...tx.cluster().spec, heartbeatPeriodNs } }),
    );
    told.push(Math.round(heartbeats.beat('n1' as NodeId, null) / 1_000));
  }
  expect(told).toEqual([5, 60, 1, 5]);
});

describe('a node that others do not hear', () => {
  const others = ['n2', 'n3'] as NodeId[];

  async function missed() {
    const watching = await watched({});
    const { store, heartbeats } = watching;
    await store.update((tx) => {
      for (const id of ['n1', ...others])
        tx.create('node', { ...node(id), attachments: [{ networkId: 'ingress' } as never] });
    });
    for (const id of ['n1', ...others] as NodeId[]) heartbeats.beat(id, []);
    await vi.advanceTimersByTimeAsync(1_000);
    for (const id of others) heartbeats.beat(id, ['n1', 'a stranger']);
    await vi.advanceTimersByTimeAsync(100);
    return watching;
  }
  const keepUp = async ({ heartbeats }: Awaited<ReturnType<typeof missed>>, forMs: number): Promise<void> => {
    for (let ms = 0; ms < forMs; ms += 1_000) {
      for (const id of others) heartbeats.beat(id, ['n1']);
      await vi.advanceTimersByTimeAsync(1_000);
    }
  };

  test('is asked at once, and down a period later; back with its next session', async () => {
    const watching = await missed();
    const { asked, down, status, heartbeats, store } = watching;
    expect(asked).toEqual(['n1']);
    await keepUp(watching, 3_000);
    expect(down).toEqual([]);
    await keepUp(watching, 2_000);
    expect(down).toEqual(['n1']);
    expect(status('n1')).toMatchObject({ state: 'down', message: 'heartbeat failure' });
    heartbeats.beat('n1' as NodeId, null);
    await store.update((tx) =>
      tx.update('node', { ...node('n1'), version: tx.get('node', 'n1' as NodeId)!.version }),
    );
    await keepUp(watching, 1_000);
    expect(asked).toEqual(['n1', 'n1']);
    heartbeats.beat('n1' as NodeId, []);
    await keepUp(watching, 4_000);
    expect(status('n1')?.state).toBe('ready');
  });

  test('stays while it gives any sign of life', async () => {
    const watching = await missed();
    await vi.advanceTimersByTimeAsync(100);
    watching.heartbeats.hear('n1' as NodeId);
    await keepUp(watching, 8_000);
    expect(watching.down).toEqual([]);
    expect(watching.asked).toEqual(['n1', 'n1']);
  });
});

test('tasks on a node that was down for 24 hours are orphaned', async () => {
  const { store } = await watched({
    node: [node('n1', { state: 'down' })],
    service: [web],
    task: [
      task('run', web, 'running', { node: 'n1' }),
      task('done', web, 'complete', { node: 'n1' }),
      attachment('user', 'n1', { networkId: 'net', address: '10.0.1.5' }),
    ],
  });
  const state = (id: string) => store.view().get('task', id as TaskId)?.status.state;
  await vi.advanceTimersByTimeAsync(23.9 * 3600_000);
  expect(state('run')).toBe('running');
  await vi.advanceTimersByTimeAsync(0.2 * 3600_000);
  expect([state('run'), state('done')]).toEqual(['orphaned', 'complete']);
  // A user's container may run on there: its address is its own until the node is removed.
  expect(state('user')).toBe('running');
});

test('periods differ by at most half a second', () => {
  const random = seededBytes(1);
  const periods = Array.from({ length: 200 }, () => heartbeatPeriodMs(5_000, random));
  expect(Math.min(...periods)).toBeGreaterThanOrEqual(4_500);
  expect(Math.max(...periods)).toBeLessThanOrEqual(5_500);
  expect(new Set(periods).size).toBeGreaterThan(100);
});
