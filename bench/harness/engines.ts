/** Which balancer engines this kernel has what it takes for. */
import { existsSync } from 'node:fs';
import { hasIpvs } from '../../src/dataplane/balancer/ipvs.js';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';

/** Where a kernel with BPF has its file system mounted. */
const bpffs = '/sys/fs/bpf';

/** The one that a daemon which is told nothing would choose comes first, see chooseEngine of dataplane/balancer. */
export async function enginesHere(): Promise<readonly EngineName[]> {
  return [
    ...((await hasIpvs(null)) ? (['ipvs'] as const) : []),
    ...(existsSync(bpffs) ? (['ebpf'] as const) : []),
  ];
}
