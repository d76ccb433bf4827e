/**
 * bench/engines on Debian's stock kernel, the one that has both engines: `npm run bench:engines:qemu`. The guest's processor is
 * emulated: only ratios say anything, above all that to `ipvs`.
 */
import { expect, test } from 'vitest';
import { buildGuestProgram } from '../../test/uml/guest-program.js';
import { runInVirtualMachine } from '../../test/qemu/virtual-machine.js';
import type { Row } from './engines.js';
import { tableOf } from './engines.js';

const deadlineMs = 900_000;

test('what balancing costs', { timeout: deadlineMs + 10_000 }, async () => {
  await using program = await buildGuestProgram();
  const rounds = process.env['SKEP_BENCH_ROUNDS'] ?? '5';
  const seconds = process.env['SKEP_BENCH_SECONDS'] ?? '2';
  const {
    reports,
    exitCode,
    console: text,
  } = await runInVirtualMachine(
    `SKEP_MODULES=/ SKEP_BENCH_ROUNDS=${rounds} SKEP_BENCH_SECONDS=${seconds} ` +
      `node --enable-source-maps ${program.path('bench/engines/guest.ts')} >$SKEP_GUEST_REPORTS`,
    deadlineMs,
  );
  expect(exitCode, text).toBe(0);
  const rows = reports as unknown as readonly Row[];
  console.log(`Debian's stock kernel in QEMU\n${tableOf(rows)}`);
  console.log(JSON.stringify(rows));
  expect(rows.filter(({ contender }) => contender === 'ebpf')).not.toEqual([]);
  expect(rows.filter(({ contender }) => contender === 'ipvs')).not.toEqual([]);
});
