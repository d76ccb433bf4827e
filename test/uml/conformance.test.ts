/**
 * What concerns IPVS: the conformance list of balancer engines on `ipvs`, in user-mode Linux, which has it whatever kernel this
 * machine runs. One guest, a minute or two.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { buildGuestProgram } from './guest-program.js';
import { runScenario } from './user-mode-linux.js';
import type { CheckReport } from '../conformance/conformance.js';
import { checksOf } from '../conformance/conformance.js';

/** A part of the names of checks, without blanks; all of them when it is not set. */
const only = process.env['SKEP_ONLY'];
/** Flows of the checks that count them, when they are to be more than usual. */
const flows = process.env['SKEP_FLOWS'];
let reports: readonly CheckReport[] = [];

beforeAll(async () => {
  await using program = await buildGuestProgram();
  reports = (await runScenario(program.path('test/conformance/guest.ts'), 840_000, {
    ...(only && { SKEP_ONLY: only }),
    ...(flows && { SKEP_FLOWS: flows }),
  })) as unknown as CheckReport[];
  if (process.env['SKEP_TEST_REPORT']) for (const report of reports) console.log(JSON.stringify(report));
}, 850_000);

describe('ipvs', () => {
  for (const { name } of checksOf('ipvs', only))
    test(name, () => {
      const report = reports.find((one) => one.name === name);
      expect(report?.detail, name).toBe('');
    });
});
