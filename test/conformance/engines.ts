/** Either balancer engine of one node, as its daemon would open it. */
import { EbpfEngine } from '../../src/dataplane/balancer/ebpf.js';
import type { BalancerEngine } from '../../src/dataplane/balancer/engine.js';
import { ipvsEngine } from '../../src/dataplane/balancer/ipvs.js';
import { openPinnedTables } from '../../src/dataplane/balancer/pinned-tables.js';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';

/** @param pinDirectory where the node keeps its maps */
export const openEngineOf = (engine: EngineName, pinDirectory: string): BalancerEngine =>
  engine === 'ebpf' ? new EbpfEngine(() => openPinnedTables(pinDirectory)) : ipvsEngine;
