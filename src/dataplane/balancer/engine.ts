/**
 * What balances on this node: `ipvs` or `ebpf`. An engine contributes to the plans of scopes (`plan`, pure) and gives the
 * table of virtual and real servers in each of them; all else in a namespace (links, routes, chains, filters) is
 * programmed alike for both. test/conformance decides with packets what an engine must do.
 *
 * Both keep every flow when this process ends, however it ends.
 */
import type { Family, Ip } from '../../model/addresses.js';
import type { Vni } from '../../model/ids.js';
import type { BalancerPlan, EngineName } from '../plan/balancing.js';
import type { Op } from '../plan/diff.js';
import type {
  AliasNode,
  Frontend,
  IpvsTimeouts,
  Listener,
  LocalAddress,
  Mesh,
  RealServer,
  VirtualServer,
} from '../plan/objects.js';

/** What a table holds. Timeouts only with `ipvs`; the last four only with `ebpf`, and only in the host's scope. */
export type BalancerObject =
  VirtualServer | RealServer | IpvsTimeouts | LocalAddress | Listener | AliasNode | Mesh;
export type BalancerOp = Op & { readonly object: BalancerObject };

/** The table of one scope. Methods reject with OutsideError (KernelError, NetlinkError). */
export interface BalancerTable extends Disposable {
  /**
   * All that the scope holds of {@link BalancerObject}, strangers' virtual servers included where there can be any.
   * @param fresh true: nothing may be taken to be as it was last read and written
   */
  observe(fresh: boolean): Promise<readonly BalancerObject[]>;
  /**
   * Looks again at what changes without a word. True where it is not as it was last read and since written; the next
   * {@link observe} shows it. Cheap where nothing changed.
   */
  refresh(): Promise<boolean>;
  /** Does the ops in order, many at once where the kernel can; rejects at the first that fails. */
  apply(ops: readonly BalancerOp[]): Promise<void>;
  counters(): Promise<readonly VirtualServerCounters[]>;
  /** The virtual servers' own, where that costs much less than {@link counters}; absent where it does not. */
  totals?(): Promise<readonly VirtualServerTotals[]>;
  /** At most `limit` of the scope's flows, in no order. */
  flows(limit: number): Promise<readonly BalancedFlow[]>;
}

/** Totals since the virtual or real server was made; bytes are of IP packets. */
export interface ServerCounters {
  readonly connections: bigint;
  /** From clients. */
  readonly packets: bigint;
  readonly bytes: bigint;
  /** To clients; 0 for VIPs, whose replies go straight back and are not seen. */
  readonly replyPackets: bigint;
  readonly replyBytes: bigint;
  /** Packets dropped; reasons without any are absent. An engine counts what it drops itself. */
  readonly drops: Readonly<Partial<Record<DropReason, bigint>>>;
  /** Flows that both sides have agreed on, now. */
  readonly activeFlows: number;
}

/** As in native/bpf/layout.h. */
export type DropReason = 'fragment' | 'collision' | 'table' | 'oversize' | 'malformed';

/** What a virtual server has counted, but for what only its real servers know. */
export type VirtualServerTotals = Omit<VirtualServerCounters, 'activeFlows' | 'realServers'>;

export interface VirtualServerCounters extends ServerCounters {
  readonly family: Family;
  readonly mark: number;
  /** Null where the engine does not know it (`ipvs`): the mark tells. */
  readonly frontend: Frontend | null;
  readonly realServers: readonly RealServerCounters[];
}

export interface RealServerCounters extends ServerCounters {
  readonly address: Ip;
  readonly port: number;
}

/** One flow: who called what, and who answers. */
export interface BalancedFlow {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly client: Ip;
  readonly clientPort: number;
  /** As the client called it. */
  readonly destination: Ip;
  readonly destinationPort: number;
  readonly realServer: Ip;
  readonly realServerPort: number;
  /** `opening`: not yet agreed by both sides; `closing`: ended by one or both, or reset. */
  readonly state: 'opening' | 'established' | 'closing';
  /** Seconds until it is forgotten if nothing more comes. */
  readonly expiresS: number;
}

/** Names and indices of a namespace's links, for what the kernel only knows by number. */
export interface LinkIndices {
  /** Null when there is no such link. */
  indexOf(name: string): Promise<number | null>;
  nameOf(index: number): Promise<string | null>;
}

/** The namespace a table is of: an overlay's, or the host's. */
export interface TableScope {
  /** Null: the host. */
  readonly vni: Vni | null;
  /** Path of the namespace, null for this process's own. */
  readonly netns: string | null;
  readonly links: LinkIndices;
}

/** A loaded program, as filters need it. `fd` stays the engine's. */
export interface Program {
  readonly fd: number;
  /** The kernel's digest of its instructions, 16 hex digits. */
  readonly tag: string;
  readonly id: number;
  /** False: its maps were made with it, so a program attached earlier works on others, whatever its tag. */
  readonly reusedMaps: boolean;
}

export interface BalancerEngine extends Disposable {
  readonly name: EngineName;
  readonly plan: BalancerPlan;
  /** Rejects with MissingModuleError when this kernel cannot, Error with `code` ENOENT when the namespace is absent. */
  open(scope: TableScope): Promise<BalancerTable>;
  /** The programs that filters attach, by name; none with `ipvs`. */
  programs(): Promise<ReadonlyMap<string, Program>>;
  /** Overlays that something is kept for outside their namespaces, there or gone. */
  overlays(): readonly Vni[];
  /** An overlay's namespace was removed: what is kept for it elsewhere goes, too. */
  forgetOverlay(vni: Vni): Promise<void>;
  /** The node left its cluster: what is left of the engine in the kernel goes. Used again, it makes it anew. */
  release(): Promise<void>;
  /** Forgets flows that have been idle for too long, off the event loop. Resolves with their number; 0 where the kernel sees to it. */
  expireFlows(): Promise<number>;
}
