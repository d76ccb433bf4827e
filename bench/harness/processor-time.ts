/** What the daemons of a lab's nodes take of their processors, by the count of each one's control group (its children's with it). */
import type { ManagedLab } from '../../test/support/managed-lab.js';

/** Microseconds since each daemon's group was made, all nodes together; `skepd` has the etcd that it started. */
export type ProcessorTimes = ReadonlyMap<string, number>;

/** The lab's own group on a node, where version 2 lies beside version 1 or alone; see scripts/lab-node-init.sh. */
const groups = '/sys/fs/cgroup/unified/lab/* /sys/fs/cgroup/lab/*';
/** Serves the lab, not its user. */
const notMeasured = ['agent'];

export async function processorTimes(lab: ManagedLab): Promise<ProcessorTimes> {
  const script = `for g in ${groups}; do [ ! -e $g/cpu.stat ] || echo $(basename $g) $(sed -n 's/^usage_usec //p' $g/cpu.stat); done`;
  const sums = new Map<string, number>();
  for (const printed of await Promise.all(lab.nodes.map((node) => lab.sh(node, script))))
    for (const row of printed.split('\n')) {
      const [daemon = '', us = ''] = row.split(' ');
      if (us === '' || notMeasured.includes(daemon)) continue;
      sums.set(daemon, (sums.get(daemon) ?? 0) + Number(us));
    }
  return sums;
}

/** Milliseconds that each daemon took from one to the other. */
export const spentMs = (before: ProcessorTimes, after: ProcessorTimes): ReadonlyMap<string, number> =>
  new Map([...after].map(([daemon, us]) => [daemon, (us - (before.get(daemon) ?? 0)) / 1_000]));
