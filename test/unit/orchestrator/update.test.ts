import { describe, expect, test } from 'vitest';
import { planReaping } from '../../../src/controlplane/orchestrator/reaper.js';
import { applyPlanner } from '../../../src/controlplane/plan.js';
import type { ServiceSpec, UpdateConfig } from '../../../src/model/service-spec.js';
import { defaultUpdateConfig } from '../../../src/model/service-laws.js';
import type { Task } from '../../../src/model/objects.js';
import { node, ports, service, taskSpec } from '../../support/cluster-objects.js';
import { Stage } from './stage.js';

const nodes = [node('n1'), node('n2'), node('n3')];
const image = (name: string): Pick<ServiceSpec, 'taskTemplate'> => ({
  taskTemplate: taskSpec(
    { restartPolicy: { condition: 'any', delayNs: 1e9, maxAttempts: 0, windowNs: 0 } },
    name,
  ),
});

async function running(
  replicas: number,
  config?: Partial<UpdateConfig>,
  rollback?: Partial<UpdateConfig>,
): Promise<Stage> {
  const spec = {
    ...image('a'),
    mode: { kind: 'replicated', replicas },
    ...(config ? { updateConfig: { ...defaultUpdateConfig, ...config } } : {}),
    ...(rollback ? { rollbackConfig: { ...defaultUpdateConfig, ...rollback } } : {}),
  } as const;
  const stage = await Stage.of({ node: nodes, service: [service('web', spec)] });
  await stage.settle();
  await stage.perform();
  await stage.after(100);
  return stage;
}

/** `slot image desired/observed` of what is not history. */
const live = (stage: Stage): string[] =>
  stage
    .tasks()
    .filter((task) => task.desiredState !== 'shutdown' || task.status.state === 'running')
    .map((task) => `${task.slot} ${task.spec.container.image} ${task.desiredState}/${task.status.state}`);
const newTask = (stage: Stage, slot: number, of = 'b'): Task | undefined =>
  stage
    .tasks()
    .find(
      (task) => task.slot === slot && task.spec.container.image === of && task.desiredState !== 'shutdown',
    );
const state = (stage: Stage): string | undefined => stage.service().updateStatus?.state;

describe('stop-first', () => {
  test('one slot at a time also where the clock ticks between any two looks at it, or steps back', async () => {
    for (const tickMs of [1, -1]) {
      const stage = await running(2);
      stage.time.nowMs = () => (stage.time.ms += tickMs);
      await stage.update(image('b'));
      expect(live(stage)).toEqual(['1 a shutdown/running', '1 b ready/new', '2 a running/running']);
    }
  });

  test('one slot at a time, watched for five seconds after the last', async () => {
    const stage = await running(2);
    await stage.update(image('b'));
    expect(stage.service().updateStatus).toEqual({
      state: 'updating',
      startedAtMs: 1100,
      message: 'update in progress',
    });
    expect(live(stage)).toEqual(['1 a shutdown/running', '1 b ready/new', '2 a running/running']);
    await stage.move(stage.tasks()[0], 'shutdown');
    expect(live(stage)).toEqual(['1 b running/new', '2 a running/running']);
    await stage.move(newTask(stage, 1), 'running', 'n1');
    expect(live(stage)).toEqual(['1 b running/running', '2 a shutdown/running', '2 b ready/new']);
    await stage.perform();
    expect(live(stage)).toEqual(['1 b running/running', '2 b running/running']);
    expect(state(stage)).toBe('updating');
    expect(stage.wakeAtMs).toBe(stage.time.ms + 5000);
    await stage.after(5000);
    expect(stage.service().updateStatus).toEqual({
      state: 'completed',
      startedAtMs: 1100,
      completedAtMs: stage.time.ms,
      message: 'update completed',
    });
  });

  test('an old task that will not stop holds its slot up for a minute', async () => {
    const stage = await running(1);
    await stage.update(image('b'));
    await stage.after(59_999);
    expect(live(stage)[1]).toBe('1 b ready/new');
    await stage.after(1);
    expect(live(stage)[1]).toBe('1 b running/new');
  });

  test.each([
    [0, 3],
    [2, 2],
  ])('parallelism %i takes %i slots', async (parallelism, taken) => {
    const stage = await running(3, { parallelism });
    await stage.update(image('b'));
    expect(live(stage).filter((line) => line.includes(' b '))).toHaveLength(taken);
  });

  test('the delay lies between slots', async () => {
    const stage = await running(2, { delayNs: 3e9 });
    await stage.update(image('b'));
    await stage.perform();
    expect(live(stage)).toEqual(['1 b running/running', '2 a running/running']);
    await stage.after(2999);
    expect(live(stage)).toEqual(['1 b running/running', '2 a running/running']);
    await stage.after(1);
    expect(live(stage)).toEqual(['1 b running/running', '2 a shutdown/running', '2 b ready/new']);
  });

  test('a published port is a change of the tasks, a replica count is not', async () => {
    const stage = await running(1);
    await stage.update({ mode: { kind: 'replicated', replicas: 2 } });
    expect(state(stage)).toBeUndefined();
    await stage.update({ endpointSpec: ports([80]) });
    expect(state(stage)).toBe('updating');
  });

  test('another update in the middle goes to the new spec', async () => {
    const stage = await running(2);
    await stage.update(image('b'));
    await stage.update(image('c'));
    for (let i = 0; i < 3; i++) await stage.perform();
    expect(live(stage)).toEqual(['1 c running/running', '2 c running/running']);
    await stage.after(5000);
    expect(state(stage)).toBe('completed');
  });
});

test('a scale while nothing new comes up takes down no further slot', async () => {
  const stage = await running(3);
  await stage.update(image('b'));
  await stage.move(stage.tasks()[0], 'shutdown');
  await stage.update({ mode: { kind: 'replicated', replicas: 4 } });
  expect(live(stage)).toEqual([
    '1 b running/new',
    '2 a running/running',
    '3 a running/running',
    '4 b running/new',
  ]);
  await stage.perform();
  expect(live(stage).slice(0, 2)).toEqual(['1 b running/running', '2 b running/running']);
});

test('start-first: the old task stays until the new one runs', async () => {
  const stage = await running(1, { order: 'start-first' });
  await stage.update(image('b'));
  expect(live(stage)).toEqual(['1 a running/running', '1 b running/new']);
  await stage.move(newTask(stage, 1), 'starting', 'n1');
  expect(live(stage)).toEqual(['1 a running/running', '1 b running/starting']);
  await stage.move(newTask(stage, 1), 'running');
  expect(live(stage)).toEqual(['1 a shutdown/running', '1 b running/running']);
});

describe('failure', () => {
  test('pause: the rest keeps the old spec, the slot is restarted with the new one', async () => {
    const stage = await running(2);
    await stage.update(image('b'));
    await stage.move(stage.tasks()[0], 'shutdown');
    const failing = newTask(stage, 1);
    await stage.move(failing, 'rejected', 'n1');
    expect(stage.service().updateStatus).toMatchObject({
      state: 'paused',
      startedAtMs: 1100,
      message: `update paused due to failure or early termination of task ${failing?.id}`,
    });
    await stage.after(10_000);
    expect(live(stage)).toEqual(['1 b running/new', '2 a running/running']);
    expect(state(stage)).toBe('paused');
  });

  test('within the monitoring time after it ran', async () => {
    const stage = await running(1);
    await stage.update(image('b'));
    await stage.perform();
    await stage.after(4000);
    await stage.move(newTask(stage, 1), 'failed');
    expect(state(stage)).toBe('paused');
  });

  test('a tolerated share', async () => {
    const stage = await running(2, { maxFailureRatio: 0.5, parallelism: 2 });
    await stage.update(image('b'));
    await stage.move(newTask(stage, 1), 'rejected', 'n1');
    expect(state(stage)).toBe('updating');
    await stage.move(newTask(stage, 2), 'rejected', 'n2');
    expect(state(stage)).toBe('paused');
  });

  test('29 of 50 are not more than 0.58 of them', async () => {
    const stage = await running(50, { maxFailureRatio: 0.58, parallelism: 0 });
    await stage.update(image('b'));
    const updated = stage.tasks().filter(({ spec, slot = 0 }) => spec.container.image === 'b' && slot <= 29);
    await stage.store.update((tx) => {
      for (const task of updated)
        tx.update('task', {
          ...task,
          status: { ...task.status, state: 'rejected', appliedAtMs: stage.time.ms },
        });
    });
    await stage.settle();
    expect(state(stage)).toBe('updating');
    await stage.move(newTask(stage, 30), 'rejected', 'n1');
    expect(state(stage)).toBe('paused');
  });

  test('a tolerated failure is counted whatever the history keeps', async () => {
    const stage = await running(2, { maxFailureRatio: 0.5 });
    await stage.store.update((tx) => {
      const { spec, ...rest } = tx.cluster();
      tx.update('cluster', { ...rest, spec: { ...spec, taskHistoryRetentionLimit: 0 } });
    });
    await stage.update(image('b'));
    await stage.move(stage.tasks()[0], 'shutdown');
    await stage.move(newTask(stage, 1), 'failed', 'n1');
    await applyPlanner(stage.store, planReaping, stage.time.nowMs);
    await stage.move(
      stage.tasks().find(({ slot }) => slot === 2),
      'shutdown',
    );
    await stage.move(newTask(stage, 2), 'failed', 'n1');
    expect(state(stage)).toBe('paused');
    await applyPlanner(stage.store, planReaping, stage.time.nowMs);
    // The replacements, and until they are placed what they replace.
    expect(stage.tasks()).toHaveLength(4);
  });

  test('a monitor of 0 is one left out: five seconds', async () => {
    const stage = await running(1, { monitorNs: 0 });
    await stage.update(image('b'));
    await stage.perform();
    await stage.after(4999);
    await stage.move(newTask(stage, 1), 'failed');
    expect(state(stage)).toBe('paused');
  });

  test('continue never looks', async () => {
    const stage = await running(1, { failureAction: 'continue' });
    await stage.update(image('b'));
    await stage.move(newTask(stage, 1), 'rejected', 'n1');
    await stage.after(10_000);
    expect(state(stage)).toBe('completed');
  });

  test('rollback: back to the previous spec, to its version, and done', async () => {
    const stage = await running(2, { failureAction: 'rollback' });
    await stage.update(image('b'));
    await stage.move(stage.tasks()[0], 'shutdown');
    const failing = newTask(stage, 1);
    await stage.move(failing, 'failed', 'n1');
    const { updateStatus, spec, specVersion, previousSpec } = stage.service();
    expect(updateStatus).toMatchObject({
      state: 'rollback_started',
      message: `update rolled back due to failure or early termination of task ${failing?.id}`,
    });
    expect([spec.taskTemplate.container.image, specVersion, previousSpec]).toEqual(['a', 1, undefined]);
    for (let i = 0; i < 3; i++) {
      await stage.perform();
      await stage.after(2000);
    }
    expect(live(stage)).toEqual(['1 a running/running', '2 a running/running']);
    await stage.after(6000);
    expect(stage.service().updateStatus).toMatchObject({
      state: 'rollback_completed',
      message: 'rollback completed',
    });
  });

  test('a rollback that fails pauses', async () => {
    const stage = await running(1, { failureAction: 'rollback' });
    await stage.update(image('b'));
    await stage.move(newTask(stage, 1), 'failed', 'n1');
    const again = newTask(stage, 1, 'a');
    await stage.move(again, 'failed', 'n1');
    expect(stage.service().updateStatus).toMatchObject({
      state: 'rollback_paused',
      message: `update paused due to failure or early termination of task ${again?.id}`,
    });
  });
});
