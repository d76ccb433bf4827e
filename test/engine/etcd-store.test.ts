/** The store's contract on a real etcd, and what only etcd adds: sealed values, restarts, compaction, lost answers. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { EtcdError } from '../../src/controlplane/etcd/channel.js';
import { EtcdClient } from '../../src/controlplane/etcd/client.js';
import type { KeyValue } from '../../src/controlplane/etcd/client.js';
import { EtcdSupervisor } from '../../src/controlplane/etcd/supervisor.js';
import { systemClock } from '../../src/runtime/clock.js';
import { fillStore } from '../../src/controlplane/store/fill.js';
import { EtcdStore } from '../../src/controlplane/store/etcd.js';
import type { EtcdStoreOptions } from '../../src/controlplane/store/etcd.js';
import { Sealer, newDataKey } from '../../src/controlplane/store/seal.js';
import type { ChangeBatch, Store, StoredObject, Transaction } from '../../src/controlplane/store/store.js';
import { OutsideError, SkepError } from '../../src/model/errors.js';
import type { NodeId, ServiceId } from '../../src/model/ids.js';
import { Harness, seed } from '../unit/api/harness.js';
import { storeConformance } from '../unit/store/conformance.js';
import { node, service, task } from '../unit/store/objects.js';

const log = pino({ enabled: false });
let port = 24380;

/** An etcd of its own in a temporary directory. */
async function startEtcd() {
  const dir = await mkdtemp(join(tmpdir(), 'skep-etcd-'));
  const peerUrl = `http://127.0.0.1:${port++}`;
  const supervisor = new EtcdSupervisor({
    config: {
      dataDir: join(dir, 'data'),
      socketDir: join(dir, 'run'),
      name: 'm1',
      peerUrl,
      clusterToken: 'c1',
    },
    logFile: join(dir, 'etcd.log'),
    log,
  });
  await supervisor.start('new');
  const end = async (): Promise<void> => {
    await supervisor.stop();
    await rm(dir, { recursive: true });
  };
  return { supervisor, end };
}

/** A client whose transactions can be tampered with. */
class Interposed extends EtcdClient {
  before: (() => Promise<void>) | undefined;
  /** Loses the answer of the next transaction. */
  loseAnswer = false;

  override async txn(...args: Parameters<EtcdClient['txn']>) {
    const { before } = this;
    this.before = undefined;
    await before?.();
    const result = await super.txn(...args);
    if (this.loseAnswer) {
      this.loseAnswer = false;
      throw new EtcdError('txn', 14, 'the answer was lost', undefined);
    }
    return result;
  }
}

/** Resolves when a store that follows has come to `revision`. */
const caughtUp = (store: Store, revision: number): Promise<void> =>
  new Promise((resolve) => {
    const look = (): void => {
      if (store.view().revision < revision) return;
      stop();
      resolve();
    };
    const stop = store.subscribe(look);
    look();
  });

storeConformance('EtcdStore', async () => {
  const { supervisor, end } = await startEtcd();
  const sealer = new Sealer(newDataKey());
  const [client, otherClient] = [new Interposed(supervisor.address), new EtcdClient(supervisor.address)];
  let nowMs = 0;
  const clock = { ...systemClock, nowMs: () => nowMs };
  const store = await EtcdStore.open({ client, sealer, log, clock });
  const other = await EtcdStore.open({ client: otherClient, sealer, log, clock });
  return {
    store,
    interfere: (write) =>
      (client.before = async () => {
        await caughtUp(other, store.view().revision);
        await other.update(write);
      }),
    setTimeMs: (value) => (nowMs = value),
    close: async () => {
      await Promise.all([store.close(), other.close()]);
      client.close();
      otherClient.close();
      await end();
    },
  };
});

describe('EtcdStore on etcd', () => {
  const sealer = new Sealer(newDataKey());
  let etcd: Awaited<ReturnType<typeof startEtcd>>;
  let client: Interposed;
  beforeAll(async () => {
    etcd = await startEtcd();
    client = new Interposed(etcd.supervisor.address);
  });
  afterAll(async () => {
    client.close();
    await etcd.end();
  });

  const open = (options: Partial<EtcdStoreOptions> = {}): Promise<EtcdStore> =>
    EtcdStore.open({ client, sealer, log, ...options });
  const everything = async (): Promise<KeyValue[]> => {
    const kvs: KeyValue[] = [];
    await client.readPrefix('/', (page) => void kvs.push(...page));
    return kvs;
  };

  test('etcd sees kinds, ids and sealed bytes; never a name or a value', async () => {
    const store = await open();
    await store.update((tx) => tx.create('service', service('sealed1', 'UnlikelyName')));
    const kvs = await everything();
    assert.deepEqual(kvs.map(({ key }) => key.replace(/[0-9a-f]{64}$/, '<hash>')).sort(), [
      '/skep/v1/name/service/<hash>',
      '/skep/v1/service/sealed1',
    ]);
    for (const { key, value } of kvs) {
      const seen = Buffer.concat([Buffer.from(key), value])
        .toString('latin1')
        .toLowerCase();
      for (const secret of ['unlikelyname', 'do-not-show', 'spec', '"id"'])
        assert(!seen.includes(secret), `${secret} is in clear at ${key}`);
    }
    await store.close();
  });

  test('a store opened later, and one that follows, have the same as the writer', async () => {
    const [writer, follower] = [await open(), await open()];
    const seen = new Promise<ChangeBatch>((resolve) => follower.subscribe(resolve));
    await writer.update((tx) => {
      for (let i = 0; i < 150; i++) tx.create('task', task(`later-${i}`, 'sealed1', 'n1'));
      tx.create('node', node('n1'));
    });
    assert.equal((await seen).changes.length, 151);
    const opened = await open();
    for (const store of [follower, opened]) {
      assert.equal(store.view().revision, writer.view().revision);
      for (const kind of ['service', 'task', 'node'] as const)
        assert.deepEqual(store.view().list(kind), writer.view().list(kind));
      assert.equal(store.view().byName('service', 'unlikelyNAME')?.id, 'sealed1');
    }
    await Promise.all([writer, follower, opened].map((store) => store.close()));
  });

  test('more objects than a page are read in full', async () => {
    const store = await open();
    for (let i = 0; i < 6; i++)
      await store.update((tx) => {
        for (let j = 0; j < 200; j++) tx.create('task', task(`page-${i}-${j}`, 'paged'));
      });
    const opened = await open();
    assert.equal(opened.view().tasksOfService('paged' as ServiceId).length, 1_200);
    await Promise.all([store.close(), opened.close()]);
  });

  test('a commit whose answer was lost is not applied twice', async () => {
    const store = await open();
    client.loseAnswer = true;
    let runs = 0;
    await store.update((tx) => {
      runs += 1;
      tx.create('service', service('lost1', 'lost'));
    });
    assert.equal(runs, 1);
    assert.equal(store.view().byName('service', 'lost')?.id, 'lost1');
    await store.close();
  });

  test('with another data key nothing opens, and the error names only the key', async () => {
    await assert.rejects(open({ sealer: new Sealer(newDataKey()) }), (err: Error) => {
      assert.equal(err.name, 'AssertionError');
      assert.match(err.message, /\/skep\/v1\//);
      return true;
    });
  });

  test('a value moved to another key crashes the follower', async () => {
    let onCrash: (err: unknown) => void = () => undefined;
    const crash = new Promise<Error>((resolve) => (onCrash = (err) => resolve(err as Error)));
    const store = await open({ onCrash });
    const original = await client.get('/skep/v1/service/sealed1');
    assert(original);
    await client.txn([], [{ op: 'put', key: '/skep/v1/service/moved', value: original.value }]);
    assert.match((await crash).message, /^the stored value of \/skep\/v1\/service\/moved cannot be opened/);
    await client.txn([], [{ op: 'delete', key: '/skep/v1/service/moved' }]);
    await store.close();
  });

  test('a watch that fell behind a compaction reads all anew and tells the difference', async () => {
    const writer = await open();
    let allow: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (allow = resolve));
    let watches = 0;
    const held = await open({
      client: {
        readPrefix: (...args) => client.readPrefix(...args),
        txn: (...args) => client.txn(...args),
        // The watch breaks at once, and comes back only after the compaction.
        watchAll: async (...args) => {
          watches += 1;
          if (watches === 1) {
            await gate;
            throw new OutsideError('cut', true);
          }
          return client.watchAll(...args);
        },
      },
    });
    const batches: ChangeBatch[] = [];
    held.subscribe((batch) => void batches.push(batch));
    await writer.update((tx) => tx.create('node', node('fresh')));
    await writer.update((tx) => tx.delete('node', 'n1'));
    await writer.update((tx) =>
      tx.update('service', tx.get('service', 'sealed1' as ServiceId) ?? assert.fail()),
    );
    await client.compact(writer.view().revision);
    allow();
    const after = await held.update((tx) => {
      tx.create('node', node('last'));
      return tx.revision;
    });
    assert(after > 0);
    const changes = batches.flatMap((batch) => batch.changes.map(({ kind, id }) => `${kind}/${id}`));
    assert.deepEqual(changes.sort(), ['node/fresh', 'node/last', 'node/n1', 'service/sealed1']);
    assert.deepEqual(held.view().list('node'), writer.view().list('node'));
    await Promise.all([writer.close(), held.close()]);
  });

  test('a store that was filled from a backup goes on far above, and nobody is told a revision twice', async () => {
    const { supervisor, end } = await startEtcd();
    const empty = new EtcdClient(supervisor.address);
    const writer = await open();
    await writer.update((tx) => tx.create('service', service('kept', 'Kept')));
    for (let i = 0; i < 3; i++)
      await writer.update((tx) => {
        for (let j = 0; j < 150; j++) tx.create('task', task(`kept-${i}-${j}`, 'kept'));
      });
    const objects: StoredObject[] = [
      ...writer
        .view()
        .list('service')
        .filter(({ id }) => id === 'kept')
        .map((object) => ({ kind: 'service' as const, object })),
      ...writer
        .view()
        .tasksOfService('kept' as ServiceId)
        .map((object) => ({ kind: 'task' as const, object })),
    ];
    const revisionBase = writer.view().revision + 1_000_000;
    await fillStore(empty, sealer, { objects, revisionBase });
    await assert.rejects(fillStore(empty, sealer, { objects, revisionBase }), /not empty/);

    const [restored, other] = [await open({ client: empty }), await open({ client: empty })];
    const view = restored.view();
    assert(view.revision > revisionBase && view.revision < revisionBase + 20);
    const withoutVersion = <T extends { version: number }>({ version: _, ...rest }: T) => rest;
    for (const { kind, object } of objects) {
      const found = view.get(kind, object.id) as typeof object;
      assert(found.version > revisionBase);
      assert.deepEqual(withoutVersion(found), withoutVersion(object));
    }
    assert.equal(view.byName('service', 'kept')?.id, 'kept');
    await assert.rejects(
      restored.update((tx) => tx.create('service', service('second', 'KEPT'))),
      /name conflicts/,
    );
    await restored.update((tx) => {
      const kept = tx.get('service', 'kept' as ServiceId);
      assert(kept);
      tx.update('service', { ...kept, spec: { ...kept.spec, labels: { changed: 'yes' } } });
    });
    await caughtUp(other, restored.view().revision);
    assert.deepEqual(
      other.view().get('service', 'kept' as ServiceId),
      restored.view().get('service', 'kept' as ServiceId),
    );
    // Also after all was read anew, as after a compaction.
    const again = await open({ client: empty });
    assert.equal(again.view().revision, restored.view().revision);
    await again.update((tx) => tx.delete('service', 'kept'));
    await Promise.all([writer, restored, other, again].map((store) => store.close()));
    empty.close();
    await end();
  });

  test('etcd away is unavailable; when it comes back the store follows on', async () => {
    const store = await open({ unavailableMs: 1_500 });
    const before = store.view().revision;
    const { pid } = etcd.supervisor;
    assert(pid);
    process.kill(pid, 'SIGSTOP');
    const add = (id: string) => (tx: Transaction) => tx.create('node', node(id));
    try {
      await assert.rejects(store.update(add('away')), (err) => {
        assert(err instanceof SkepError);
        assert.equal(err.kind, 'unavailable');
        return true;
      });
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    const patient = await open();
    await patient.update(add('back'));
    await patient.update((tx) => tx.delete('node', 'back'));

    process.kill(pid, 'SIGKILL');
    await patient.update(add('again'));
    assert.notEqual(etcd.supervisor.pid, pid);
    await store.update(add('both'));
    assert(store.view().revision > before);
    for (const id of ['again', 'both'] as NodeId[]) assert(store.view().get('node', id));
    await Promise.all([store.close(), patient.close()]);
    await assert.rejects(store.update(add('closed')), SkepError);
  });
});

test('what a service uses is not removed from under it by another manager at the same moment', async () => {
  const { supervisor, end } = await startEtcd();
  const sealer = new Sealer(newDataKey());
  const clients = [new EtcdClient(supervisor.address), new EtcdClient(supervisor.address)] as const;
  const stores = await Promise.all(clients.map((client) => EtcdStore.open({ client, sealer, log })));
  const managers = await Promise.all([Harness.start(), Harness.start()]);
  const [one, other] = managers;
  try {
    await seed(stores[0]!);
    for (const [index, { control }] of managers.entries())
      control.state = { ...control.state, store: stores[index]! };
    const outcomes = new Set<string>();
    for (let round = 0; round < 40; round++) {
      const name = `s${round}`;
      const made = async (path: string, body: object): Promise<string> => {
        const { text, json } = await one.call('POST', path, body);
        const { ID, Id } = json as { ID?: string; Id?: string };
        return ID ?? Id ?? assert.fail(text);
      };
      const kinds = ['network', 'secret', 'config'] as const;
      const kind = kinds[round % kinds.length]!;
      const path = `/${kind}s`;
      const id = await made(`${path}/create`, {
        Name: name,
        ...(kind === 'network' ? { Driver: 'overlay' } : { Data: 'eA==' }),
      });
      await caughtUp(stores[1]!, stores[0]!.view().revision);
      const file = { Name: 'a', UID: '0', GID: '0', Mode: 292 };
      const container = {
        network: {},
        secret: { Secrets: [{ SecretID: id, SecretName: name, File: file }] },
        config: { Configs: [{ ConfigID: id, ConfigName: name, File: file }] },
      }[kind];
      const [created, removed] = await Promise.all([
        one.call('POST', '/services/create', {
          Name: name,
          TaskTemplate: {
            ContainerSpec: { Image: 'busybox', ...container },
            ...(kind === 'network' && { Networks: [{ Target: id }] }),
          },
        }),
        other.call('DELETE', `${path}/${id}`),
      ]);
      const outcome = [created.status === 201, removed.status === 204];
      assert.notDeepEqual(outcome, [true, true], `${kind}: created, and what it uses removed`);
      outcomes.add(`${String(outcome[0])} ${String(outcome[1])}`);
    }
    // Whoever comes first: both must have happened, or nothing has raced.
    assert.deepEqual([...outcomes].sort(), ['false true', 'true false']);
  } finally {
    await Promise.all(managers.map((manager) => manager[Symbol.asyncDispose]()));
    await Promise.all(stores.map((store) => store.close()));
    for (const client of clients) client.close();
    await end();
  }
}, 60_000);
