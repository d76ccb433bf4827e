/** What must hold of a run of random faults, whatever engine. */
import { expect } from 'vitest';
import type { FaultReport } from './faults.js';

/** Another run each time; SKEP_SEED repeats one, SKEP_FAULTS makes it longer. */
export function faultOptions(faults: number, gapMs: number) {
  return {
    SKEP_SEED: process.env['SKEP_SEED'] ?? String(Date.now() % 1_000_000),
    SKEP_FAULTS: process.env['SKEP_FAULTS'] ?? String(faults),
    SKEP_GAP_MS: process.env['SKEP_GAP_MS'] ?? String(gapMs),
    ...(process.env['SKEP_TEST_REPORT'] ? { SKEP_TEST_REPORT: process.env['SKEP_TEST_REPORT'] } : {}),
  };
}

/** Of a guest, beyond which its limits would say nothing. */
const slownessMax = 8;

/** Setting up and clearing away included. */
export const deadlineMsOf = ({ SKEP_FAULTS, SKEP_GAP_MS }: ReturnType<typeof faultOptions>): number =>
  120_000 + 3 * Number(SKEP_FAULTS) * Number(SKEP_GAP_MS);

/** @param options what the run was asked for */
export function expectRepaired(report: FaultReport, options: ReturnType<typeof faultOptions>): void {
  console.log(JSON.stringify(report, undefined, 1));
  const context = `SKEP_SEED=${options.SKEP_SEED}, looks came up to ${report.looksLateMs} ms late`;
  const faults = Number(options.SKEP_FAULTS);
  expect(report.wrong, context).toEqual([]);
  expect(report.late, context).toEqual([]);
  expect(report.differences, context).toEqual([]);
  expect(report.strangersChanged, context).toEqual([]);
  const count = Object.values(report.kinds).reduce((sum, of) => sum + of.count, 0);
  expect(count, context).toBe(faults);
  expect(report.slowness, context).toBeLessThanOrEqual(slownessMax);
  expect(report.daemonsKilled, context).toBeGreaterThan(0);
  expect(report.slowestRestartMs, context).toBeLessThanOrEqual(5_000 * report.slowness);
  expect(report.driftRepairs, context).toBeGreaterThanOrEqual(report.countable);
  // Most is whole most of the time: enough was asked to tell.
  expect(report.answered, context).toBeGreaterThan(faults);
}
