/** The other half of the seeds. See seeds.ts for how to choose them. */
import { test } from 'vitest';
import { runSeed, seedsOf } from './seeds.js';

test.each(seedsOf('odd'))(
  'seed %i: the laws hold at every step, and the cluster comes to rest',
  async (seed) => {
    await runSeed(seed);
  },
);
