/** The maps of one node as the `ebpf` engine uses them: pinned-tables.ts has the kernel's, tests a model. */
import type { Vni } from '../../model/ids.js';
import type { BalancerTable, LinkIndices, Program } from './engine.js';

/** All scopes share the maps, pinned in one directory: closing keeps them, {@link NodeTables.remove} ends them. */
export interface NodeTables extends Disposable {
  readonly programs: ReadonlyMap<string, Program>;
  /**
   * The part of one scope. The host's also has the mesh, the local addresses and the alias nodes, which no overlay's shows.
   * @param vni null: the host (0 in the maps)
   * @param links of the scope's namespace, for the index of sk-ingress in the host's. A mesh whose device is gone or was made
   *   again is observed with another.
   */
  view(vni: Vni | null, links: LinkIndices): BalancerTable;
  /** Overlays that the maps hold something for. */
  overlays(): readonly Vni[];
  /** Everything of an overlay that is no more, its flows included. */
  forget(vni: Vni): Promise<void>;
  /** Deletes flows that have been idle for too long, in batches on the thread pool. Resolves with their number. */
  expireFlows(): Promise<number>;
  /** Removes every pin of this node. */
  remove(): Promise<void>;
}
