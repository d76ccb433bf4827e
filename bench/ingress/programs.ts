/** What the programs of the `ebpf` engine themselves take, by the kernel's own count (kernel.bpf_stats_enabled, which costs some 20 ns a run). */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { ManagedLab } from '../../test/support/managed-lab.js';
import type { Run } from '../harness/bench.js';
import type { Measurements } from '../harness/series.js';
import { askKept } from '../harness/web-loads.js';
import type { WebWay } from '../harness/web-loads.js';

/** The kernel's own; nodes that share it cannot write it. */
const switchPath = '/proc/sys/kernel/bpf_stats_enabled';

/** Adds the time in programs on all nodes for each request of a load of its own; nothing where no programs balance. */
export async function measurePrograms(
  found: Measurements,
  { kernel }: Run,
  lab: ManagedLab,
  { case: of, contender, ...way }: WebWay,
): Promise<void> {
  if (lab.by !== 'skep' || kernel === 'uml' || !existsSync(switchPath)) return;
  const was = readFileSync(switchPath, 'utf8');
  writeFileSync(switchPath, '1');
  try {
    const before = await spentNs(lab);
    if (before === undefined) return;
    const requests = await askKept(kernel, way);
    const ns = ((await spentNs(lab)) ?? NaN) - before;
    const measure = 'time in programs, kept connections';
    found.add({ case: of, contender, measure, unit: 'ns/request' }, ns / requests);
  } finally {
    writeFileSync(switchPath, was);
  }
}

/** Of the programs that the nodes' daemons have loaded and attached; undefined: there are none. */
async function spentNs(lab: ManagedLab): Promise<number | undefined> {
  const files = '/proc/$(cat /run/lab/pid/skep-dataplane)/fdinfo/*';
  // Others of its descriptors come and go meanwhile.
  const script = `cat ${files} 2>/dev/null | sed -n 's/^run_time_ns:[[:space:]]*//p'`;
  const printed = await Promise.all(lab.nodes.map((node) => lab.sh(node, script)));
  const values = printed.flatMap((text) => text.split('\n').filter((line) => line !== ''));
  return values.length === 0 ? undefined : values.reduce((sum, value) => sum + Number(value), 0);
}
