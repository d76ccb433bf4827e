/**
 * Whole updates, from the first write to the last, against the transcripts in golden/. SKEP_UPDATE=1 writes these anew: read the
 * difference before you keep it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { Transaction } from '../../../src/controlplane/store/store.js';
import type { NodeId, ServiceId } from '../../../src/model/ids.js';
import { defaultUpdateConfig } from '../../../src/model/service-laws.js';
import type {
  RestartPolicy,
  ServiceMode,
  ServiceSpec,
  UpdateConfig,
} from '../../../src/model/service-spec.js';
import { service, taskSpec } from '../../support/cluster-objects.js';
import { play } from './play.js';
import type { Life, Script } from './play.js';

const replicas = (count: number): ServiceMode => ({ kind: 'replicated', replicas: count });

const image = (name: string, restart: Partial<RestartPolicy> = {}): Pick<ServiceSpec, 'taskTemplate'> => ({
  taskTemplate: taskSpec(
    { restartPolicy: { condition: 'any', delayNs: 5e9, maxAttempts: 0, windowNs: 0, ...restart } },
    name,
  ),
});

const web = (
  mode: ServiceMode,
  update: Partial<UpdateConfig> = {},
  rollback: Partial<UpdateConfig> = {},
): Script['service'] =>
  service('web', {
    ...image('a'),
    mode,
    updateConfig: { ...defaultUpdateConfig, ...update },
    rollbackConfig: { ...defaultUpdateConfig, ...rollback },
  });

/** As the API writes an update. */
const update =
  (change: Partial<ServiceSpec>) =>
  (tx: Transaction): void => {
    const current = tx.get('service', 'web' as ServiceId)!;
    const { updateStatus: _, ...kept } = current;
    tx.update('service', {
      ...kept,
      spec: { ...current.spec, ...change },
      specVersion: tx.revision + 1,
      previousSpec: current.spec,
      previousSpecVersion: current.specVersion,
    });
  };

const setAvailability =
  (id: string, availability: 'active' | 'drain') =>
  (tx: Transaction): void => {
    const current = tx.get('node', id as NodeId)!;
    tx.update('node', { ...current, spec: { ...current.spec, availability } });
  };

const toB = [10_000, 'image b', update(image('b'))] as const;
const bad = (life: Life): NonNullable<Script['lives']> => ({ b: () => life });
const dies = bad({ diesAfterMs: 500 });

const scripts: Readonly<Record<string, Script>> = {
  'stop-first': { service: web(replicas(3)), users: [toB] },
  'two at a time with a delay': {
    service: web(replicas(5), { parallelism: 2, delayNs: 3e9 }),
    users: [toB],
  },
  'start-first': { service: web(replicas(2), { order: 'start-first' }), users: [toB] },
  'all at once': { service: web(replicas(3), { parallelism: 0 }), users: [toB] },
  'fails and pauses, is mended': {
    service: web(replicas(2)),
    lives: dies,
    users: [toB, [60_000, 'image c', update(image('c'))]],
  },
  'fails and is rolled back': {
    service: web(replicas(2), { failureAction: 'rollback' }),
    lives: bad({ noSuchImage: true }),
    users: [toB],
  },
  'is rolled back, which fails': {
    service: web(replicas(2), { failureAction: 'rollback' }),
    lives: { ...dies, a: (_, nth) => (nth > 1 ? { diesAfterMs: 200 } : {}) },
    users: [toB],
    untilMs: 40_000,
  },
  'fails within what is tolerated': {
    service: web(replicas(4), { maxFailureRatio: 0.25 }),
    lives: { b: (slot, nth) => (slot === '2' && nth === 1 ? { diesAfterMs: 1_000 } : {}) },
    users: [toB],
  },
  'goes on whatever fails': {
    service: web(replicas(2), { failureAction: 'continue' }),
    lives: bad({ noSuchImage: true }),
    users: [toB],
    untilMs: 120_000,
  },
  'by force, with a label before it': {
    service: web(replicas(2)),
    users: [
      [5_000, 'label', update({ labels: { a: 'b' } })],
      [
        10_000,
        'force',
        update({ labels: { a: 'b' }, taskTemplate: { ...image('a').taskTemplate, forceUpdate: 1 } }),
      ],
    ],
  },
  'on every node': { service: web({ kind: 'global' }), users: [toB] },
  'is overtaken by another': {
    service: web(replicas(3)),
    users: [toB, [11_800, 'image c', update(image('c'))]],
  },
  'is scaled while nothing new comes up': {
    service: web(replicas(2)),
    users: [
      [10_000, 'image b that nobody can run', update({ ...image('b', { condition: 'none' }), ...nowhere() })],
      [20_000, 'three replicas', update({ mode: replicas(3) })],
      [30_000, 'image c', update(image('c'))],
    ],
  },
  'loses a node on its way': {
    service: web(replicas(3)),
    users: [toB, [11_400, 'drain n1', setAvailability('n1', 'drain')]],
  },
  'gives up after two attempts': {
    service: web(replicas(1), { failureAction: 'continue' }),
    lives: dies,
    users: [[10_000, 'image b', update(image('b', { maxAttempts: 2 }))]],
  },
};

function nowhere(): Pick<ServiceSpec, 'taskTemplate'> {
  const placement = { constraints: ['node.labels.x==1'], preferences: [], maxReplicas: 0, platforms: [] };
  return { taskTemplate: { ...image('b').taskTemplate, placement } };
}

test.each(Object.entries(scripts))('an update %s', async (name, script) => {
  const path = new URL(`golden/${name.replaceAll(/\W+/g, '-')}.txt`, import.meta.url);
  const transcript = await play(script);
  if (process.env['SKEP_UPDATE']) writeFileSync(path, transcript);
  expect(transcript).toBe(readFileSync(path, 'utf8'));
  expect(await play({ ...script, leadersChange: true }), 'with another leader before every pass').toBe(
    transcript,
  );
});
