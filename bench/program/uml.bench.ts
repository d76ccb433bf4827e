/**
 * bench/program in user-mode Linux, for `ipvs`: `npm run bench:program:uml`. System calls are slow there and so are processes:
 * what counts are the ratios. The single change is among as many services as such a guest makes in a minute.
 */
import { expect, test } from 'vitest';
import { buildGuestProgram } from '../../test/uml/guest-program.js';
import { runScenario } from '../../test/uml/user-mode-linux.js';
import type { measure } from './program.js';

test('what programming costs', { timeout: 620_000 }, async () => {
  await using program = await buildGuestProgram();
  const sizes = Object.entries(process.env).filter(([name]) => name.startsWith('SKEP_BENCH_'));
  const reports = await runScenario(program.path('bench/program/guest.ts'), 600_000, {
    ...(Object.fromEntries(sizes) as Record<string, string>),
  });
  const found = reports.find((report) => 'found' in report)?.['found'] as Awaited<ReturnType<typeof measure>>;
  console.log(JSON.stringify({ kernel: 'user-mode Linux', engine: 'ipvs', ...found }, null, 2));
  expect(found.nothing.timesFaster).toBeGreaterThan(20);
  expect(found.nothing.verifyMs).toBeLessThan(2_000);
  expect(found.change.processorRatio).toBeLessThan(1.5);
});
