/** Half of the seeds: files run beside each other. See seeds.ts for how to choose them. */
import { test } from 'vitest';
import { runSeed, seedsOf } from './seeds.js';

test.each(seedsOf('even'))(
  'seed %i: the laws hold at every step, and the cluster comes to rest',
  async (seed) => {
    await runSeed(seed);
  },
);
