/**
 * What a store promises, as tests that run on every implementation. The harness gives a fresh empty store, and a
 * way to let another writer in between a body and its commit.
 */
import assert from 'node:assert/strict';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { SkepError } from '../../../src/model/errors.js';
import type { NetworkId, NodeId, ServiceId, TaskId } from '../../../src/model/ids.js';
import type { TaskState } from '../../../src/model/task-state.js';
import type { ChangeBatch, Store, Transaction, View } from '../../../src/controlplane/store/store.js';
import { maxWrites } from '../../../src/controlplane/store/store.js';
import { network, node, service, task } from './objects.js';

export interface Harness {
  readonly store: Store;
  /** Called inside a body: commits `write` by another writer before that body's own commit. */
  interfere(write: (tx: Transaction) => void): void;
  /** Sets the store's clock. */
  setTimeMs(nowMs: number): void;
  close(): Promise<void>;
}

const s1 = 's1' as ServiceId;

const refusal = async (attempt: Promise<unknown>): Promise<SkepError> => {
  try {
    await attempt;
  } catch (err) {
    assert(err instanceof SkepError, `not a refusal: ${String(err)}`);
    return err;
  }
  throw new Error('was not refused');
};

/** A batch as one readable line. */
const line = ({ changes }: ChangeBatch): string =>
  changes
    .map(({ kind, id, previous, current }) => `${previous ? (current ? '~' : '-') : '+'}${kind}/${id}`)
    .join(' ');

export function storeConformance(name: string, open: () => Promise<Harness>): void {
  describe(`${name} keeps the store's contract`, () => {
    let harness: Harness;
    let store: Store;
    let next = 0;
    /** Ids and names of this test's own, so that tests share a store without meeting. */
    const own = (text: string): string => `${text}-${String(next).padStart(3, '0')}`;

    beforeAll(async () => {
      harness = await open();
      store = harness.store;
    });
    afterAll(() => harness.close());

    const check = (title: string, body: () => Promise<void>): void =>
      test(title, async () => {
        next += 1;
        await body();
      });

    check('a new object has the revision as version, and the clock as times', async () => {
      harness.setTimeMs(1_000);
      const id = own('s') as ServiceId;
      await store.update((tx) => tx.create('service', service(id, own('web'))));
      const made = store.view().get('service', id);
      assert(made);
      assert.equal(made.version, store.view().revision);
      assert.deepEqual([made.createdAtMs, made.updatedAtMs], [1_000, 1_000]);

      harness.setTimeMs(2_000);
      await store.update((tx) => tx.create('node', node(own('n'))));
      await store.update((tx) => tx.update('service', { ...made, createdAtMs: 7, updatedAtMs: 7 }));
      const changed = store.view().get('service', id);
      assert(changed && changed.version > made.version + 1, 'one version for the whole store');
      assert.deepEqual([changed.createdAtMs, changed.updatedAtMs], [1_000, 2_000]);
    });

    check('reads in a transaction see its writes, and a body that throws writes nothing', async () => {
      const id = own('s') as ServiceId;
      const before = store.view();
      await assert.rejects(
        store.update((tx) => {
          tx.create('service', service(id, own('web')));
          tx.create('task', task(own('t'), id));
          assert.equal(tx.byName('service', own('WEB'))?.id, id);
          assert.equal(tx.tasksOfService(id).length, 1);
          throw new Error('given up');
        }),
        /given up/,
      );
      assert.equal(store.view().revision, before.revision);
      assert.equal(store.view().get('service', id), undefined);
    });

    check('update gives what the body gives, and a body without writes makes no revision', async () => {
      const { revision } = store.view();
      assert.equal(await store.update((tx) => tx.list('node').length), store.view().list('node').length);
      await store.update((tx) => tx.delete('node', 'nobody'));
      await store.update((tx) => {
        tx.create('node', node(own('n')));
        tx.delete('node', own('n'));
      });
      assert.equal(store.view().revision, revision);
    });

    check('names are unique, whatever their case', async () => {
      await store.update((tx) => tx.create('service', service(own('s'), own('web'))));
      await store.update((tx) => tx.create('network', network(own('n'), own('web'))));
      const twice = await refusal(store.update((tx) => tx.create('service', service(own('s2'), own('WEB')))));
      assert.deepEqual(
        [twice.kind, twice.message, twice.options.viaControlApi],
        [
          'alreadyExists',
          `name conflicts with an existing object: service ${own('WEB')} already exists`,
          true,
        ],
      );
      const net = await refusal(store.update((tx) => tx.create('network', network(own('n2'), own('Web')))));
      assert.deepEqual(
        [net.kind, net.message, net.options.viaControlApi],
        ['unknown', 'name conflicts with an existing object', true],
      );
    });

    check('a name is free again after a rename, a removal, and in the same transaction', async () => {
      const [a, b, c] = [own('a'), own('b'), own('c')] as [ServiceId, ServiceId, ServiceId];
      const rename = (tx: Transaction, id: ServiceId, name: string): void => {
        const known = tx.get('service', id);
        assert(known);
        tx.update('service', { ...known, spec: { ...known.spec, name } });
      };
      await store.update((tx) => tx.create('service', service(a, own('one'))));
      await store.update((tx) => rename(tx, a, own('two')));
      await store.update((tx) => rename(tx, a, own('TWO')));
      await store.update((tx) => tx.create('service', service(b, own('one'))));
      await store.update((tx) => {
        tx.delete('service', b);
        tx.create('service', service(c, own('ONE')));
      });
      await store.update((tx) => {
        rename(tx, a, own('tmp'));
        rename(tx, c, own('two'));
        rename(tx, a, own('one'));
      });
      assert.equal(store.view().byName('service', own('One'))?.id, a);
      assert.equal(store.view().byName('service', own('Two'))?.id, c);
      await store.update((tx) => {
        tx.delete('service', a);
        tx.delete('service', c);
      });
      assert.equal(store.view().byName('service', own('one')), undefined);
      await store.update((tx) => tx.create('service', service(own('d'), own('one'))));
    });

    check('lists are in the order of ids, and follow a task from node to node', async () => {
      const sid = own('s') as ServiceId;
      const [n1, n2] = [own('n1') as NodeId, own('n2') as NodeId];
      const ids = Array.from(
        { length: 150 },
        (_, i) => `${own('t')}-${String((i * 67) % 150).padStart(3, '0')}`,
      );
      await store.update((tx) => ids.forEach((id, i) => tx.create('task', task(id, sid, i % 2 ? n1 : n2))));
      const sorted = [...ids].sort();
      const view = store.view();
      assert.deepEqual(
        view.tasksOfService(sid).map(({ id }) => id),
        sorted,
      );
      const all = view.list('task').map(({ id }) => id as string);
      assert.deepEqual(all, [...all].sort());
      assert.equal(view.tasksOnNode(n1).length, 75);

      await store.update((tx) => {
        for (const one of tx.tasksOnNode(n1).slice(0, 50)) tx.update('task', { ...one, nodeId: n2 });
      });
      assert.equal(store.view().tasksOnNode(n1).length, 25);
      assert.equal(store.view().tasksOnNode(n2).length, 125);
      assert.equal(view.tasksOnNode(n1).length, 75, 'a view taken before stays as it was');

      assert.ok(store.view().servicesOfTasks().includes(sid));
      await store.update((tx) => tx.tasksOfService(sid).forEach(({ id }) => tx.delete('task', id)));
      assert.deepEqual(store.view().tasksOfService(sid), []);
      assert.ok(!store.view().servicesOfTasks().includes(sid));
      assert.deepEqual(store.view().tasksOnNode(n2), []);
    });

    check('those wait that are new or pending', async () => {
      const sid = own('s') as ServiceId;
      const states = ['new', 'pending', 'assigned', 'running', 'failed'] as const;
      const waiting = (view: View): string[] =>
        view.waitingTasks().flatMap(({ serviceId, status }) => (serviceId === sid ? status.state : []));
      const move = (from: TaskState, state: TaskState) =>
        store.update((tx) => {
          for (const one of tx.tasksOfService(sid))
            if (one.status.state === from) tx.update('task', { ...one, status: { ...one.status, state } });
          return waiting(tx);
        });
      await store.update((tx) => {
        for (const state of states) {
          const made = task(own(state), sid);
          tx.create('task', { ...made, status: { ...made.status, state } });
        }
      });
      assert.deepEqual(waiting(store.view()), ['new', 'pending']);
      assert.deepEqual(await move('new', 'pending'), ['pending', 'pending']);
      await move('pending', 'assigned');
      assert.deepEqual(waiting(store.view()), []);
      await move('running', 'new');
      assert.deepEqual(waiting(store.view()), ['new']);
      await store.update((tx) => tx.tasksOfService(sid).forEach(({ id }) => tx.delete('task', id)));
      assert.deepEqual(waiting(store.view()), []);
    });

    check('values are frozen to the bottom and lists too', async () => {
      const id = own('s') as ServiceId;
      await store.update((tx) => tx.create('service', service(id, own('web'))));
      const held = store.view().get('service', id);
      assert(held);
      assert.throws(() => ((held.spec.labels as Record<string, string>)['x'] = 'y'), TypeError);
      assert.throws(() => (store.view().list('service') as unknown[]).push(held), TypeError);
    });

    check('a conflict runs the body again on the newer view', async () => {
      const id = own('s') as ServiceId;
      const label = (tx: Transaction, key: string): void => {
        const known = tx.get('service', id);
        assert(known);
        tx.update('service', {
          ...known,
          spec: { ...known.spec, labels: { ...known.spec.labels, [key]: '' } },
        });
      };
      await store.update((tx) => tx.create('service', service(id, own('web'))));
      let runs = 0;
      await store.update((tx) => {
        runs += 1;
        label(tx, 'mine');
        if (runs <= 3) harness.interfere((other) => label(other, `theirs${runs}`));
      });
      assert.equal(runs, 4);
      assert.deepEqual(Object.keys(store.view().get('service', id)?.spec.labels ?? {}).sort(), [
        'mine',
        'theirs1',
        'theirs2',
        'theirs3',
      ]);
    });

    check('what the body read by id is part of the conflict: no task for a service that went', async () => {
      const id = own('s') as ServiceId;
      await store.update((tx) => tx.create('service', service(id, own('web'))));
      let runs = 0;
      await store.update((tx) => {
        runs += 1;
        if (!tx.get('service', id)) return;
        tx.create('task', task(own('t'), id));
        if (runs === 1) harness.interfere((other) => other.delete('service', id));
      });
      assert.equal(runs, 2);
      assert.deepEqual(store.view().tasksOfService(id), []);
    });

    check('what hangs on there being none of a kind is looked at again when there is one', async () => {
      const [net, id] = [own('net') as NetworkId, own('s') as ServiceId];
      await store.update((tx) => tx.create('network', network(net, own('net'))));
      let runs = 0;
      const removeUnused = (tx: Transaction): string => {
        runs += 1;
        tx.dependOnAll('service');
        if (runs === 1) harness.interfere((other) => other.create('service', service(id, own('web'))));
        if (tx.get('service', id)) return 'in use';
        tx.delete('network', net);
        return 'removed';
      };
      assert.deepEqual([await store.update(removeUnused), runs], ['in use', 2]);
      assert(store.view().get('network', net));

      runs = 0;
      await store.update((tx) => tx.delete('service', id));
      const outcome = await store.update((tx) => {
        runs += 1;
        tx.dependOnAll('service');
        if (runs === 1) harness.interfere((other) => other.create('node', node(own('n'))));
        tx.delete('network', net);
        return 'removed';
      });
      assert.deepEqual([outcome, runs], ['removed', 1], 'other kinds are no matter');
    });

    check('a name taken between body and commit is a refusal', async () => {
      let runs = 0;
      const late = await refusal(
        store.update((tx) => {
          runs += 1;
          tx.create('service', service(own('mine'), own('web')));
          if (runs === 1)
            harness.interfere((other) => other.create('service', service(own('theirs'), own('Web'))));
        }),
      );
      assert.equal(late.kind, 'alreadyExists');
      assert.equal(store.view().byName('service', own('web'))?.id, own('theirs'));
    });

    check('ten conflicts are aborted', async () => {
      const id = own('n') as NodeId;
      await store.update((tx) => tx.create('node', node(id)));
      const touch = (tx: Transaction): void => {
        const known = tx.get('node', id);
        assert(known);
        tx.update('node', known);
      };
      let runs = 0;
      const gaveUp = await refusal(
        store.update((tx) => {
          runs += 1;
          touch(tx);
          harness.interfere(touch);
        }),
      );
      assert.deepEqual([gaveUp.kind, runs], ['aborted', 10]);
    });

    check('an object read before others changed it is not written back', async () => {
      const id = own('n') as NodeId;
      await store.update((tx) => tx.create('node', node(id)));
      const old = store.view().get('node', id);
      assert(old);
      await store.update((tx) => tx.update('node', old));
      const stale = await refusal(store.update((tx) => tx.update('node', old)));
      assert.equal(stale.kind, 'aborted');
    });

    check(
      'listeners hear batches in order, see the view at least as new, and cannot break the store',
      async () => {
        const heard: string[] = [];
        const revisions: number[] = [];
        const stopBad = store.subscribe(() => {
          throw new Error('a listener failed');
        });
        let chained: Promise<unknown> | undefined;
        const stop = store.subscribe((batch) => {
          assert(store.view().revision >= batch.revision);
          heard.push(line(batch));
          revisions.push(batch.revision);
          chained ??= store.update((tx) => tx.create('node', node(own('chained'))));
        });
        const id = own('s1') as ServiceId;
        await store.update((tx) => {
          tx.create('service', service(id, own('web')));
          tx.create('task', task(own('t'), id));
        });
        await chained;
        await store.update((tx) => {
          const known = tx.get('service', id);
          assert(known);
          tx.update('service', known);
          tx.delete('task', own('t'));
        });
        stop();
        stopBad();
        await store.update((tx) => tx.delete('service', id));
        assert.deepEqual(heard, [
          `+service/${id} +task/${own('t')}`,
          `+node/${own('chained')}`,
          `~service/${id} -task/${own('t')}`,
        ]);
        assert.deepEqual(
          revisions,
          [...revisions].sort((a, b) => a - b),
        );
      },
    );

    check('many writers at once lose nothing', async () => {
      const id = own('net');
      await store.update((tx) => tx.create('network', network(id, own('counted'))));
      const bump = (): Promise<void> =>
        store.update((tx) => {
          const known = tx.byName('network', own('counted'));
          assert(known);
          tx.update('network', { ...known, addressCursor: known.addressCursor + 1 });
        });
      await Promise.all(Array.from({ length: 40 }, bump));
      assert.equal(store.view().byName('network', own('counted'))?.addressCursor, 40);
    });

    check('bugs are assertions: too many writes, an id twice, an update of nothing', async () => {
      const many = (count: number) => (tx: Transaction) => {
        for (let i = 0; i < count; i++) tx.create('task', task(`${own('t')}-${i}`, own('s')));
      };
      const { revision } = store.view();
      await assert.rejects(store.update(many(maxWrites + 1)), { name: 'AssertionError' });
      await assert.rejects(
        store.update((tx) => {
          tx.create('node', node(own('n')));
          tx.create('node', node(own('n')));
        }),
        { name: 'AssertionError' },
      );
      const absent = { ...service(s1, 'x'), version: 1, createdAtMs: 0, updatedAtMs: 0 };
      await assert.rejects(
        store.update((tx) => tx.update('service', absent)),
        { name: 'AssertionError' },
      );
      assert.equal(store.view().revision, revision);
      await store.update(many(maxWrites));
      assert.equal(store.view().tasksOfService(own('s') as ServiceId).length, maxWrites);
      assert.equal(store.view().get('task', `${own('t')}-0` as TaskId)?.version, store.view().revision);
    });
  });
}
