/** What the daemons of a node take while nobody asks them for anything. */
import type { ManagedBy, ManagedLab } from '../../test/support/managed-lab.js';

/** Those that manage, and the engine, which both need. */
const managing: Readonly<Record<ManagedBy, readonly string[]>> = {
  skep: ['skepd', 'skep-dataplane', 'etcd'],
  swarm: [],
};
const engine = ['dockerd', 'containerd'];

/** What is never there on a node without a manager. */
const managersOnly = ['etcd'];

export const daemonsOf = (by: ManagedBy, role: Role): readonly string[] =>
  [...managing[by], ...engine].filter((name) => role === 'manager' || !managersOnly.includes(name));

export type Role = 'manager' | 'worker';

export interface Usage {
  readonly daemon: string;
  readonly residentMiB: number;
  /** Of one core, in percent, over the time of the sample. */
  readonly processorPercent: number;
}

/** USER_HZ of asm-generic/param.h: what /proc/PID/stat counts in, a second. */
const ticksPerS = 100;

/** Processor time and memory of a node's daemons over so many seconds. */
export async function sample(
  lab: ManagedLab,
  node: string,
  daemons: readonly string[],
  seconds: number,
): Promise<readonly Usage[]> {
  // A daemon of ours is a process of Node's, so that its name says nothing: the lab keeps its process's number.
  const pid = '$(cat /run/lab/pid/$d 2>/dev/null || pgrep -o -x $d)';
  const ticks = `for d in ${daemons.join(' ')}; do p=${pid}; echo $d $(sed 's/.*) //' /proc/$p/stat | awk '{ print $12 + $13 }') $(awk '/^VmRSS/ { print $2 }' /proc/$p/status) $(date +%s%N); done`;
  const printed = await lab.sh(node, `${ticks}; sleep ${seconds}; ${ticks}`, (seconds + 60) * 1_000);
  const rows = printed.split('\n').map((row) => {
    const [daemon = '', ...figures] = row.split(' ');
    const [used = NaN, residentKiB = NaN, atNs = NaN] = figures.map(Number);
    return { daemon, used, residentKiB, atNs };
  });
  return rows.slice(0, daemons.length).map((before, at) => {
    const after = rows[daemons.length + at];
    if (after?.daemon !== before.daemon) throw new Error(`not a sample: ${printed}`);
    const spentS = (after.used - before.used) / ticksPerS;
    return {
      daemon: before.daemon,
      residentMiB: after.residentKiB / 1024,
      processorPercent: (100 * spentS) / ((after.atNs - before.atNs) / 1e9),
    };
  });
}
