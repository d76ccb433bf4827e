/** Three real etcd: members are taken in as learners, promoted and removed, leases expire, and who leads is found anew. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EtcdClient } from '../../src/controlplane/etcd/client.js';
import { EtcdLeases } from '../../src/controlplane/etcd/lease.js';
import { EtcdMembers } from '../../src/controlplane/etcd/members.js';
import { EtcdSupervisor } from '../../src/controlplane/etcd/supervisor.js';
import { Leadership } from '../../src/controlplane/leadership/leadership.js';
import { RaftWatch } from '../../src/controlplane/leadership/raft-watch.js';
import { EtcdStore } from '../../src/controlplane/store/etcd.js';
import { holdPresence } from '../../src/controlplane/store/presence.js';
import { Sealer, newDataKey } from '../../src/controlplane/store/seal.js';
import type { Store } from '../../src/controlplane/store/store.js';
import { leaderId } from '../../src/model/ids.js';
import type { NodeId } from '../../src/model/ids.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { systemClock } from '../../src/runtime/clock.js';

const log = pino({ enabled: false });
const clock = systemClock;
const dataKey = newDataKey();
const soon = { timeout: 15_000, interval: 50 };
const peerUrlOf = (name: string): string => `http://127.0.0.1:2459${name.slice(1)}`;

/** One etcd and what a manager has of it. */
class Member implements AsyncDisposable {
  readonly client: EtcdClient;
  readonly members: EtcdMembers;
  readonly leases: EtcdLeases;
  readonly undo = new CleanupStack();
  /** How often its manager has asked who leads Raft. */
  looks = 0;

  constructor(
    readonly name: string,
    readonly supervisor: EtcdSupervisor,
  ) {
    const { address } = supervisor;
    this.client = new EtcdClient(address);
    this.members = new EtcdMembers(address);
    this.leases = new EtcdLeases(address);
  }

  static make(directory: string, name: string, initialCluster: string): Member {
    const supervisor = new EtcdSupervisor({
      config: {
        dataDir: join(directory, name),
        socketDir: join(directory, `${name}s`),
        name,
        peerUrl: peerUrlOf(name),
        initialCluster,
        clusterToken: 'c1',
      },
      logFile: join(directory, `${name}.log`),
      log,
    });
    return new Member(name, supervisor);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.undo[Symbol.asyncDispose]();
    for (const one of [this.client, this.members, this.leases]) one.close();
    await this.supervisor.stop();
  }
}

/** What a manager does of itself, for as long as it is not stopped. */
async function manage(member: Member, led: string[]): Promise<{ store: Store; stop: () => Promise<void> }> {
  const { client, leases, name } = member;
  const nodeId = name as NodeId;
  const sealer = new Sealer(dataKey);
  const store = await EtcdStore.open({ client, sealer, log });
  const over = new AbortController();
  const status = (deadlineMs?: number) => {
    member.looks += 1;
    return client.status(deadlineMs);
  };
  const raft = new RaftWatch({ status }, clock, () => leadership.look());
  const leadership: Leadership = new Leadership({
    ...{ store, nodeId, raft, clock, log },
    lead: async (_inOffice, signal) => {
      led.push(name);
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    },
  });
  const running = [
    raft.run(over.signal),
    leadership.run(over.signal),
    holdPresence(
      { client, leases, sealer, nodeId, addr: `${name}:2377`, onBeat: raft.heard, clock, log },
      over.signal,
    ),
  ];
  const stop = async (): Promise<void> => {
    over.abort(new Error('over'));
    await Promise.all(running);
    await store.close();
  };
  member.undo.defer(stop);
  return { store, stop };
}

describe('three members', () => {
  let directory: string;
  const all: Member[] = [];
  const led: string[] = [];
  const stores: Store[] = [];
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skep-etcd-'));
  });
  afterAll(async () => {
    await Promise.all(all.map((member) => member[Symbol.asyncDispose]()));
    await rm(directory, { recursive: true });
  });

  test('are taken in one after the other, as learners first', async () => {
    const first = Member.make(directory, 'm1', `m1=${peerUrlOf('m1')}`);
    all.push(first);
    await first.supervisor.start('new');
    for (const name of ['m2', 'm3']) {
      // None is added before those that are there have been well for five seconds.
      await expect
        .poll(() => first.members.addLearner(peerUrlOf(name)).catch(() => []), soon)
        .not.toEqual([]);
      const present = await first.members.list();
      expect(present.filter(({ isLearner }) => isLearner)).toMatchObject([{ name: '' }]);
      await expect(first.members.addLearner('http://127.0.0.1:24599')).rejects.toMatchObject({
        operation: 'member add',
      });
      const cluster = present.map((one) => `${one.name || name}=${one.peerUrls[0]}`).join(',');
      const member = Member.make(directory, name, cluster);
      all.push(member);
      const started = member.supervisor.start('existing');
      const learner = present.find(({ isLearner }) => isLearner);
      assert(learner);
      await expect.poll(() => first.members.promote(learner.id), soon).toBe(true);
      await started;
    }
    const members = await first.members.list();
    expect(members.map(({ name, isLearner }) => ({ name, isLearner }))).toEqual(
      expect.arrayContaining(['m1', 'm2', 'm3'].map((name) => ({ name, isLearner: false }))),
    );
  });

  test('know who is alive: a lease that nobody holds is gone, and its key', async () => {
    const [first, second] = all;
    assert(first && second);
    const lease = await first.leases.grant(2);
    await first.client.txn([], [{ op: 'put', key: '/k', value: Buffer.from('v'), lease: lease.id }]);
    const over = new AbortController();
    const held = first.leases.keepAlive(lease, over.signal);
    held.catch(() => undefined);
    await clock.sleep(lease.ttlMs + 1_000);
    expect((await second.client.get('/k'))?.value.toString()).toBe('v');
    over.abort(new Error('dead'));
    await expect(held).rejects.toThrow('dead');
    await expect.poll(() => second.client.get('/k'), soon).toBeUndefined();
    await expect(first.leases.keepAlive(lease, new AbortController().signal)).rejects.toMatchObject({
      operation: 'lease keep alive',
    });
  });

  test('keep the lease of a process that was held up: answers that wait to be read are no silence', async () => {
    const [first] = all;
    assert(first);
    const lease = await first.leases.grant(2);
    let beats = 0;
    const over = new AbortController();
    const held = first.leases.keepAlive(lease, over.signal, () => (beats += 1));
    held.catch(() => over.abort(new Error('lost')));
    for (let time = 0; time < 2; time += 1) {
      const before = beats;
      await expect.poll(() => beats, soon).toBeGreaterThan(before + 1);
      const untilMs = performance.now() + 0.7 * lease.ttlMs;
      while (performance.now() < untilMs);
    }
    const before = beats;
    await expect.poll(() => beats, soon).toBeGreaterThan(before + 1);
    over.abort(new Error('dead'));
    await expect(held).rejects.toThrow('dead');
  });

  test('have one leader, and another one when its etcd dies', async () => {
    for (const member of all) stores.push((await manage(member, led)).store);
    const leaderNow = (of: Store): string | undefined => of.view().get('leader', leaderId)?.nodeId;
    await expect.poll(() => new Set(stores.map(leaderNow)).size, soon).toBe(1);
    await expect.poll(() => leaderNow(stores[0]!), soon).toBeDefined();
    const first = leaderNow(stores[0]!);
    await expect.poll(() => led.at(-1), soon).toBe(first);
    const looks = (): number => all.reduce((sum, member) => sum + member.looks, 0);
    const looksOfOneSecond = async (): Promise<number> => {
      const before = looks();
      await clock.sleep(1_000);
      return looks() - before;
    };
    // The beats of their leases say that nothing has changed.
    await expect.poll(looksOfOneSecond, soon).toBe(0);
    const index = all.findIndex(({ name }) => name === first);
    const { pid } = all[index]!.supervisor;
    assert(pid);
    await all[index]!.supervisor.detach(); // nobody starts it again
    process.kill(pid, 'SIGKILL');
    const other = stores[(index + 1) % 3]!;
    await expect.poll(() => leaderNow(other), soon).not.toBe(first);
    await expect.poll(() => led.at(-1), soon).toBe(leaderNow(other));
  });
});
