import { describe, expect, test } from 'vitest';
import { planReaping } from '../../../src/controlplane/orchestrator/reaper.js';
import { writePlan } from '../../../src/controlplane/plan.js';
import type { Task } from '../../../src/model/objects.js';
import type { RestartPolicy } from '../../../src/model/service-spec.js';
import { node, service, taskSpec } from '../../support/cluster-objects.js';
import { Stage, active, down, drained, paused } from './stage.js';

const policy = (over: Partial<RestartPolicy>) =>
  taskSpec({ restartPolicy: { condition: 'any', delayNs: 5e9, maxAttempts: 0, windowNs: 0, ...over } });
const once = policy({ condition: 'none' });

const replicated = (maxConcurrent: number, totalCompletions: number) =>
  ({ kind: 'replicated-job', maxConcurrent, totalCompletions }) as const;

async function replicatedJob(
  maxConcurrent: number,
  totalCompletions: number,
  taskTemplate = taskSpec(),
): Promise<Stage> {
  const mode = replicated(maxConcurrent, totalCompletions);
  const stage = await Stage.of({
    node: [node('n1'), node('n2')],
    service: [service('web', { mode, taskTemplate })],
  });
  await stage.settle();
  return stage;
}

async function globalJob(taskTemplate = taskSpec()): Promise<Stage> {
  const stage = await Stage.of({
    node: [node('n1'), node('n2')],
    service: [service('web', { mode: { kind: 'global-job' }, taskTemplate })],
  });
  await stage.settle();
  return stage;
}

/** Nothing that ends early waits for longer than that. */
const backOffMsMax = 60_000;
const onOne = (): string => 'n1';
/** A moment later, all that is to run does. */
async function run(stage: Stage): Promise<void> {
  await stage.after(1);
  await stage.perform(onOne);
}
/** Those of the present run, as a picture. */
const ofRun = (stage: Stage): string[] =>
  stage.picture().filter((_, at) => stage.tasks()[at]?.jobIteration === stage.service().jobStatus?.iteration);

async function reap(stage: Stage): Promise<void> {
  await stage.store.update((tx) => writePlan(tx, planReaping(tx, stage.time.ms).writes));
  await stage.settle();
}

describe('a replicated job', () => {
  test('runs as many at a time as it may, in slots from 0, until all have completed', async () => {
    const stage = await replicatedJob(2, 5);
    expect(stage.picture()).toEqual(['0 complete/new', '1 complete/new']);
    expect(stage.tasks().map(({ jobIteration }) => jobIteration)).toEqual([0, 0]);
    await run(stage);
    await stage.move(stage.tasks()[1], 'complete');
    expect(stage.picture()).toEqual(['0 complete/running', '1 complete/complete', '2 complete/new']);
    for (let round = 0; round < 4; round++) {
      await run(stage);
      await stage.finish();
    }
    expect(stage.picture()).toEqual([0, 1, 2, 3, 4].map((slot) => `${slot} complete/complete`));
    await stage.after(3600_000);
    expect(stage.tasks()).toHaveLength(5);
  });

  test.each([
    ['nothing at a time', 0, 5, 0],
    ['nothing to complete', 3, 0, 0],
    ['more at a time than there are', 9, 2, 2],
  ])('%s', async (_, maxConcurrent, total, tasks) => {
    expect((await replicatedJob(maxConcurrent, total)).tasks()).toHaveLength(tasks);
  });

  test('more tasks than a transaction holds', async () => {
    expect((await replicatedJob(450, 1000)).tasks()).toHaveLength(450);
  });

  test.each(['any', 'on-failure'] as const)(
    'what fails is restarted in its slot after the delay under %s',
    async (condition) => {
      const stage = await replicatedJob(1, 2, policy({ condition }));
      await run(stage);
      await stage.move(stage.tasks()[0], 'failed');
      expect(stage.picture()).toEqual(['0 shutdown/failed', '0 ready/new']);
      await stage.after(5000);
      expect(stage.picture()).toEqual(['0 shutdown/failed', '0 complete/new']);
      await run(stage);
      await stage.finish();
      expect(stage.picture()).toEqual(['0 shutdown/failed', '0 complete/complete', '1 complete/new']);
    },
  );

  test('a slot that may not be restarted has given up; the others are still run, and no other in its place', async () => {
    const stage = await replicatedJob(1, 2, once);
    await run(stage);
    await stage.move(stage.tasks()[0], 'failed');
    expect(stage.picture()).toEqual(['0 shutdown/failed', '1 complete/new']);
    await run(stage);
    await stage.finish();
    await stage.after(3600_000);
    expect(stage.picture()).toEqual(['0 shutdown/failed', '1 complete/complete']);
  });

  test('attempts are counted within a run', async () => {
    const stage = await replicatedJob(1, 1, policy({ maxAttempts: 1, delayNs: 0 }));
    for (let iteration = 0; iteration < 2; iteration++) {
      for (let attempt = 0; attempt < 2; attempt++) {
        await run(stage);
        await stage.move(stage.tasks().at(-1), 'failed');
      }
      expect(ofRun(stage)).toEqual(['0 shutdown/failed', '0 shutdown/failed']);
      if (iteration === 0) await stage.update({ labels: { a: 'b' } });
    }
  });

  test.each<[string, string, (stage: Stage) => Promise<void>]>([
    ['is down', 'complete', (stage) => stage.setNode('n1', down)],
    // It is still to stop there.
    ['is drained', 'ready', (stage) => stage.setNode('n1', drained)],
    [
      'is gone',
      'complete',
      async (stage) => {
        await stage.store.update((tx) => tx.delete('node', 'n1'));
        await stage.settle();
      },
    ],
  ])('a task whose node %s is replaced, one that has completed there is not', async (_, goal, lose) => {
    const stage = await replicatedJob(2, 2);
    await run(stage);
    await stage.move(stage.tasks()[0], 'complete');
    await lose(stage);
    expect(stage.picture()).toEqual(['0 complete/complete', '1 shutdown/running', `1 ${goal}/new`]);
  });

  test('what completes on a node that was given up counts, and ends its replacement', async () => {
    const stage = await replicatedJob(1, 2);
    await run(stage);
    await stage.setNode('n1', down);
    await stage.after(5000);
    await stage.move(stage.tasks()[1], 'running', 'n2');
    await stage.setNode('n1', active);
    await stage.move(stage.tasks()[0], 'complete');
    expect(stage.picture()).toEqual(['0 shutdown/complete', '0 shutdown/running', '1 complete/new']);
  });

  test('an update runs it anew: what ran is removed, and counts until it has stopped', async () => {
    const stage = await replicatedJob(2, 3);
    await run(stage);
    await stage.move(stage.tasks()[0], 'complete');
    await run(stage);
    await stage.update({ mode: replicated(1, 3) });
    expect(stage.picture()).toEqual(['0 complete/complete', '1 remove/running', '2 remove/running']);
    await stage.move(stage.tasks()[1], 'shutdown');
    expect(ofRun(stage)).toEqual([]);
    await stage.move(stage.tasks()[2], 'shutdown');
    expect(ofRun(stage)).toEqual(['0 complete/new']);
  });

  test('an update does not wait for what nobody will hear of again', async () => {
    const stage = await replicatedJob(1, 1);
    await run(stage);
    await stage.setNode('n1', down);
    await stage.update({});
    expect(ofRun(stage)).toEqual(['0 complete/new']);
  });

  test('what failed as the next run began is not restarted', async () => {
    const stage = await replicatedJob(1, 1);
    await run(stage);
    await stage.store.update((tx) => {
      const [task] = stage.tasks() as [Task];
      tx.update('task', { ...task, status: { ...task.status, state: 'failed' } });
      const { jobStatus: _, ...rest } = stage.service();
      tx.update('service', { ...rest, jobStatus: { iteration: 1, lastExecutionMs: 0 } });
    });
    await stage.settle();
    expect(stage.picture()).toEqual(['0 shutdown/failed', '0 complete/new']);
  });
});

describe('a global job', () => {
  test('completes once on every node', async () => {
    const stage = await globalJob();
    expect(stage.picture()).toEqual(['n1 complete/new', 'n2 complete/new']);
    await run(stage);
    await stage.finish();
    await stage.after(3600_000);
    expect(stage.picture()).toEqual(['n1 complete/complete', 'n2 complete/complete']);
  });

  test('a node that joins later, or comes to meet the constraints, runs it too', async () => {
    const onRack = { constraints: ['node.labels.rack==a'], preferences: [], maxReplicas: 0, platforms: [] };
    const stage = await globalJob(taskSpec({ placement: onRack }));
    expect(stage.picture()).toEqual([]);
    await stage.setNode('n2', (each) => ({ ...each, spec: { ...each.spec, labels: { rack: 'a' } } }));
    expect(stage.picture()).toEqual(['n2 complete/new']);
    await stage.store.update((tx) => tx.create('node', node('n3', { labels: { rack: 'a' } })));
    await stage.settle();
    expect(stage.picture()).toEqual(['n2 complete/new', 'n3 complete/new']);
  });

  test('on a node that is down or drained it ends, and is tried anew when that is back', async () => {
    const stage = await globalJob(policy({ delayNs: 0 }));
    await run(stage);
    await stage.setNode('n1', drained);
    await stage.setNode('n2', down);
    expect(stage.picture()).toEqual(['n1 shutdown/running', 'n2 shutdown/running']);
    await stage.move(stage.tasks()[0], 'shutdown');
    await stage.setNode('n1', active);
    expect(stage.picture()).toEqual(['n1 shutdown/shutdown', 'n1 complete/new', 'n2 shutdown/running']);
  });

  test('what has completed stays so whatever becomes of the node', async () => {
    const stage = await globalJob();
    await run(stage);
    await stage.finish();
    const before = stage.picture();
    for (const change of [
      drained,
      active,
      down,
      (each: ReturnType<typeof node>) => ({ ...each, status: { ...each.status, state: 'ready' as const } }),
    ]) {
      await stage.setNode('n1', change);
      expect(stage.picture()).toEqual(before);
    }
    await stage.store.update((tx) => tx.delete('node', 'n1'));
    await stage.settle();
    expect(stage.picture()).toEqual(['n2 complete/complete']);
  });

  test.each([
    ['paused', paused],
    [
      'unknown',
      (each: ReturnType<typeof node>) => ({ ...each, status: { ...each.status, state: 'unknown' as const } }),
    ],
  ])('a node that is %s begins nothing, and goes on with what it has', async (_, change) => {
    const stage = await globalJob();
    await run(stage);
    await stage.setNode('n1', change);
    expect(stage.picture()).toEqual(['n1 complete/running', 'n2 complete/running']);
    await stage.update({});
    await stage.move(stage.tasks()[0], 'shutdown');
    expect(ofRun(stage)).toEqual(['n2 ready/new']);
  });

  test('failures are restarted on their node, or given up', async () => {
    for (const [spec, after] of [
      [taskSpec(), ['n1 shutdown/failed', 'n1 ready/new', 'n2 complete/running']],
      [once, ['n1 shutdown/failed', 'n2 complete/running']],
    ] as const) {
      const stage = await globalJob(spec);
      await run(stage);
      await stage.move(stage.tasks()[0], 'failed');
      expect(stage.picture()).toEqual(after);
    }
  });

  test('an update makes all its tasks at once; each starts when the earlier run has stopped on its node', async () => {
    const stage = await globalJob();
    await run(stage);
    await stage.move(stage.tasks()[1], 'complete');
    await stage.update({});
    expect(ofRun(stage)).toEqual(['n1 ready/new', 'n2 complete/new']);
    await stage.move(stage.tasks()[0], 'shutdown');
    expect(ofRun(stage)).toEqual(['n1 complete/new', 'n2 complete/new']);
  });
});

describe('history of jobs', () => {
  test('completions of the present run stay, its failures and earlier runs as the history is long', async () => {
    const stage = await replicatedJob(2, 2, policy({ delayNs: 0 }));
    for (let failure = 0; failure < 8; failure++) {
      await stage.after(backOffMsMax);
      await run(stage);
      await stage.move(
        stage.tasks().find(({ slot, status }) => slot === 0 && status.state === 'running'),
        'failed',
      );
    }
    await stage.after(backOffMsMax);
    await run(stage);
    await stage.finish();
    await reap(stage);
    expect(ofRun(stage)).toEqual([
      ...Array<string>(4).fill('0 shutdown/failed'),
      '0 complete/complete',
      '1 complete/complete',
    ]);
    for (let iteration = 0; iteration < 7; iteration++) {
      await stage.update({});
      await run(stage);
      await stage.finish();
      await reap(stage);
    }
    const runs = (slot: number) =>
      stage
        .tasks()
        .filter((task) => task.slot === slot)
        .map(({ jobIteration }) => jobIteration);
    expect([runs(0), runs(1)]).toEqual([
      [3, 4, 5, 6, 7],
      [3, 4, 5, 6, 7],
    ]);
  });

  test('slots that are no more leave no history', async () => {
    const stage = await replicatedJob(3, 3);
    await run(stage);
    await stage.finish();
    await stage.update({ mode: replicated(1, 1) });
    await reap(stage);
    expect(stage.picture()).toEqual(['0 complete/complete', '0 complete/new']);
  });
});
