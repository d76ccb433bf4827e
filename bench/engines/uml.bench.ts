/** bench/engines in user-mode Linux, for `ipvs`: `npm run bench:engines:uml`. System calls are slow there: only ratios say anything. */
import { expect, test } from 'vitest';
import { buildGuestProgram } from '../../test/uml/guest-program.js';
import { runScenario } from '../../test/uml/user-mode-linux.js';
import type { Row } from './engines.js';
import { tableOf } from './engines.js';

test('what balancing costs', { timeout: 320_000 }, async () => {
  await using program = await buildGuestProgram();
  const reports = await runScenario(program.path('bench/engines/guest.ts'), 300_000);
  const rows = reports.filter((report) => 'contender' in report) as unknown as Row[];
  console.log(`user-mode Linux\n${tableOf(rows)}`);
  console.log(JSON.stringify(rows));
  expect(rows).not.toEqual([]);
});
