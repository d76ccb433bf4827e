/** IPVS of one namespace: virtual servers by mark and their real servers, over generic netlink. The `ipvs` balancer engine. */
import { createHash } from 'node:crypto';
import { closeSync } from 'node:fs';
import type { Family } from '../../model/addresses.js';
import { familyOf } from '../../model/addresses.js';
import { applyTogether } from '../kernel/apply-together.js';
import { errnoOf, KernelError, MissingModuleError } from '../kernel/kernel-error.js';
import { native } from '../../runtime/native.js';
import type { IpvsStats } from '../netlink/ipvs.js';
import { Ipvs } from '../netlink/ipvs.js';
import { isErrno } from '../netlink/netlink-error.js';
import { isOurMark, udpVipBit } from '../plan/names.js';
import type { IpvsTimeouts, RealServer, VirtualServer } from '../plan/objects.js';
import { identity, line } from '../plan/objects.js';
import type {
  BalancedFlow,
  BalancerOp,
  BalancerTable,
  ServerCounters,
  VirtualServerCounters,
  VirtualServerTotals,
} from './engine.js';
import { readIpvsFlows } from './ipvs-flows.js';
import { parseIpvsDump, toPlanObjects } from './ipvs-dump.js';

export class IpvsTable implements BalancerTable {
  /** What {@link observe} last found, with the changes of {@link apply}: lines by identity. Null: unknown. */
  #held: Map<string, string> | null = null;
  /** Digest of the kernel's table when that was read; null: written since. What is broken again as it was has the same one again. */
  #readAt: string | null = null;
  /** Null: nobody has looked yet. */
  #hasIpv6: boolean | null = null;

  private constructor(
    private readonly netns: string | null,
    private readonly ipvs: Ipvs,
    /** The table is read many times a minute, and to enter a namespace takes a thread. */
    private readonly socket: number,
  ) {}

  /** Rejects with MissingModuleError when this kernel has no IPVS. */
  static async open(netns: string | null): Promise<IpvsTable> {
    let ipvs: Ipvs;
    try {
      ipvs = await Ipvs.open(netns);
    } catch (cause) {
      if (isErrno(cause, 'ENOENT')) throw new MissingModuleError('ip_vs', { cause });
      throw cause;
    }
    try {
      return new IpvsTable(netns, ipvs, native().openIpvs(netns));
    } catch (cause) {
      ipvs[Symbol.dispose]();
      throw new KernelError('open the table of IPVS', errnoOf(cause), { cause });
    }
  }

  [Symbol.dispose](): void {
    this.ipvs[Symbol.dispose]();
    closeSync(this.socket);
  }

  /** Servers found by mark (others are strangers') and the timeouts. Rejects with NetlinkError, KernelError. */
  async observe(): Promise<(VirtualServer | RealServer | IpvsTimeouts)[]> {
    this.#held = null;
    const { dump, others, timeouts } = await this.#read();
    this.#readAt = digestOf(dump, others, timeouts);
    const found = [{ kind: 'ipvsTimeouts', ...timeouts } as const, ...parseIpvsDump(dump), ...others];
    this.#held = new Map(found.map((object) => [identity(object), line(object)]));
    return found;
  }

  async refresh(): Promise<boolean> {
    const held = this.#held;
    if (held === null) return false;
    const { dump, others, timeouts } = await this.#read();
    if (digestOf(dump, others, timeouts) === this.#readAt) return false;
    await this.observe();
    const found: ReadonlyMap<string, string> = this.#held ?? new Map<string, string>();
    return found.size !== held.size || [...found].some(([id, text]) => held.get(id) !== text);
  }

  /**
   * The kernel tells of IPv4's servers in one go. Of IPv6's only netlink does, server by server: it is asked once, and from then on
   * where there are some.
   */
  async #read(): Promise<{
    readonly dump: Buffer;
    readonly others: readonly (VirtualServer | RealServer)[];
    readonly timeouts: Omit<IpvsTimeouts, 'kind'>;
  }> {
    const dump = this.#dump();
    const others: (VirtualServer | RealServer)[] = [];
    for (const server of this.#hasIpv6 === false ? [] : await this.ipvs.listVirtualServers())
      if (server.key.kind === 'fwmark' && server.key.family === 6)
        others.push(...toPlanObjects(server, await this.ipvs.listRealServers(server.key)));
    this.#hasIpv6 ||= others.length > 0;
    return { dump, others, timeouts: await this.ipvs.timeouts() };
  }

  #dump(): Buffer {
    try {
      return native().ipvsTable(this.socket);
    } catch (err) {
      throw new KernelError('read the table of IPVS', errnoOf(err), { cause: err });
    }
  }

  /** Rejects with KernelError, MissingModuleError for a scheduler that the kernel lacks. */
  apply(ops: readonly BalancerOp[]): Promise<void> {
    this.#readAt = null;
    return applyTogether(ops, async (op) => {
      await this.#applyOne(op);
      if (op.op === 'delete') this.#held?.delete(identity(op.object));
      else this.#held?.set(identity(op.object), line(op.object));
    });
  }

  /** Of servers with marks of ours; a VIP's UDP counts with the rest of it. */
  async counters(): Promise<VirtualServerCounters[]> {
    const found: VirtualServerCounters[] = [];
    for (const { key, stats } of await this.ipvs.listVirtualServers()) {
      if (key.kind !== 'fwmark' || !isOurMark(key.fwmark)) continue;
      const realServers = (await this.ipvs.listRealServers(key)).map((server) => ({
        address: server.address,
        port: server.port,
        ...countersOf(server.stats, server.activeConnections),
      }));
      const activeFlows = realServers.reduce((sum, server) => sum + server.activeFlows, 0);
      found.push({
        family: key.family,
        mark: key.fwmark,
        frontend: null,
        ...countersOf(stats, activeFlows),
        realServers,
      });
    }
    return foldUdp(found);
  }

  /** One question to the kernel, where {@link counters} asks one for each virtual server. */
  async totals(): Promise<VirtualServerTotals[]> {
    const found = (await this.ipvs.listVirtualServers()).flatMap(({ key, stats }) =>
      key.kind === 'fwmark' && isOurMark(key.fwmark)
        ? [
            {
              family: key.family,
              mark: key.fwmark,
              frontend: null,
              ...countersOf(stats, 0),
              realServers: [],
            },
          ]
        : [],
    );
    return foldUdp(found);
  }

  flows(limit: number): Promise<BalancedFlow[]> {
    return readIpvsFlows(this.netns, limit);
  }

  async #applyOne({ op, object }: BalancerOp): Promise<void> {
    if (object.kind === 'virtualServer') return this.#applyVirtualServer(op, object);
    if (object.kind === 'realServer') return this.#applyRealServer(op, object);
    // They are never made or removed, so putting them is all there is.
    if (object.kind === 'ipvsTimeouts' && op !== 'delete') return this.ipvs.setTimeouts(object);
    throw new KernelError(`${object.kind} in IPVS`, 'EINVAL');
  }

  async #applyVirtualServer(op: BalancerOp['op'], object: VirtualServer): Promise<void> {
    if (object.family === 6) this.#hasIpv6 = true;
    const key = { kind: 'fwmark', family: object.family, fwmark: object.mark } as const;
    const { scheduler, affinityS: persistenceS } = object;
    // Only mh picks a real server before it looks whether that one takes new flows.
    const server = { key, scheduler, persistenceS, fallback: scheduler === 'mh' };
    try {
      if (op === 'delete') await this.ipvs.removeVirtualServer(key);
      else if (op === 'add') await this.ipvs.addVirtualServer(server);
      else await this.ipvs.changeVirtualServer(server);
    } catch (err) {
      if (op === 'delete' && isErrno(err, 'ESRCH')) return;
      if (op === 'add' && isErrno(err, 'EEXIST')) return;
      if (op !== 'delete' && isErrno(err, 'ENOENT'))
        throw new MissingModuleError(`ip_vs_${object.scheduler}`, { cause: err });
      throw err;
    }
  }

  async #applyRealServer(op: BalancerOp['op'], object: RealServer): Promise<void> {
    const key = { kind: 'fwmark', family: familyOf(object.address), fwmark: object.mark } as const;
    const { address, port, weight } = object;
    const forwarding = object.method === 'direct' ? 'directRoute' : 'masquerade';
    try {
      if (op === 'delete') await this.ipvs.removeRealServer(key, { address, port });
      else if (op === 'add') await this.ipvs.addRealServer(key, { address, port, forwarding, weight });
      else await this.ipvs.changeRealServer(key, { address, port, forwarding, weight });
    } catch (err) {
      if (op === 'delete' && isErrno(err, 'ENOENT', 'ESRCH')) return;
      if (op === 'add' && isErrno(err, 'EEXIST')) return;
      throw err;
    }
  }
}

/** What the VIPs' own virtual servers of UDP counted, added to that of the VIPs. */
export function foldUdp(found: readonly VirtualServerCounters[]): VirtualServerCounters[] {
  const key = (family: Family, mark: number): string => `${family} ${mark}`;
  const byMark = new Map(found.map((counters) => [key(counters.family, counters.mark), counters]));
  return found.flatMap((counters): VirtualServerCounters[] => {
    const { family, mark } = counters;
    const isUdp = isUdpVip(mark);
    if (isUdp && byMark.has(key(family, mark - udpVipBit))) return [];
    const udp = isUdp ? undefined : byMark.get(key(family, mark + udpVipBit));
    if (!udp) return [isUdp ? { ...counters, mark: mark - udpVipBit } : counters];
    const ofUdp = new Map(udp.realServers.map((server) => [server.address, server]));
    const realServers = counters.realServers.map((server) => {
      const more = ofUdp.get(server.address);
      return more ? { ...server, ...sum(server, more) } : server;
    });
    return [{ ...counters, ...sum(counters, udp), realServers }];
  });
}

const digestOf = (dump: Buffer, others: readonly object[], timeouts: object): string =>
  createHash('sha256')
    .update(dump)
    .update(JSON.stringify([others, timeouts]))
    .digest('base64');

const isUdpVip = (mark: number): boolean => (mark & udpVipBit) !== 0;

const sum = (a: ServerCounters, b: ServerCounters): ServerCounters => ({
  connections: a.connections + b.connections,
  packets: a.packets + b.packets,
  bytes: a.bytes + b.bytes,
  replyPackets: a.replyPackets + b.replyPackets,
  replyBytes: a.replyBytes + b.replyBytes,
  drops: {},
  activeFlows: a.activeFlows + b.activeFlows,
});

const countersOf = (stats: IpvsStats, activeFlows: number): ServerCounters => ({
  connections: stats.connections,
  packets: stats.inPackets,
  bytes: stats.inBytes,
  replyPackets: stats.outPackets,
  replyBytes: stats.outBytes,
  drops: {},
  activeFlows,
});
