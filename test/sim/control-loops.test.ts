/**
 * The control loops under faults. `SKEP_SEED=7 npx vitest run --project sim` repeats one run; a failure names its seed.
 */
import { expect, test } from 'vitest';
import { World } from './world.js';

const seeds = process.env['SKEP_SEED']
  ? [Number(process.env['SKEP_SEED'])]
  : Array.from({ length: 6 }, (_, i) => i + 1);
const steps = 800;

test.each(seeds)('seed %i: the laws hold at every step, and the cluster comes to rest', async (seed) => {
  const world = await World.create(seed);
  let step = 0;
  try {
    for (; step < steps; step++) await world.step();
    await world.settle();
    world.checkConverged();
  } catch (cause) {
    throw new Error(`seed ${seed}, step ${step}: ${(cause as Error).message}`, { cause });
  }
  expect(step).toBe(steps);
});
