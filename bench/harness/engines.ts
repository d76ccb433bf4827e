/** Which balancer engines this kernel has what it takes for. */
import { suitsEbpf, tryEbpf } from '../../src/dataplane/balancer/ebpf-capability.js';
import { hasIpvs } from '../../src/dataplane/balancer/ipvs.js';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';

/** The one that a daemon which is told nothing would choose comes first, see chooseEngine of dataplane/balancer. */
export async function enginesHere(): Promise<readonly EngineName[]> {
  const ipvs: readonly EngineName[] = (await hasIpvs(null)) ? ['ipvs'] : [];
  const found = await tryEbpf();
  if (found.bpf.result !== 'ok' || found.clsact.result !== 'ok') return ipvs;
  return suitsEbpf(found) ? ['ebpf', ...ipvs] : [...ipvs, 'ebpf'];
}
