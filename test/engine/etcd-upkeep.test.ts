/** A real etcd of a small quota: history goes, space comes back, and a store that is full recovers by itself. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EtcdClient } from '../../src/controlplane/etcd/client.js';
import { EtcdLeases } from '../../src/controlplane/etcd/lease.js';
import { EtcdMembers } from '../../src/controlplane/etcd/members.js';
import { findProcesses } from '../../src/controlplane/etcd/process-table.js';
import { EtcdSupervisor } from '../../src/controlplane/etcd/supervisor.js';
import { EtcdStore } from '../../src/controlplane/store/etcd.js';
import { holdPresence } from '../../src/controlplane/store/presence.js';
import { Sealer, newDataKey } from '../../src/controlplane/store/seal.js';
import { Upkeep } from '../../src/controlplane/upkeep/upkeep-loop.js';
import { SkepError } from '../../src/model/errors.js';
import type { NodeId } from '../../src/model/ids.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { systemClock } from '../../src/runtime/clock.js';
import type { Clock } from '../../src/runtime/clock.js';
import { cluster } from '../support/cluster-objects.js';
import { task } from '../unit/store/objects.js';

const log = pino({ enabled: false });
const nodeId = 'm1' as NodeId;
const quotaBytes = 16 * 1024 * 1024;
/** Minutes of upkeep are seconds here. */
const speed = 60;
const fastClock: Clock = {
  nowMs: () => systemClock.nowMs(),
  steadyMs: () => systemClock.steadyMs() * speed,
  sleep: (delayMs, signal) => systemClock.sleep(delayMs / speed, signal),
};
const soon = { timeout: 20_000, interval: 50 };
let port = 24580;

describe('upkeep', () => {
  const undo = new CleanupStack();
  let client: EtcdClient;
  let store: EtcdStore;
  let keep: () => Upkeep;
  let dataDir: string;

  beforeEach(async () => {
    const dir = await mkdtemp(join(tmpdir(), 'skep-upkeep-'));
    undo.defer(() => rm(dir, { recursive: true }));
    dataDir = join(dir, 'data');
    const config = { dataDir, socketDir: join(dir, 'run'), name: nodeId, clusterToken: 'c1', quotaBytes };
    const etcd = new EtcdSupervisor({
      config: { ...config, peerUrl: `http://127.0.0.1:${port++}` },
      logFile: join(dir, 'etcd.log'),
      log,
    });
    await etcd.start('new');
    undo.defer(() => etcd.stop());
    client = new EtcdClient(etcd.address);
    const [leases, members] = [new EtcdLeases(etcd.address), new EtcdMembers(etcd.address)];
    for (const one of [client, leases, members]) undo.defer(() => one.close());
    const sealer = new Sealer(newDataKey());
    store = await EtcdStore.open({ client, sealer, log });
    undo.defer(() => store.close());
    await store.update((tx) => tx.create('cluster', cluster()));
    const over = new AbortController();
    const presence = { client, leases, sealer, nodeId, addr: 'm1:2377', clock: systemClock, log };
    const running: Promise<void>[] = [holdPresence(presence, over.signal)];
    undo.defer(async () => {
      over.abort(new Error('over'));
      await Promise.all(running);
    });
    keep = () => {
      const upkeep = new Upkeep({
        ...{ store, client, members, leases, nodeId, dataDir, quotaBytes, clock: fastClock, log },
        settings: () => etcd.settings,
        restart: (settings) => etcd.restart(settings),
      });
      running.push(upkeep.run(over.signal));
      return upkeep;
    };
  });
  afterEach(() => undo[Symbol.asyncDispose]());

  const create = (from: number, count: number): Promise<void> =>
    store.update((tx) => {
      for (let i = from; i < from + count; i++) tx.create('task', task(`t${i}`, 'web', 'n1'));
    });
  const remove = (from: number, count: number): Promise<void> =>
    store.update((tx) => {
      for (let i = from; i < from + count; i++) tx.delete('task', `t${i}`);
    });

  test('what is written over and removed takes no room in the end, however much it was', async () => {
    keep();
    const revisionBefore = store.view().revision;
    let largest = 0;
    const batch = 200;
    let writtenBytes = 0;
    for (let round = 0; writtenBytes < 2 * quotaBytes; round++) {
      await create(round * batch, batch);
      await remove(round * batch, batch);
      writtenBytes += batch * 700;
      if (round % 20 === 0) largest = Math.max(largest, (await client.status()).databaseBytes);
    }
    assert(store.view().revision - revisionBefore > 400);
    assert(largest < quotaBytes, `${largest} bytes`);
    await expect.poll(async () => (await client.status()).databaseBytes, soon).toBeLessThan(quotaBytes / 4);
  });

  test('a full store says so, takes removals, and takes changes again when there is room', async () => {
    const batch = 200;
    let count = 0;
    const fill = async (): Promise<void> => {
      for (; count < 100_000; count += batch) await create(count, batch);
    };
    await assert.rejects(fill(), (err) => {
      assert(err instanceof SkepError && err.kind === 'unavailable');
      assert.match(err.message, /the store of the cluster is full: it takes no changes but removals/);
      return true;
    });
    const upkeep = keep();
    await expect.poll(() => upkeep.state?.isFull, soon).toBe(true);
    await assert.rejects(create(count, batch), /is full/);
    for (let from = 0; from < count - batch; from += batch) await remove(from, batch);
    await expect
      .poll(
        () =>
          create(count, batch).then(
            () => 'taken',
            () => 'refused',
          ),
        soon,
      )
      .toBe('taken');
    await expect.poll(() => upkeep.state?.isFull, soon).toBe(false);
    expect((await client.status()).alarms).toEqual([]);
  });

  test('settings of the cluster reach the etcd that runs', async () => {
    keep();
    const before = store.view().cluster();
    const raft = { ...before.spec.raft, snapshotInterval: 700, keepOldSnapshots: 2 };
    await store.update((tx) => tx.update('cluster', { ...tx.cluster(), spec: { ...before.spec, raft } }));
    const running = async (): Promise<string> => {
      const [found] = await findProcesses((args) => args.includes(`--data-dir=${dataDir}`));
      return (found?.args ?? []).filter((arg) => /snapshot/.test(arg)).join(' ');
    };
    await expect.poll(running, soon).toBe('--snapshot-count=700 --max-snapshots=3');
    await create(0, 1);
  });
});
