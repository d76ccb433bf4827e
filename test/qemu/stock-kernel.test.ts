/**
 * Debian 12's stock kernel (6.1) does what this machine's newer one does: its verifier takes the programs, every packet of their
 * tables ends as it does here, and the `ebpf` engine keeps what of the conformance list a kernel has a say in. Two guests at once,
 * since each is busy on one processor most of the time; four to six minutes on two cores.
 */
import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CheckReport } from '../conformance/conformance.js';
import { checksOf } from '../conformance/conformance.js';
import type { GuestProgram } from '../uml/guest-program.js';
import { buildGuestProgram } from '../uml/guest-program.js';
import type { TestReport } from './guest/reporter.js';
import type { GuestReport, GuestRun } from './virtual-machine.js';
import { runInVirtualMachine } from './virtual-machine.js';

/** Eight minutes beside another guest; a busy machine must not fail what is right. */
const deadlineMs = 1_200_000;
const hookTimeoutMs = deadlineMs + 10_000;
/** SKEP_WHOLE=1: also what is the same on all kernels. */
const ofKernel = process.env['SKEP_WHOLE'] !== '1';
const root = resolve(import.meta.dirname, '../..');

let program: GuestProgram;
const runs = new Map<string, Promise<GuestRun>>();

beforeAll(async () => {
  program = await buildGuestProgram();
  runs.set('files', runFiles());
  runs.set('ebpf', runConformance());
  // The files take half as long as the list: what is behind them keeps their processor busy.
  runs.set('mixed', ended('files').then(runMixed, runMixed));
  for (const run of runs.values()) run.catch(() => undefined); // whoever awaits it learns it
}, 60_000);
afterAll(async () => {
  await Promise.allSettled(runs.values());
  await program[Symbol.asyncDispose]();
}, hookTimeoutMs);

/** As they come: a run that takes too long shows what it has spent its time on. */
const show = (report: GuestReport): void => {
  if (process.env['SKEP_TEST_REPORT']) console.log(JSON.stringify(report));
};

async function ended(name: string): Promise<GuestRun> {
  const run = await runs.get(name);
  if (!run) throw new Error(`no guest ${name}`);
  if (process.env['SKEP_TEST_REPORT']) console.log(name, `${run.bootS} s to boot, ${run.totalS} s in all`);
  return run;
}

// --- Test files of the project `kernel`, as they are --------------------------------------------------------------
const files = readdirSync(resolve(root, 'test/kernel'))
  .filter((name) => /^(netlink|bpf-(mesh|vip|scheduling))\.test\.ts$/.test(name))
  .map((name) => `test/kernel/${name}`);

const runFiles = (): Promise<GuestRun> =>
  runInVirtualMachine(
    [
      'node node_modules/vitest/vitest.mjs run --project kernel --no-file-parallelism',
      '--reporter ./test/qemu/guest/reporter.ts',
      ...files,
    ].join(' '),
    deadlineMs,
    show,
  );

describe('files', () => {
  let run: GuestRun;
  beforeAll(async () => {
    run = await ended('files');
  }, hookTimeoutMs);

  test.each(files)('%s', (file) => {
    const reports = (run.reports as unknown as readonly TestReport[]).filter(
      (report) => report.file === file,
    );
    expect(reports.filter(({ state }) => state !== 'passed')).toEqual([]);
    expect(reports, `no test ran:\n${run.console}`).not.toEqual([]);
  });

  test('vitest itself has nothing to say', () => {
    expect(run.exitCode, run.console).toBe(0);
  });
});

// --- The conformance list -----------------------------------------------------------------------------------------
const runConformance = (): Promise<GuestRun> =>
  runInVirtualMachine(
    `SKEP_MODULES=/ SKEP_ENGINE=ebpf SKEP_FLOWS=300 SKEP_SLOWNESS=10 SKEP_OF_KERNEL=${Number(ofKernel)} ` +
      `node --enable-source-maps ${program.path('test/conformance/guest.ts')} >$SKEP_GUEST_REPORTS`,
    deadlineMs,
    show,
  );

describe('ebpf', () => {
  let reports: readonly CheckReport[];
  beforeAll(async () => {
    reports = (await ended('ebpf')).reports as unknown as readonly CheckReport[];
  }, hookTimeoutMs);

  for (const { name } of checksOf('ebpf', '', ofKernel))
    test(name, () => {
      expect(reports.find((report) => report.name === name)?.detail).toBe('');
    });
});

// --- One cluster of nodes with either engine ----------------------------------------------------------------------
/** What callers see, and what a kernel must equal: not what lies in an engine's tables. `mh` hashes differently in the two. */
const ofBoth =
  '^(a TCP connection stays with|one client port through every node at once is as many UDP|a connection to a VIP stays)';

const runMixed = (): Promise<GuestRun> =>
  runInVirtualMachine(
    `SKEP_MODULES=/ SKEP_ENGINE=ebpf SKEP_EXCEPTIONS=2=ipvs SKEP_SLOWNESS=10 SKEP_ONLY='${ofBoth}' ` +
      `node --enable-source-maps ${program.path('test/conformance/guest.ts')} >$SKEP_GUEST_REPORTS`,
    deadlineMs,
    show,
  );

describe('ebpf, and ipvs on node 2', () => {
  let reports: readonly CheckReport[];
  beforeAll(async () => {
    reports = (await ended('mixed')).reports as unknown as readonly CheckReport[];
  }, hookTimeoutMs);

  for (const { name } of checksOf('ebpf', ofBoth))
    test(name, () => {
      expect(reports.find((report) => report.name === name)?.detail).toBe('');
    });
});
