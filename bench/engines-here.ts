/** Which balancer engines this kernel has what it takes for. */
import { statfs } from 'node:fs/promises';
import { hasIpvs } from '../src/dataplane/balancer/ipvs.js';
import type { EngineName } from '../src/dataplane/plan/balancing.js';

/** BPF_FS_MAGIC of linux/magic.h. */
const bpfFilesystem = 0xcafe4a11;

/** `ebpf` where a bpffs is mounted (a host's bench sees to that), `ipvs` where there is IPVS. */
export async function enginesHere(): Promise<readonly EngineName[]> {
  const { type } = await statfs('/sys/fs/bpf').catch(() => ({ type: 0 }));
  return [
    ...(type === bpfFilesystem ? (['ebpf'] as const) : []),
    ...((await hasIpvs(null)) ? (['ipvs'] as const) : []),
  ];
}
