/** The conformance list on `ebpf`, on this machine's own kernel. */
import { rmSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import type { CheckReport } from './conformance.js';
import { checksOf, runConformance } from './conformance.js';

/** A part of the names of checks; all of them when it is not set. */
const only = process.env['SKEP_ONLY'];
const reports: CheckReport[] = [];
const name = `cf${process.pid}`;
const pinDirectory = `/sys/fs/bpf/${name}`;

beforeAll(async () => {
  try {
    await runConformance(
      { engine: 'ebpf', name, pinDirectory },
      (report) => {
        reports.push(report);
        if (process.env['SKEP_TEST_REPORT']) console.log(JSON.stringify(report));
      },
      only,
    );
  } finally {
    rmSync(pinDirectory, { recursive: true, force: true });
  }
}, 170_000);

describe('ebpf', () => {
  for (const check of checksOf('ebpf', only))
    test(check.name, () => {
      const report = reports.find((one) => one.name === check.name);
      expect(report?.detail, check.name).toBe('');
    });
});
