import { describe, expect, test } from 'vitest';
import { planReaping } from '../../../src/controlplane/orchestrator/reaper.js';
import { applyPlanner } from '../../../src/controlplane/plan.js';
import type { Task } from '../../../src/model/objects.js';
import type { RestartPolicy } from '../../../src/model/service-spec.js';
import type { TaskState } from '../../../src/model/task-state.js';
import { cluster, node, service, taskSpec } from '../../support/cluster-objects.js';
import { Stage, drained } from './stage.js';

const nodes = [node('n1'), node('n2')];

async function failing(policy: Partial<RestartPolicy>, historyLimit = 5): Promise<Stage> {
  const restartPolicy = { condition: 'any', maxAttempts: 0, windowNs: 0, ...policy } as const;
  const { spec } = cluster();
  const stage = await Stage.of({
    cluster: [cluster({ spec: { ...spec, taskHistoryRetentionLimit: historyLimit } })],
    node: nodes,
    service: [service('web', { taskTemplate: taskSpec({ restartPolicy }) })],
  });
  await stage.settle();
  return stage;
}

const latest = (stage: Stage): Task => stage.tasks().at(-1)!;

/** Ends the newest task, and waits for the next to start. @returns how long that took, in ms */
async function untilNext(stage: Stage, end: TaskState): Promise<number> {
  // No two tasks are made in one millisecond.
  const before = (stage.time.ms += 1);
  await stage.move(latest(stage), end, 'n1');
  while (latest(stage).desiredState === 'ready') await stage.after(stage.wakeAtMs! - stage.time.ms);
  expect(latest(stage).desiredState).toBe('running');
  return stage.time.ms - before;
}

async function delays(stage: Stage, ends: readonly TaskState[]): Promise<number[]> {
  const taken: number[] = [];
  for (const end of ends) taken.push(await untilNext(stage, end));
  return taken;
}

const times = (count: number, state: TaskState): TaskState[] => Array<TaskState>(count).fill(state);

describe('what ends early again and again', () => {
  test.each<[string, Partial<RestartPolicy>, TaskState, number[]]>([
    [
      'fails, and is to restart at once',
      { delayNs: 0 },
      'failed',
      [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000],
    ],
    [
      'cannot be prepared, by the usual policy',
      {},
      'rejected',
      [...Array<number>(6).fill(5000), 6400, 12_800, 25_600, 51_200, 60_000],
    ],
    ['ends with 0, and is to restart at once', { delayNs: 0 }, 'complete', [100, 200, 400, 800, 1000, 1000]],
    [
      'ends with 0 every two seconds',
      { delayNs: 2e9 },
      'complete',
      [2000, 2000, 2000, 2000, 2000, 2000, 2000],
    ],
    ['is to wait for longer', { delayNs: 90e9 }, 'failed', Array<number>(12).fill(90_000)],
    ['has attempts', { delayNs: 0, maxAttempts: 9 }, 'failed', Array<number>(8).fill(0)],
    [
      'has attempts that are forgotten before they are spent',
      { delayNs: 0, maxAttempts: 1, windowNs: 50e6 },
      'failed',
      [100, 200, 400, 800],
    ],
  ])('%s', async (_, policy, end, expected) => {
    const stage = await failing(policy);
    expect(await delays(stage, times(expected.length, end))).toEqual(expected);
  });

  test('is forgiven after a run that lasted', async () => {
    const stage = await failing({ delayNs: 0 });
    expect(await delays(stage, times(4, 'failed'))).toEqual([100, 200, 400, 800]);
    await stage.move(latest(stage), 'running', 'n1');
    await stage.after(9_998);
    expect(await untilNext(stage, 'failed')).toBe(1600);
    await stage.move(latest(stage), 'running', 'n1');
    await stage.after(10_000);
    expect(await delays(stage, times(2, 'failed'))).toEqual([0, 100]);
  });

  test('is forgiven with a new spec', async () => {
    const stage = await failing({ delayNs: 0 });
    await delays(stage, times(5, 'failed'));
    await stage.update({ labels: { a: 'b' } });
    expect(await delays(stage, times(3, 'failed'))).toEqual([0, 100, 200]);
  });

  test('is remembered with a history of one record', async () => {
    const stage = await failing({ delayNs: 0 }, 1);
    for (const expected of [100, 200, 400, 800]) {
      expect(await untilNext(stage, 'failed')).toBe(expected);
      await applyPlanner(stage.store, planReaping, stage.time.nowMs);
      // The replacement, and until it is placed what it replaces.
      expect(stage.tasks()).toHaveLength(2);
    }
  });

  test('is remembered on another node, where it need not wait', async () => {
    const stage = await failing({ delayNs: 0 });
    await delays(stage, times(3, 'failed'));
    await stage.move(latest(stage), 'running', 'n1');
    await stage.setNode('n1', drained);
    await stage.move(stage.tasks().at(-2), 'shutdown');
    expect(latest(stage)).toMatchObject({ desiredState: 'running', succession: { earlyEnds: 3 } });
    expect(await untilNext(stage, 'failed')).toBe(0); // n1 again, which is drained
  });
});

test('a replacement that cannot be prepared is tried once a delay, not at once', async () => {
  const stage = await failing({ delayNs: 0 });
  await delays(stage, times(6, 'rejected'));
  const before = stage.tasks().length;
  await stage.move(latest(stage), 'failed', 'n1');
  // Prepared while it waits, and rejected before its time.
  await stage.move(latest(stage), 'rejected', 'n2');
  await stage.after(6_399);
  expect(stage.tasks()).toHaveLength(before + 1);
  await stage.after(1);
  expect(stage.picture().slice(-2)).toEqual(['1 shutdown/rejected', '1 ready/new']);
  await stage.move(latest(stage), 'rejected', 'n2');
  await stage.after(12_799);
  expect(stage.tasks()).toHaveLength(before + 2);
});
