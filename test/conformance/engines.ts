/** Either balancer engine of one node, as its daemon would open it. */
import type { BalancerEngine } from '../../src/dataplane/balancer/engine.js';
import { ipvsEngine } from '../../src/dataplane/balancer/ipvs.js';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';

/** @param pinDirectory where the node keeps its maps */
export function openEngineOf(engine: EngineName, pinDirectory: string): BalancerEngine {
  if (engine === 'ebpf') throw new Error(`no ebpf engine yet for ${pinDirectory}`);
  return ipvsEngine;
}
