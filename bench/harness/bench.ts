/**
 * One bench, run by `npm run bench -- NAME`: measures, prints its tables, keeps them in bench/RESULTS.md with a plot, and fails
 * where a bar is missed. SKEP_BENCH_KERNELS chooses of its kernels, SKEP_BENCH_ROUNDS the rounds, SKEP_BENCH_JSON a file for all values.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import type { Kernel } from '../../src/lab/kernels.js';
import { isMissed, judge } from './bars.js';
import type { Bar } from './bars.js';
import { enginesHere } from './engines.js';
import { handOver, isInGuest, measureInGuest, sayToHost } from './guest.js';
import { commitWords, machineWords } from './machine.js';
import { textOf } from './report.js';
import type { Report } from './report.js';
import { sectionOf, withSection } from './results-file.js';
import type { Provenance } from './results-file.js';
import type { Series } from './series.js';

/** Fewer say nothing: their run is printed, not kept. */
const roundsLeast = 5;
/** What is left of a run's time for the end of its guest. */
const guestEndMs = 30_000;
const directory = join(import.meta.dirname, '..');

export interface Run {
  /** The bench's. */
  readonly name: string;
  /** Below the nodes. With `qemu` the bench itself is in a guest, and the nodes are on the guest's own kernel. */
  readonly kernel: Kernel;
  /** Which balancer engines that kernel can have, the one that it suggests first. */
  readonly engines: readonly EngineName[];
  readonly rounds: number;
  /** A line for who waits. */
  readonly progress: (line: string) => void;
}

export interface Findings {
  readonly series: readonly Series[];
  readonly bars: readonly Bar[];
}

export interface BenchDefinition {
  /** Where it runs, unless SKEP_BENCH_KERNELS says less. */
  readonly kernels: readonly Kernel[];
  /** Of one kernel's run. */
  readonly timeoutMs: number;
  readonly measure: (run: Run) => Promise<Findings>;
}

/** Declares a bench: a test for each kernel. */
export function bench(name: string, { kernels, timeoutMs, measure }: BenchDefinition): void {
  const chosen = process.env['SKEP_BENCH_KERNELS']?.split(',');
  const rounds = Number(process.env['SKEP_BENCH_ROUNDS'] ?? roundsLeast);
  for (const kernel of kernels.filter((one) => chosen?.includes(one) ?? true))
    test(`${name} on ${kernel}`, { timeout: timeoutMs }, async () => {
      const begunMs = performance.now();
      const measureHere = async (progress: Run['progress']): Promise<Findings> =>
        measure({ name, kernel, engines: await enginesOn(kernel), rounds, progress });
      if (isInGuest) {
        handOver(await measureHere(sayToHost));
        return;
      }
      const progress = (line: string): void =>
        console.log(
          `${((performance.now() - begunMs) / 1000).toFixed(0).padStart(5)} s  ${name}, ${kernel}: ${line}`,
        );
      const { series, bars } = await (kernel === 'qemu'
        ? measureInGuest({ name, kernel, rounds, progress }, timeoutMs - guestEndMs)
        : measureHere(progress));
      const report = { series, verdicts: judge(bars, series) };
      console.log(`\n${name}, ${kernel}\n${textOf(report)}\n`);
      const provenance = {
        ...{ commit: await commitWords(), machine: machineWords(kernel), rounds },
        date: new Date().toISOString().slice(0, 10),
      };
      if (rounds < roundsLeast) progress(`fewer than ${roundsLeast} rounds: not kept`);
      else await keep(`${name}, ${kernel}`, `${name}-${kernel}`, provenance, report);
      writeJson(name, kernel, provenance, report);
      expect(report.verdicts.filter(isMissed)).toEqual([]);
    });
}

/** User-mode Linux has BPF, whose verifier refuses the programs: it takes no access that is not aligned. */
const enginesOn = async (kernel: Kernel): Promise<Run['engines']> =>
  kernel === 'uml' ? ['ipvs'] : enginesHere();

async function keep(title: string, file: string, provenance: Provenance, report: Report): Promise<void> {
  // Not before they are needed, for a guest never needs them and takes half a minute to read them.
  const { format, resolveConfig } = await import('prettier');
  const { plotOf } = await import('./plot.js');
  const plot = `plots/${file}.svg`;
  mkdirSync(join(directory, 'plots'), { recursive: true });
  writeFileSync(join(directory, plot), plotOf(title, report.series));
  const path = join(directory, 'RESULTS.md');
  const before = existsSync(path) ? readFileSync(path, 'utf8') : '';
  const after = withSection(before, sectionOf(title, provenance, report, plot));
  writeFileSync(path, await format(after, { ...(await resolveConfig(path)), parser: 'markdown' }));
}

/** All runs of one process, by kernel. */
const runs: Record<string, unknown>[] = [];
function writeJson(name: string, kernel: Kernel, provenance: Provenance, report: Report): void {
  const path = process.env['SKEP_BENCH_JSON'];
  if (path === undefined) return;
  runs.push({ bench: name, kernel, ...provenance, ...report });
  writeFileSync(path, `${JSON.stringify(runs, null, 2)}\n`);
}
