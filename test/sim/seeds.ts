/** Runs of the simulated cluster, one a seed; a failure says how to have the same again. */
import { World } from './world.js';
import type { WorldOptions } from './world.js';

/** How many make a run of all tests. */
const seedsUsual = 200;

/** One half of the seeds: SKEP_SEED alone, or SKEP_SEEDS many from SKEP_FIRST on. */
export function seedsOf(half: 'even' | 'odd'): readonly number[] {
  const { SKEP_SEED, SKEP_SEEDS = seedsUsual, SKEP_FIRST = 1 } = process.env;
  const seeds =
    SKEP_SEED === undefined
      ? Array.from({ length: Number(SKEP_SEEDS) }, (_, at) => Number(SKEP_FIRST) + at)
      : [Number(SKEP_SEED)];
  return seeds.filter((seed) => seed % 2 === (half === 'even' ? 0 : 1));
}

/** @returns the world at its end @throws what went wrong, with its seed, its step and the last that happened */
export async function runSeed(seed: number, options: WorldOptions = {}): Promise<World> {
  const world = await World.create(seed, options);
  try {
    await world.run();
    return world;
  } catch (cause) {
    const { message } = cause as Error;
    throw new Error(
      `seed ${seed}, step ${world.steps}: ${message}\n(again: SKEP_SEED=${seed} npm run soak:sim)\n${world.lastLines.join('\n')}`,
      { cause },
    );
  }
}
