/**
 * bench/program in user-mode Linux, for `ipvs`: `npm run bench:program:uml`. System calls and processes cost many times as much there,
 * and processor time is counted in ticks of 10 ms: what counts are the ratios by the clock.
 */
import { expect, test } from 'vitest';
import { sizesOf } from './program.js';
import { measureInUserModeLinux } from './user-mode-linux.js';

/** The tools' processes are alike, so that a few hundred of them tell what all would take. */
const sizes = sizesOf({ services: 1_000, among: 1_000, rounds: 40, share: 0.005 }, process.env);

test('what programming costs', { timeout: 620_000 }, async () => {
  const found = await measureInUserModeLinux(sizes, 600_000);
  console.log(JSON.stringify({ kernel: 'user-mode Linux', engine: 'ipvs', ...found }, null, 2));
  expect(found.nothing.timesFaster).toBeGreaterThan(20);
  // Seconds say nothing here: the same look takes four of them once, and seven the next time.
  expect(found.nothing.verifyMs).toBeLessThan(found.nothing.ms);
  expect(found.change.ratio).toBeLessThan(1.5);
});
