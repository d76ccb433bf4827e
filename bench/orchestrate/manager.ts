/** A manager that leads, as far as tasks are concerned: a real etcd, the real store and control loops, and simulated nodes. */
import assert from 'node:assert';
import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { readFile } from 'node:fs/promises';
import { pino } from 'pino';
import { EtcdClient } from '../../src/controlplane/etcd/client.js';
import { runControlLoops } from '../../src/controlplane/loops.js';
import { EtcdStore } from '../../src/controlplane/store/etcd.js';
import { Sealer, newDataKey } from '../../src/controlplane/store/seal.js';
import type { Store } from '../../src/controlplane/store/store.js';
import type { NodeId } from '../../src/model/ids.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { systemClock } from '../../src/runtime/clock.js';
import { cluster, network, node } from '../../test/support/cluster-objects.js';
import { startEtcd } from '../etcd.js';
import { runAgents } from './agents.js';

export interface Manager extends AsyncDisposable {
  readonly store: Store;
  /** User and system time of etcd so far. */
  etcdSeconds(): Promise<number>;
}

const parts = { clock: systemClock, log: pino({ enabled: false }) };

/** Leads over a store that is empty so far, with so many nodes. */
async function lead(store: Store, nodes: number): Promise<AsyncDisposable> {
  const ids = Array.from({ length: nodes }, (_, i) => `node${String(i).padStart(3, '0')}` as NodeId);
  await store.update((tx) => {
    tx.create('cluster', cluster());
    tx.create('network', network('ingress', { ingress: true }));
    for (const id of ids) tx.create('node', node(id, { nanoCpus: 1e12, memoryBytes: 2 ** 42 }));
  });
  const over = new AbortController();
  // Each node's stream and reporter waits for it.
  setMaxListeners(0, over.signal);
  const running = Promise.all([
    runControlLoops({ ...parts, store, random: (size) => randomBytes(size) }, over.signal),
    runAgents({ ...parts, store }, ids, over.signal),
  ]);
  // Rejects in the end; until then nothing moves any more, and it should be known why.
  running.catch((err: unknown) => console.error(err));
  return {
    async [Symbol.asyncDispose]() {
      over.abort(new Error('over'));
      await running;
    },
  };
}

export interface ManagerOptions {
  readonly nodes: number;
  /** For etcd; made, and removed in the end. */
  readonly directory: string;
  readonly peerPort: number;
}

export async function startManager({ nodes, directory, peerPort }: ManagerOptions): Promise<Manager> {
  const { log } = parts;
  await using undo = new CleanupStack();
  const { etcd } = await startEtcd({ directory, peerPort, log }, undo);
  const client = new EtcdClient(etcd.address);
  undo.defer(() => client.close());
  const store = await EtcdStore.open({ client, sealer: new Sealer(newDataKey()), log });
  undo.defer(() => store.close());
  undo.use(await lead(store, nodes));
  const resources = undo.move();
  return {
    store,
    async etcdSeconds() {
      assert(etcd.pid !== undefined);
      const stat = await readFile(`/proc/${etcd.pid}/stat`, 'utf8');
      // Behind the name in parentheses: utime and stime are the 12th and 13th field from there.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
    },
    [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
  };
}

/** Of /proc/PID/stat: on every architecture that Node runs on. */
const ticksPerSecond = 100;
