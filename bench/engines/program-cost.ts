/** What the programs of the `ebpf` engine themselves take, by the kernel's own count (kernel.bpf_stats_enabled, which costs some 20 ns a run). */
import { readFile, writeFile } from 'node:fs/promises';
import type { Contender } from './contender.js';

export interface ProgramCost {
  readonly program: string;
  readonly node: number;
  readonly runs: number;
  readonly nsPerRun: number;
}

const switchPath = '/proc/sys/kernel/bpf_stats_enabled';

/** Counts while `work` runs. The switch is the whole kernel's; it is put back as it was. */
export async function countPrograms(
  contender: Contender,
  work: () => Promise<unknown>,
): Promise<ProgramCost[]> {
  const was = await readFile(switchPath, 'utf8');
  await writeFile(switchPath, '1');
  try {
    const before = await counts(contender);
    await work();
    const after = await counts(contender);
    return after.flatMap(({ program, node, runs, ns }, index) => {
      const past = before[index] ?? { runs: 0, ns: 0 };
      const ran = runs - past.runs;
      return ran > 0 ? [{ program, node, runs: ran, nsPerRun: (ns - past.ns) / ran }] : [];
    });
  } finally {
    await writeFile(switchPath, was);
  }
}

interface Count {
  readonly program: string;
  readonly node: number;
  readonly runs: number;
  readonly ns: number;
}

/** Of the programs as this process loaded and attached them. */
async function counts({ cluster }: Contender): Promise<Count[]> {
  const found: Count[] = [];
  for (const node of cluster.nodes)
    for (const [program, { fd }] of await cluster.kernel(node).engine.programs()) {
      const info = await readFile(`/proc/self/fdinfo/${fd}`, 'utf8');
      const value = (name: string): number =>
        Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(info)?.[1] ?? 0);
      found.push({ program, node, runs: value('run_cnt'), ns: value('run_time_ns') });
    }
  return found;
}
