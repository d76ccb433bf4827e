/** What does programming a node's network cost, from nothing and for one change? */
import { rmSync } from 'node:fs';
import { ensureBpffs } from '../../src/dataplane/ebpf/bpf.js';
import { openEngineOf } from '../../test/conformance/engines.js';
import { runInVirtualMachine } from '../../test/qemu/virtual-machine.js';
import { buildGuestProgram } from '../../test/uml/guest-program.js';
import { runScenario } from '../../test/uml/user-mode-linux.js';
import { bench } from '../harness/bench.js';
import type { Run } from '../harness/bench.js';
import { enginesHere } from '../engines-here.js';
import type { BenchSizes } from './program.js';
import { measure, sizesOf } from './program.js';
import type { ProgramRound } from './rounds.js';
import { findingsOf } from './rounds.js';

/** Processes of tools are alike, so that a part of them tells what all would take. */
const hostSizes = { services: 1_000, among: 5_000, changes: 60, share: 0.2 };
const guestSizes = { services: 1_000, among: 1_000, changes: 40, share: 0.005 };
const guestRoundMs = 900_000;

bench('program', {
  kernels: ['host', 'uml', 'qemu'],
  timeoutMs: 3 * 3_600_000,
  async measure(run) {
    const sizes = sizesOf(run.kernel === 'host' ? hostSizes : guestSizes, process.env);
    const rounds = await (run.kernel === 'host' ? onHost(run, sizes) : inGuest(run, sizes));
    return findingsOf(rounds, run.kernel === 'host' ? 'processor time' : 'time');
  },
});

async function onHost({ rounds, progress }: Run, sizes: BenchSizes): Promise<ProgramRound[]> {
  const found: ProgramRound[] = [];
  const name = `p${process.pid % 1000}`;
  const pins = `/sys/fs/bpf/${name}`;
  ensureBpffs(pins);
  for (let round = 0; round < rounds; round += 1)
    for (const engine of await enginesHere()) {
      progress(`round ${round + 1} of ${rounds}: ${engine}`);
      try {
        const openEngine = (node: string): ReturnType<typeof openEngineOf> =>
          openEngineOf(engine, `${pins}/${node}`);
        found.push({ engine, ...(await measure({ name, openEngine }, sizes)) });
      } finally {
        rmSync(pins, { recursive: true, force: true });
      }
    }
  return found;
}

async function inGuest({ kernel, rounds, progress }: Run, sizes: BenchSizes): Promise<ProgramRound[]> {
  await using program = await buildGuestProgram();
  const path = program.path('bench/program/guest.ts');
  const environment = {
    ...Object.fromEntries(
      Object.entries(sizes).map(([name, size]) => [`SKEP_BENCH_${name.toUpperCase()}`, String(size)]),
    ),
    SKEP_BENCH_ROUNDS: String(rounds),
  };
  const deadlineMs = rounds * guestRoundMs;
  progress(`${rounds} rounds in one guest`);
  if (kernel === 'uml') return roundsIn(await runScenario(path, deadlineMs, environment));
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  const { reports, exitCode, console } = await runInVirtualMachine(
    `SKEP_MODULES=/ ${variables.join(' ')} node --enable-source-maps ${path} >$SKEP_GUEST_REPORTS`,
    deadlineMs,
  );
  if (exitCode !== 0) throw new Error(`the guest ended with ${exitCode}: ${console}`);
  return roundsIn(reports);
}

const roundsIn = (reports: readonly Readonly<Record<string, unknown>>[]): ProgramRound[] =>
  reports.flatMap(({ round }) => (round ? [round as ProgramRound] : []));
