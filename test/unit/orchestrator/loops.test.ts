import { expect, test } from 'vitest';
import { runControlLoops } from '../../../src/controlplane/loops.js';
import { ControlplaneCounts } from '../../../src/controlplane/metrics/counts.js';
import { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { Transaction } from '../../../src/controlplane/store/store.js';
import type { ServiceId } from '../../../src/model/ids.js';
import type { controlplaneMetrics } from '../../../src/metrics/controlplane-table.js';
import { SampleBuffer } from '../../../src/metrics/samples.js';
import { createLog } from '../../../src/runtime/log.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { cluster, network, node, seededBytes, service, task } from '../../support/cluster-objects.js';

/** Resolves when `done` holds in the store; the test's own time limit ends a wait in vain. */
const until = (store: MemoryStore, done: () => boolean): Promise<void> =>
  new Promise((resolve) => {
    const stop = store.subscribe(() => {
      if (!done()) return;
      stop();
      resolve();
    });
  });

test('a smaller limit of history takes what is beyond it at once', async () => {
  const store = new MemoryStore();
  await store.update((tx: Transaction) => {
    tx.create('cluster', cluster());
    tx.create('network', network('ingress', { ingress: true }));
    tx.create('node', node('a'));
    const web = service('web', { mode: { kind: 'replicated', replicas: 1 } });
    tx.create('service', web);
    for (let i = 0; i < 5; i++)
      tx.create('task', task(`old${i}`, web, 'failed', { desiredState: 'shutdown', node: 'a' }));
  });
  const stop = new AbortController();
  const log = createLog('test');
  const loops = runControlLoops({ store, clock: systemClock, random: seededBytes(1), log }, stop.signal);
  const tasks = (): number => store.view().tasksOfService('web' as ServiceId).length;
  await until(store, () => tasks() === 5);
  const reaped = until(store, () => tasks() === 2);
  await store.update((tx) =>
    tx.update('cluster', { ...tx.cluster(), spec: { ...tx.cluster().spec, taskHistoryRetentionLimit: 2 } }),
  );
  await reaped;
  stop.abort();
  await loops;
});

test('the loops carry a service from its creation to assigned tasks, and its removal to nothing', async () => {
  const store = new MemoryStore();
  const web = service('web', { mode: { kind: 'replicated', replicas: 3 } });
  await store.update((tx: Transaction) => {
    tx.create('cluster', cluster());
    tx.create('network', network('ingress', { ingress: true }));
    for (const id of ['a', 'b', 'c']) tx.create('node', node(id));
  });
  const stop = new AbortController();
  const log = createLog('test');
  const counts = new ControlplaneCounts();
  const observer = counts.loops;
  const loops = runControlLoops(
    { store, clock: systemClock, random: seededBytes(1), log, observer },
    stop.signal,
  );

  const assigned = until(store, () => {
    const tasks = store.view().tasksOfService('web' as ServiceId);
    return new Set(tasks.map((task) => task.nodeId).filter(Boolean)).size === 3;
  });
  await store.update((tx) => tx.create('service', web));
  await assigned;
  expect(
    store
      .view()
      .list('node')
      .every(({ attachments }) => attachments.length === 1),
  ).toBe(true);

  const gone = until(store, () => store.view().list('task').length === 0);
  await store.update((tx) => {
    tx.delete('service', 'web');
    for (const task of tx.list('task'))
      tx.update('task', { ...task, status: { ...task.status, state: 'complete' } });
  });
  await gone;
  stop.abort();
  await loops;
  const samples = new SampleBuffer<typeof controlplaneMetrics>(Infinity);
  counts.put(samples);
  expect(samples.of('skep_scheduler_decisions_total')).toEqual([
    { suffix: '', labels: { outcome: 'assigned' }, value: 3 },
  ]);
  const passes = samples.of('skep_loop_pass_seconds').filter(({ suffix }) => suffix === '_count');
  expect(passes.map(({ labels }) => labels['loop'])).toContain('scheduler');
  const written = samples
    .of('skep_loop_writes_total')
    .find(({ labels }) => labels['loop'] === 'orchestrator');
  expect(written?.value, 'three tasks, and that they are to end').toBeGreaterThanOrEqual(3);
});
