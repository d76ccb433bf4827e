/**
 * A bench on Debian's stock kernel. All of it runs in one guest, its labs too, which are namespaces of that kernel as they are of
 * this machine's: a guest for each node would have as many kernels share two processors, each emulated one by one.
 * The guest runs this bench as `npm run bench` does and hands over its lines and what it found; the report is made here.
 */
import { appendFileSync } from 'node:fs';
import { runInVirtualMachine } from '../../test/qemu/virtual-machine.js';
import type { Findings, Run } from './bench.js';

/** Three labs with their disks, which are in memory there; the guest takes of this machine what it touches. */
const memoryMiB = 8192;
const variable = 'SKEP_BENCH_IN_GUEST';

/** Whether this process is the one in the guest. */
export const isInGuest = process.env[variable] !== undefined;

/** @throws Error with all that the guest said when it ends without findings */
export async function measureInGuest(
  { name, kernel, rounds, progress }: Pick<Run, 'name' | 'kernel' | 'rounds' | 'progress'>,
  deadlineMs: number,
): Promise<Findings> {
  // The report is made here, and so is its file.
  const given = Object.entries(process.env).filter(
    ([key]) => key.startsWith('SKEP_BENCH_') && key !== 'SKEP_BENCH_JSON',
  );
  const environment = {
    ...Object.fromEntries(given),
    SKEP_BENCH_KERNELS: kernel,
    SKEP_BENCH_ROUNDS: String(rounds),
    [variable]: '1',
  };
  const words = Object.entries(environment).map(([key, value]) => `${key}=${value}`);
  let findings: Findings | undefined;
  const { exitCode, bootS, console } = await runInVirtualMachine(
    `${words.join(' ')} node node_modules/vitest/vitest.mjs run --project bench bench/${name}/${name}.bench.ts`,
    deadlineMs,
    (report) => {
      if (typeof report['progress'] === 'string') progress(report['progress']);
      if (report['findings'] !== undefined) findings = report['findings'] as Findings;
    },
    memoryMiB,
  );
  if (exitCode !== 0 || !findings) throw new Error(`the guest ended with ${exitCode}: ${console}`);
  progress(`the guest was up after ${bootS} s`);
  return findings;
}

/** A line from the guest to whoever waits. */
export const sayToHost = (line: string): void => report({ progress: line });

/** What was found, from the guest to where the report is made. */
export const handOver = (findings: Findings): void => report({ findings });

function report(value: object): void {
  const path = process.env['SKEP_GUEST_REPORTS'];
  if (path === undefined) throw new Error('a guest says where its reports go');
  appendFileSync(path, `${JSON.stringify(value)}\n`);
}
