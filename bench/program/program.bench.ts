/** What does programming a node's network cost, from nothing and for one change? */
import { rmSync } from 'node:fs';
import { ensureBpffs } from '../../src/dataplane/ebpf/bpf.js';
import type { Kernel } from '../../src/lab/kernels.js';
import { openEngineOf } from '../../test/conformance/engines.js';
import { buildGuestProgram } from '../../test/uml/guest-program.js';
import { runScenario } from '../../test/uml/user-mode-linux.js';
import { bench } from '../harness/bench.js';
import type { Run } from '../harness/bench.js';
import type { BenchSizes } from './program.js';
import { measure, sizesOf } from './program.js';
import type { ProgramRound } from './rounds.js';
import { findingsOf } from './rounds.js';

/** Processes of tools are alike, so that a part of them tells what all would take. Emulated, all takes some fifteen times as long. */
const sizesBy: Readonly<Record<Kernel, BenchSizes>> = {
  host: { services: 1_000, among: 5_000, changes: 60, share: 0.2 },
  uml: { services: 1_000, among: 1_000, changes: 40, share: 0.005 },
  qemu: { services: 200, among: 200, changes: 20, share: 0.005 },
};
const guestRoundMs = 900_000;

bench('program', {
  kernels: ['host', 'uml', 'qemu'],
  timeoutMs: 3 * 3_600_000,
  async measure(run) {
    const sizes = sizesOf(sizesBy[run.kernel], process.env);
    const rounds = await (run.kernel === 'uml' ? inGuest(run, sizes) : onHost(run, sizes));
    return findingsOf(rounds, run.kernel === 'host' ? 'processor time' : 'time');
  },
});

async function onHost({ engines, rounds, progress }: Run, sizes: BenchSizes): Promise<ProgramRound[]> {
  const found: ProgramRound[] = [];
  const name = `p${process.pid % 1000}`;
  const pins = `/sys/fs/bpf/${name}`;
  ensureBpffs(pins);
  for (let round = 0; round < rounds; round += 1)
    for (const engine of engines) {
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

async function inGuest({ rounds, progress }: Run, sizes: BenchSizes): Promise<ProgramRound[]> {
  await using program = await buildGuestProgram();
  const environment = {
    ...Object.fromEntries(
      Object.entries(sizes).map(([name, size]) => [`SKEP_BENCH_${name.toUpperCase()}`, String(size)]),
    ),
    SKEP_BENCH_ROUNDS: String(rounds),
  };
  progress(`${rounds} rounds in one guest`);
  const path = program.path('bench/program/guest.ts');
  const reports = await runScenario(path, rounds * guestRoundMs, environment);
  return reports.flatMap(({ round }) => (round ? [round as ProgramRound] : []));
}
