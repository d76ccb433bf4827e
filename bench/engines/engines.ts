/**
 * The question: what does balancing cost against the same hops without it? All contenders of this kernel take turns in every
 * round, each round in another order, so that what else the machine does falls on all of them; each ratio is of one round,
 * and the median of rounds is reported.
 */
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import type { ContenderName, Path } from './contender.js';
import { Contender, paths } from './contender.js';
import type { LoadName, Result } from './load.js';
import { loads as allLoads, run, serve } from './load.js';
import type { ProgramCost } from './program-cost.js';
import { countPrograms } from './program-cost.js';
import { median } from '../../test/support/median.js';
import { columns } from '../columns.js';

export interface BenchOptions {
  /** Of which the kernel has what they need. */
  readonly engines: readonly Exclude<ContenderName, 'limit'>[];
  readonly loads?: readonly LoadName[];
  readonly rounds: number;
  /** Of one load. */
  readonly seconds: number;
  /** Begins the names of namespaces and pins; unique on this kernel, at most 5 characters. */
  readonly name: string;
  readonly onRound?: (round: number) => void;
}

/** Medians of one load on one path. */
export interface Row {
  readonly path: Path;
  readonly load: LoadName;
  readonly contender: ContenderName;
  readonly perS: number;
  readonly kernelUsPerPacket: number;
  /** To the path limit of the same round; of what it did in a second, and of what a packet cost. */
  readonly ratio: number;
  readonly costRatio: number;
  /** Smallest and largest ratio of all rounds. */
  readonly ratios: readonly [number, number];
  /** To `ipvs` in the same round; null where there is none. */
  readonly ratioToIpvs: number | null;
}

/** What was found. */
export interface Report {
  readonly rows: readonly Row[];
  /** Of `ebpf`, for requests on kept connections; empty without it. */
  readonly programs: readonly (ProgramCost & { readonly path: Path })[];
}

/** Runs all of it; bounded by (rounds × contenders × 6 + 2) × seconds and some ten seconds to set up. */
export async function measure({
  engines,
  loads = allLoads,
  rounds,
  seconds,
  name,
  onRound,
}: BenchOptions): Promise<Report> {
  await using undo = new CleanupStack();
  const contenders: Contender[] = [];
  for (const contender of ['limit', ...engines] as const) {
    const made = undo.use(
      await Contender.create(contender, `${name}${contender.slice(0, 1)}`, `/sys/fs/bpf/${name}`),
    );
    undo.use(await serve(made));
    contenders.push(made);
  }
  const programs: (ProgramCost & { path: Path })[] = [];
  const found: { path: Path; load: LoadName; results: Map<ContenderName, Result[]> }[] = [];
  for (const path of paths) {
    for (const contender of contenders) await contender.choose(path);
    for (const load of loads) found.push({ path, load, results: new Map() });
    for (let round = 0; round < rounds; round += 1) {
      for (const { load, results } of found.filter((one) => one.path === path))
        for (let turn = 0; turn < contenders.length; turn += 1) {
          const contender = contenders[(turn + round) % contenders.length];
          if (!contender) continue;
          const result = await run(contender, path, load, seconds);
          results.set(contender.name, [...(results.get(contender.name) ?? []), result]);
        }
      onRound?.(round);
    }
    const ebpf = contenders.find((contender) => contender.name === 'ebpf');
    if (ebpf) {
      const costs = await countPrograms(ebpf, () => run(ebpf, path, 'kept', seconds));
      programs.push(...costs.map((cost) => ({ ...cost, path })));
    }
  }
  const rows = found.flatMap(({ path, load, results }) =>
    contenders.map((contender) => rowOf(path, load, contender.name, results)),
  );
  return { rows, programs };
}

function rowOf(
  path: Path,
  load: LoadName,
  contender: ContenderName,
  results: ReadonlyMap<ContenderName, readonly Result[]>,
): Row {
  const own = results.get(contender) ?? [];
  const against = (other: ContenderName, value: (result: Result) => number): number[] => {
    const others = results.get(other) ?? [];
    return own.flatMap((result, round) => {
      const base = others[round];
      return base === undefined ? [] : [value(result) / value(base)];
    });
  };
  const rates = against('limit', ({ perS }) => perS);
  const toIpvs = against('ipvs', ({ perS }) => perS);
  return {
    path,
    load,
    contender,
    perS: median(own.map(({ perS }) => perS)),
    kernelUsPerPacket: median(own.map(({ kernelUsPerPacket }) => kernelUsPerPacket)),
    ratio: median(rates),
    costRatio: median(against('limit', ({ kernelUsPerPacket }) => kernelUsPerPacket)),
    ratios: [Math.min(...rates), Math.max(...rates)],
    ratioToIpvs: toIpvs.length > 0 ? median(toIpvs) : null,
  };
}

/** The rows as a table for people. */
export function tableOf(rows: readonly Row[]): string {
  const unit: Readonly<Record<LoadName, string>> = {
    connections: 'new connections/s',
    kept: 'requests/s, kept',
    bulk: 'MB/s, bulk',
  };
  const cells = [
    [
      'path',
      'load',
      'contender',
      'a second',
      'of limit',
      'rounds',
      'of ipvs',
      'kernel µs/packet',
      'of limit',
    ],
    ...rows.map((row) => [
      row.path,
      unit[row.load],
      row.contender,
      (row.load === 'bulk' ? row.perS / 1e6 : row.perS).toFixed(0),
      row.ratio.toFixed(2),
      row.ratios.map((ratio) => ratio.toFixed(2)).join('-'),
      row.ratioToIpvs?.toFixed(2) ?? '',
      row.kernelUsPerPacket.toFixed(2),
      row.costRatio.toFixed(2),
    ]),
  ];
  return columns(cells);
}

/** What the programs themselves took, those that ran more than by accident. */
export const programTableOf = (programs: Report['programs']): string =>
  columns([
    ['path', 'node', 'program', 'runs', 'ns/run'],
    ...programs
      .filter(({ runs }) => runs >= 1_000)
      .map(({ path, node, program, runs, nsPerRun }) => [
        path,
        String(node),
        program,
        String(runs),
        nsPerRun.toFixed(0),
      ]),
  ]);
