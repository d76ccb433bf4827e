/** Either balancer engine of one node, as its daemon would open it. */
import { join } from 'node:path';
import { EbpfEngine } from '../../src/dataplane/balancer/ebpf.js';
import type { BalancerEngine, BalancerTable, LinkIndices } from '../../src/dataplane/balancer/engine.js';
import { ipvsEngine } from '../../src/dataplane/balancer/ipvs.js';
import { openPinnedTables } from '../../src/dataplane/balancer/pinned-tables.js';
import { loadPrograms } from '../../src/dataplane/ebpf/bpf.js';
import { limits } from '../../src/dataplane/ebpf/layout.js';
import { EbpfTable } from '../../src/dataplane/ebpf/table.js';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import type { Vni } from '../../src/model/ids.js';
import { systemClock } from '../../src/runtime/clock.js';

/**
 * @param pinDirectory where the node keeps its maps
 * @param capacities see openPinnedTables
 */
export const openEngineOf = (
  engine: EngineName,
  pinDirectory: string,
  capacities: Readonly<Record<string, number>> = {},
): BalancerEngine =>
  engine === 'ebpf' ? new EbpfEngine(() => openPinnedTables(pinDirectory, capacities)) : ipvsEngine;

/**
 * The engine of somebody who shares a node's maps with its daemon. A daemon takes itself for the only writer; this one reads
 * them whole before all that it says or does.
 */
export function openStrangersEngineOf(engine: EngineName, pinDirectory: string): BalancerEngine {
  if (engine === 'ipvs') return ipvsEngine;
  const tables = openPinnedTables(pinDirectory);
  const loaded = loadPrograms({ pinDirectory: join(pinDirectory, `v${limits.LAYOUT_VERSION}`) });
  let read: { readonly table: EbpfTable; readonly atMs: number } | null = null;
  const fresh = (): EbpfTable => {
    // One reading serves all scopes of a look.
    if (read === null || systemClock.nowMs() - read.atMs > 50)
      read = { table: new EbpfTable(loaded.maps, systemClock), atMs: systemClock.nowMs() };
    return read.table;
  };
  const now = (vni: Vni | null, links: LinkIndices): BalancerTable => fresh().view(vni, links);
  return new EbpfEngine(() => ({
    ...tables,
    view: (vni, links) => ({
      observe: () => now(vni, links).observe(false),
      refresh: async () => true,
      apply: async (ops) => {
        read = null;
        await now(vni, links).apply(ops);
        read = null;
      },
      counters: () => now(vni, links).counters(),
      flows: (limit) => now(vni, links).flows(limit),
      [Symbol.dispose]: () => undefined,
    }),
    [Symbol.dispose]: () => {
      loaded[Symbol.dispose]();
      tables[Symbol.dispose]();
    },
  }));
}
