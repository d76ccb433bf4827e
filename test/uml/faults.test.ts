/** Random faults with the ipvs engine, in user-mode Linux: of one node, as a guest has one processor. */
import { expect, test } from 'vitest';
import { deadlineMsOf, expectRepaired, faultOptions } from '../conformance/fault-check.js';
import type { FaultReport } from '../conformance/faults.js';
import { buildGuestProgram } from './guest-program.js';
import { runScenario } from './user-mode-linux.js';

const options = faultOptions(60, 1_000);
const deadlineMs = deadlineMsOf(options);

test(
  'ipvs: random faults are repaired in time, counted, and send no packet to a wrong task',
  async () => {
    await using program = await buildGuestProgram();
    const scenario = program.path('test/conformance/fault-run.ts');
    const reports = await runScenario(scenario, deadlineMs, {
      ...options,
      SKEP_ENGINE: 'ipvs',
      SKEP_MODULES: '/tmp/modules',
    });
    if (options.SKEP_TEST_REPORT) console.log(reports.map(({ say }) => say).join('\n'));
    const report = reports.find(({ seed }) => seed !== undefined) as unknown as FaultReport | undefined;
    expect(report).toBeDefined();
    if (report) expectRepaired(report, options);
  },
  deadlineMs + 10_000,
);
