import { describe, expect, test } from 'vitest';
import type { RestartPolicy } from '../../../src/model/service-spec.js';
import { node, service, taskSpec } from '../../support/cluster-objects.js';
import { Stage, down } from './stage.js';

const nodes = [node('n1'), node('n2')];

async function running(policy?: Partial<RestartPolicy>): Promise<Stage> {
  const restartPolicy = { condition: 'any', maxAttempts: 0, windowNs: 0, ...policy } as const;
  const spec = { taskTemplate: taskSpec(policy ? { restartPolicy } : {}) };
  const stage = await Stage.of({ node: nodes, service: [service('web', spec)] });
  await stage.settle();
  await stage.perform();
  return stage;
}

describe('the restart supervisor', () => {
  test('a failed task: the replacement is prepared at once and starts after five seconds', async () => {
    const stage = await running();
    await stage.move(stage.tasks()[0], 'failed');
    expect(stage.picture()).toEqual(['1 shutdown/failed', '1 ready/new']);
    expect(stage.wakeAtMs).toBe(stage.time.ms + 5000);
    await stage.after(4999);
    expect(stage.picture()[1]).toBe('1 ready/new');
    await stage.after(1);
    expect(stage.picture()[1]).toBe('1 running/new');
  });

  test('a delay is not waited for by a clock that is an hour behind the one that wrote it', async () => {
    const stage = await running();
    stage.time.ms += 3_600_000;
    await stage.move(stage.tasks()[0], 'failed');
    expect(stage.picture()[1]).toBe('1 ready/new');
    stage.time.ms -= 3_600_000;
    await stage.settle();
    expect(stage.picture()[1]).toBe('1 running/new');
  });

  test.each<[string, Partial<RestartPolicy>, 'failed' | 'complete', string[]]>([
    ['none', { condition: 'none' }, 'failed', ['1 shutdown/failed']],
    ['on-failure, complete', { condition: 'on-failure' }, 'complete', ['1 shutdown/complete']],
    ['on-failure, failed', { condition: 'on-failure' }, 'failed', ['1 shutdown/failed', '1 ready/new']],
    ['any, complete', { condition: 'any' }, 'complete', ['1 shutdown/complete', '1 ready/new']],
    ['any, no delay', { condition: 'any', delayNs: 0 }, 'failed', ['1 shutdown/failed', '1 running/new']],
  ])('condition %s', async (_, policy, end, expected) => {
    const stage = await running(policy);
    await stage.after(10_000);
    await stage.move(stage.tasks()[0], end);
    expect(stage.picture()).toEqual(expected);
  });

  test('two attempts are three runs, after which the slot stays occupied by its last task', async () => {
    const stage = await running({ maxAttempts: 2, delayNs: 0 });
    for (let run = 0; run < 3; run++) {
      await stage.move(stage.tasks().at(-1), 'failed');
      await stage.after(10);
    }
    expect(stage.picture()).toEqual(['1 shutdown/failed', '1 shutdown/failed', '1 shutdown/failed']);
  });

  test('attempts are counted within the window', async () => {
    const stage = await running({ maxAttempts: 1, delayNs: 0, windowNs: 10e9 });
    await stage.move(stage.tasks().at(-1), 'failed');
    await stage.after(10_001);
    await stage.move(stage.tasks().at(-1), 'failed');
    expect(stage.tasks()).toHaveLength(3);
    await stage.after(9000);
    await stage.move(stage.tasks().at(-1), 'failed');
    expect(stage.tasks()).toHaveLength(3);
  });

  test('a new spec gives a slot that gave up another life', async () => {
    const stage = await running({ condition: 'none' });
    await stage.move(stage.tasks()[0], 'failed');
    await stage.update({ taskTemplate: taskSpec({}, 'image:2') });
    expect(stage.picture()).toEqual(['1 shutdown/failed', '1 running/new']);
  });

  test('a lost node: restarted at once, without waiting for a task nobody can ask', async () => {
    const stage = await running({ delayNs: 2e9 });
    await stage.setNode('n1', down);
    expect(stage.picture()).toEqual(['1 shutdown/running', '1 running/new']);
  });

  test('a replacement that fails while it waits is replaced when its wait is over', async () => {
    const stage = await running({ delayNs: 2e9 });
    await stage.move(stage.tasks()[0], 'failed');
    await stage.move(stage.tasks()[1], 'rejected', 'n1');
    expect(stage.picture()).toEqual(['1 shutdown/failed', '1 ready/rejected']);
    await stage.after(2000);
    expect(stage.picture()).toEqual(['1 shutdown/failed', '1 shutdown/rejected', '1 ready/new']);
  });
});
