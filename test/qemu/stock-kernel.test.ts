/**
 * Debian 12's stock kernel (6.1) does what this machine's newer one does: files of other projects, run there as they are, all
 * in one guest.
 */
import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { TestReport } from './guest/reporter.js';
import type { GuestRun } from './virtual-machine.js';
import { runInVirtualMachine } from './virtual-machine.js';

const root = resolve(import.meta.dirname, '../..');
const files = readdirSync(resolve(root, 'test/kernel'))
  .filter((name) => /^(netlink|dataplane-.*|bpf-.*)\.test\.ts$/.test(name))
  .map((name) => `test/kernel/${name}`);

const deadlineMs = 140_000;
let run: GuestRun;
let reports: readonly TestReport[];

beforeAll(async () => {
  const vitest = 'node node_modules/vitest/vitest.mjs run --project kernel --no-file-parallelism';
  run = await runInVirtualMachine(
    `${vitest} --reporter ./test/qemu/guest/reporter.ts ${files.join(' ')}`,
    deadlineMs,
  );
  reports = run.reports as unknown as TestReport[];
  if (process.env['SKEP_TEST_REPORT']) console.log(run.bootS, run.totalS, run.console);
}, deadlineMs + 10_000);

describe('on the stock kernel', () => {
  test.each(files)('%s', (file) => {
    const found = reports.filter((report) => report.file === file);
    const failed = found.filter(({ state }) => state !== 'passed');
    expect(failed).toEqual([]);
    expect(found, `no test ran:\n${run.console}`).not.toEqual([]);
  });

  test('vitest itself is content', () => {
    expect({ exitCode: run.exitCode, console: run.exitCode === 0 ? '' : run.console }).toEqual({
      exitCode: 0,
      console: '',
    });
  });
});
