/** Random faults with the ebpf engine, on this machine's own kernel. */
import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { promisify } from 'node:util';
import { test } from 'vitest';
import { buildGuestProgram } from '../uml/guest-program.js';
import { deadlineMsOf, expectRepaired, faultOptions } from './fault-check.js';
import type { FaultReport } from './faults.js';

const options = faultOptions(300, 110);
const deadlineMs = deadlineMsOf(options);

test(
  'ebpf: random faults are repaired in time, counted, and send no packet to a wrong task',
  async () => {
    await using program = await buildGuestProgram();
    console.log(JSON.stringify(options));
    const running = promisify(execFile)(
      process.execPath,
      ['--enable-source-maps', program.path('test/conformance/fault-run.ts')],
      { env: { ...process.env, ...options, SKEP_ENGINE: 'ebpf' }, timeout: deadlineMs, maxBuffer: 2 ** 26 },
    );
    const pinDirectory = `/sys/fs/bpf/ft${running.child.pid}`;
    try {
      const { stdout } = await running;
      const lines = stdout.trim().split('\n');
      if (options.SKEP_TEST_REPORT) console.log(lines.slice(0, -1).join('\n'));
      expectRepaired(JSON.parse(lines.at(-1) ?? '') as FaultReport, options);
    } finally {
      rmSync(pinDirectory, { recursive: true, force: true });
    }
  },
  deadlineMs + 10_000,
);
