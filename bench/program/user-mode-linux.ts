/** bench/program in user-mode Linux, from outside. */
import { buildGuestProgram } from '../../test/uml/guest-program.js';
import { runScenario } from '../../test/uml/user-mode-linux.js';
import type { BenchSizes, measure } from './program.js';

/** What {@link measure} finds there with `ipvs`. Rejects as runScenario does. */
export async function measureInUserModeLinux(
  sizes: BenchSizes,
  deadlineMs: number,
): Promise<Awaited<ReturnType<typeof measure>>> {
  await using program = await buildGuestProgram();
  const environment = Object.fromEntries(
    Object.entries(sizes).map(([name, size]) => [`SKEP_BENCH_${name.toUpperCase()}`, String(size)]),
  );
  const reports = await runScenario(program.path('bench/program/guest.ts'), deadlineMs, environment);
  return reports.find((report) => 'found' in report)?.['found'] as Awaited<ReturnType<typeof measure>>;
}
