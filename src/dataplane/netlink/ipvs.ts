/**
 * IPVS through generic netlink (linux/ip_vs.h): virtual servers by firewall mark or by address, their real servers, the
 * connection timeouts. The tables are those of the namespace the socket was opened in. One request per change; observing
 * costs one dump for the virtual servers and one for each one's real servers.
 */
import assert from 'node:assert';
import type { Family, Ip } from '../../model/addresses.js';
import { familyOf } from '../../model/addresses.js';
import type { Attributes } from './attributes.js';
import { AttributeWriter, bytesToIp, ipToBytes } from './attributes.js';
import * as c from './constants.js';
import type { GenericFamily } from './genl.js';
import { formatGeneric, parseGeneric, resolveFamily } from './genl.js';
import type { NetlinkMessage, NetlinkRequest } from './message.js';
import { familyFromNumber, familyNumber } from './message.js';
import { NetlinkSocket } from './socket.js';

const protocols = { tcp: c.IPPROTO_TCP, udp: c.IPPROTO_UDP, sctp: c.IPPROTO_SCTP } as const;
export type IpvsProtocol = keyof typeof protocols;

/** How a packet gets to the real server: `directRoute` rewrites the destination MAC only, `masquerade` the address. */
export const forwardingMethods = {
  masquerade: c.IP_VS_CONN_F_MASQ,
  localNode: c.IP_VS_CONN_F_LOCALNODE,
  tunnel: c.IP_VS_CONN_F_TUNNEL,
  directRoute: c.IP_VS_CONN_F_DROUTE,
  bypass: c.IP_VS_CONN_F_BYPASS,
} as const;
export type ForwardingMethod = keyof typeof forwardingMethods;

/** What makes a virtual server one: nothing else tells two apart. */
export type VirtualServerKey =
  | { readonly kind: 'fwmark'; readonly family: Family; readonly fwmark: number }
  | {
      readonly kind: 'address';
      readonly protocol: IpvsProtocol;
      readonly address: Ip;
      readonly port: number;
    };

export interface NewVirtualServer {
  readonly key: VirtualServerKey;
  /** Name of the scheduler, e.g. `rr`; its module must be loaded or loadable. */
  readonly scheduler: string;
  /** Seconds a client stays with its real server; absent or null for none. */
  readonly persistenceS?: number | null;
  /** Every UDP packet is scheduled anew. */
  readonly onePacket?: boolean;
  /**
   * Of `sh` and `mh`: a client whose real server takes no new connections (weight 0) gets the next one. Without it, such a
   * client is refused for as long as that server stays in the table.
   */
  readonly fallback?: boolean;
}

export interface VirtualServer extends Required<NewVirtualServer> {
  readonly stats: IpvsStats;
}

export interface RealServerKey {
  readonly address: Ip;
  /** 0 keeps the packet's own port. */
  readonly port: number;
}

export interface NewRealServer extends RealServerKey {
  readonly forwarding: ForwardingMethod;
  /** 0 gets no new connections and keeps those it has. */
  readonly weight: number;
  /** Connections at which it gets no more, and below which it does again; 0 for no limit. */
  readonly upperThreshold?: number;
  readonly lowerThreshold?: number;
}

export interface RealServer extends Required<NewRealServer> {
  readonly activeConnections: number;
  readonly inactiveConnections: number;
  readonly persistentConnections: number;
  readonly stats: IpvsStats;
}

/** Totals since the entry was made. */
export interface IpvsStats {
  readonly connections: bigint;
  readonly inPackets: bigint;
  readonly outPackets: bigint;
  readonly inBytes: bigint;
  readonly outBytes: bigint;
}

/** Seconds. */
export interface IpvsTimeouts {
  readonly tcpS: number;
  readonly tcpFinS: number;
  readonly udpS: number;
}

/** The IPVS tables of one namespace. Methods reject with NetlinkError; closed by Symbol.dispose. */
export class Ipvs implements Disposable {
  private constructor(
    private readonly socket: NetlinkSocket,
    private readonly family: GenericFamily,
  ) {}

  /**
   * @param netns path of the namespace, or null for the host's own
   * @throws NetlinkError ENOENT when the kernel has no IPVS; Error with `code` ENOENT when the namespace is absent
   */
  static async open(netns: string | null): Promise<Ipvs> {
    const socket = new NetlinkSocket(netns, c.NETLINK_GENERIC);
    try {
      return new Ipvs(socket, await resolveFamily(socket, 'IPVS'));
    } catch (err) {
      socket[Symbol.dispose]();
      throw err;
    }
  }

  async listVirtualServers(): Promise<VirtualServer[]> {
    const request = formatGeneric(this.family, c.IPVS_CMD_GET_SERVICE, 0, new AttributeWriter());
    const messages = await this.socket.dump(request);
    return messages.map(parseVirtualServer).filter((server) => server !== null);
  }

  /** EEXIST when there is one of that key. ENOENT when the scheduler is unknown. */
  async addVirtualServer(server: NewVirtualServer): Promise<void> {
    await this.socket.request(formatVirtualServer(this.family, c.IPVS_CMD_NEW_SERVICE, server));
  }

  /** ESRCH when there is none of that key. */
  async changeVirtualServer(server: NewVirtualServer): Promise<void> {
    await this.socket.request(formatVirtualServer(this.family, c.IPVS_CMD_SET_SERVICE, server));
  }

  /** Removes it with its real servers. ESRCH when there is none of that key. */
  async removeVirtualServer(key: VirtualServerKey): Promise<void> {
    const attributes = new AttributeWriter().nested(c.IPVS_CMD_ATTR_SERVICE, (service) =>
      writeKey(service, key),
    );
    await this.socket.request(formatGeneric(this.family, c.IPVS_CMD_DEL_SERVICE, 0, attributes));
  }

  /** Empty also when there is no such virtual server. */
  async listRealServers(key: VirtualServerKey): Promise<RealServer[]> {
    const attributes = new AttributeWriter().nested(c.IPVS_CMD_ATTR_SERVICE, (service) =>
      writeKey(service, key),
    );
    const messages = await this.socket.dump(formatGeneric(this.family, c.IPVS_CMD_GET_DEST, 0, attributes));
    const family = key.kind === 'fwmark' ? key.family : familyOf(key.address);
    return messages.map((message) => parseRealServer(message, family));
  }

  /**
   * EEXIST when the virtual server has it already, ESRCH when there is no such virtual server. EINVAL in a namespace that
   * never had an address: without a local routing table the kernel takes every IPv4 address for broadcast.
   */
  async addRealServer(key: VirtualServerKey, server: NewRealServer): Promise<void> {
    await this.socket.request(formatRealServer(this.family, c.IPVS_CMD_NEW_DEST, key, server));
  }

  /** ENOENT when the virtual server has no such real server. */
  async changeRealServer(key: VirtualServerKey, server: NewRealServer): Promise<void> {
    await this.socket.request(formatRealServer(this.family, c.IPVS_CMD_SET_DEST, key, server));
  }

  /** ENOENT when the virtual server has no such real server. Packets of its connections are
   * dropped until those time out, unless net.ipv4.vs.expire_nodest_conn is 1. */
  async removeRealServer(key: VirtualServerKey, { address, port }: RealServerKey): Promise<void> {
    await this.socket.request(formatRealServer(this.family, c.IPVS_CMD_DEL_DEST, key, { address, port }));
  }

  async timeouts(): Promise<IpvsTimeouts> {
    const request = formatGeneric(this.family, c.IPVS_CMD_GET_CONFIG, 0, new AttributeWriter());
    const [message] = await this.socket.request(request);
    assert(message, 'IPVS_CMD_GET_CONFIG acknowledged without an answer');
    return parseTimeouts(message);
  }

  /** Sets those given; 0 leaves one as it is, which is the kernel's own rule. */
  async setTimeouts(timeouts: Partial<IpvsTimeouts>): Promise<void> {
    const attributes = new AttributeWriter();
    for (const [name, attribute] of timeoutAttributes) attributes.u32(attribute, timeouts[name] ?? 0);
    await this.socket.request(formatGeneric(this.family, c.IPVS_CMD_SET_CONFIG, 0, attributes));
  }

  /** Removes every virtual server of the namespace. */
  async flush(): Promise<void> {
    await this.socket.request(formatGeneric(this.family, c.IPVS_CMD_FLUSH, 0, new AttributeWriter()));
  }

  [Symbol.dispose](): void {
    this.socket[Symbol.dispose]();
  }
}

/** Null for a protocol unknown here. */
export function parseVirtualServer(message: NetlinkMessage): VirtualServer | null {
  const service = parseGeneric(message).nested(c.IPVS_CMD_ATTR_SERVICE);
  assert(service, 'a service message holds a service');
  const key = parseKey(service);
  if (!key) return null;
  // struct ip_vs_flags: the flags, then the mask of those meant.
  const flags = service.bytes(c.IPVS_SVC_ATTR_FLAGS)?.readUInt32LE(0) ?? 0;
  return {
    key,
    scheduler: service.string(c.IPVS_SVC_ATTR_SCHED_NAME) ?? '',
    persistenceS: flags & c.IP_VS_SVC_F_PERSISTENT ? (service.u32(c.IPVS_SVC_ATTR_TIMEOUT) ?? 0) : null,
    onePacket: (flags & c.IP_VS_SVC_F_ONEPACKET) !== 0,
    fallback: (flags & c.IP_VS_SVC_F_SCHED_MH_FALLBACK) !== 0,
    stats: parseStats(service, c.IPVS_SVC_ATTR_STATS64, c.IPVS_SVC_ATTR_STATS),
  };
}

function parseKey(service: Attributes): VirtualServerKey | null {
  const family = familyFromNumber(service.u16(c.IPVS_SVC_ATTR_AF) ?? 0);
  if (family === null) return null;
  const fwmark = service.u32(c.IPVS_SVC_ATTR_FWMARK);
  if (fwmark) return { kind: 'fwmark', family, fwmark };
  const number = service.u16(c.IPVS_SVC_ATTR_PROTOCOL);
  const protocol = (Object.keys(protocols) as IpvsProtocol[]).find((name) => protocols[name] === number);
  const address = service.bytes(c.IPVS_SVC_ATTR_ADDR);
  if (!protocol || !address) return null;
  return {
    kind: 'address',
    protocol,
    address: parseUnion(address, family),
    port: service.be16(c.IPVS_SVC_ATTR_PORT) ?? 0,
  };
}

/** @param family that of the virtual server, for kernels that do not say the real server's own */
export function parseRealServer(message: NetlinkMessage, family: Family): RealServer {
  const dest = parseGeneric(message).nested(c.IPVS_CMD_ATTR_DEST);
  const address = dest?.bytes(c.IPVS_DEST_ATTR_ADDR);
  assert(dest && address, 'a destination message holds a destination');
  const ownFamily = familyFromNumber(dest.u16(c.IPVS_DEST_ATTR_ADDR_FAMILY) ?? 0) ?? family;
  const method = (dest.u32(c.IPVS_DEST_ATTR_FWD_METHOD) ?? 0) & c.IP_VS_CONN_F_FWD_MASK;
  const methods = Object.keys(forwardingMethods) as ForwardingMethod[];
  return {
    address: parseUnion(address, ownFamily),
    port: dest.be16(c.IPVS_DEST_ATTR_PORT) ?? 0,
    forwarding: methods.find((name) => forwardingMethods[name] === method) ?? 'masquerade',
    weight: dest.u32(c.IPVS_DEST_ATTR_WEIGHT) ?? 0,
    upperThreshold: dest.u32(c.IPVS_DEST_ATTR_U_THRESH) ?? 0,
    lowerThreshold: dest.u32(c.IPVS_DEST_ATTR_L_THRESH) ?? 0,
    activeConnections: dest.u32(c.IPVS_DEST_ATTR_ACTIVE_CONNS) ?? 0,
    inactiveConnections: dest.u32(c.IPVS_DEST_ATTR_INACT_CONNS) ?? 0,
    persistentConnections: dest.u32(c.IPVS_DEST_ATTR_PERSIST_CONNS) ?? 0,
    stats: parseStats(dest, c.IPVS_DEST_ATTR_STATS64, c.IPVS_DEST_ATTR_STATS),
  };
}

export function formatVirtualServer(
  family: Pick<GenericFamily, 'id' | 'version'>,
  command: number,
  server: NewVirtualServer,
): NetlinkRequest {
  const flags = Buffer.alloc(8);
  flags.writeUInt32LE(
    (server.persistenceS ? c.IP_VS_SVC_F_PERSISTENT : 0) |
      (server.onePacket ? c.IP_VS_SVC_F_ONEPACKET : 0) |
      (server.fallback ? c.IP_VS_SVC_F_SCHED_MH_FALLBACK : 0),
  );
  flags.writeUInt32LE(0xffffffff, 4);
  const keyFamily = server.key.kind === 'fwmark' ? server.key.family : familyOf(server.key.address);
  const attributes = new AttributeWriter().nested(c.IPVS_CMD_ATTR_SERVICE, (service) => {
    writeKey(service, server.key);
    service
      .string(c.IPVS_SVC_ATTR_SCHED_NAME, server.scheduler)
      .bytes(c.IPVS_SVC_ATTR_FLAGS, flags)
      .u32(c.IPVS_SVC_ATTR_TIMEOUT, server.persistenceS ?? 0)
      // Persistence by whole address: a mask for IPv4, a prefix length for IPv6.
      .u32(c.IPVS_SVC_ATTR_NETMASK, keyFamily === 4 ? 0xffffffff : 128);
  });
  return formatGeneric(family, command, 0, attributes);
}

export function formatRealServer(
  family: Pick<GenericFamily, 'id' | 'version'>,
  command: number,
  key: VirtualServerKey,
  server: RealServerKey | NewRealServer,
): NetlinkRequest {
  const attributes = new AttributeWriter()
    .nested(c.IPVS_CMD_ATTR_SERVICE, (service) => writeKey(service, key))
    .nested(c.IPVS_CMD_ATTR_DEST, (dest) => {
      dest
        .bytes(c.IPVS_DEST_ATTR_ADDR, formatUnion(server.address))
        .be16(c.IPVS_DEST_ATTR_PORT, server.port)
        .u16(c.IPVS_DEST_ATTR_ADDR_FAMILY, familyNumber(familyOf(server.address)));
      if (!('weight' in server)) return;
      dest
        .u32(c.IPVS_DEST_ATTR_FWD_METHOD, forwardingMethods[server.forwarding])
        .u32(c.IPVS_DEST_ATTR_WEIGHT, server.weight)
        .u32(c.IPVS_DEST_ATTR_U_THRESH, server.upperThreshold ?? 0)
        .u32(c.IPVS_DEST_ATTR_L_THRESH, server.lowerThreshold ?? 0);
    });
  return formatGeneric(family, command, 0, attributes);
}

function writeKey(service: AttributeWriter, key: VirtualServerKey): void {
  if (key.kind === 'fwmark') {
    assert(key.fwmark !== 0, 'mark 0 marks nothing');
    service.u16(c.IPVS_SVC_ATTR_AF, familyNumber(key.family)).u32(c.IPVS_SVC_ATTR_FWMARK, key.fwmark);
    return;
  }
  service
    .u16(c.IPVS_SVC_ATTR_AF, familyNumber(familyOf(key.address)))
    .u16(c.IPVS_SVC_ATTR_PROTOCOL, protocols[key.protocol])
    .bytes(c.IPVS_SVC_ATTR_ADDR, formatUnion(key.address))
    .be16(c.IPVS_SVC_ATTR_PORT, key.port);
}

/** union nf_inet_addr: 16 octets, of which IPv4 uses the first four. */
function formatUnion(address: Ip): Buffer {
  const union = Buffer.alloc(16);
  union.set(ipToBytes(address));
  return union;
}

const parseUnion = (union: Buffer, family: Family): Ip => bytesToIp(union.subarray(0, family === 4 ? 4 : 16));

/** The 64-bit counters, or those of kernels before 4.1: 32 bits for the first three. */
function parseStats(parent: Attributes, wide: number, narrow: number): IpvsStats {
  const stats = parent.nested(wide) ?? parent.nested(narrow);
  const counter = (attribute: number): bigint => {
    const bytes = stats?.bytes(attribute);
    return !bytes ? 0n : bytes.length === 8 ? bytes.readBigUInt64LE() : BigInt(bytes.readUInt32LE());
  };
  return {
    connections: counter(c.IPVS_STATS_ATTR_CONNS),
    inPackets: counter(c.IPVS_STATS_ATTR_INPKTS),
    outPackets: counter(c.IPVS_STATS_ATTR_OUTPKTS),
    inBytes: counter(c.IPVS_STATS_ATTR_INBYTES),
    outBytes: counter(c.IPVS_STATS_ATTR_OUTBYTES),
  };
}

const timeoutAttributes = [
  ['tcpS', c.IPVS_CMD_ATTR_TIMEOUT_TCP],
  ['tcpFinS', c.IPVS_CMD_ATTR_TIMEOUT_TCP_FIN],
  ['udpS', c.IPVS_CMD_ATTR_TIMEOUT_UDP],
] as const satisfies readonly (readonly [keyof IpvsTimeouts, number])[];

export function parseTimeouts(message: NetlinkMessage): IpvsTimeouts {
  const attributes = parseGeneric(message);
  return {
    tcpS: attributes.u32(c.IPVS_CMD_ATTR_TIMEOUT_TCP) ?? 0,
    tcpFinS: attributes.u32(c.IPVS_CMD_ATTR_TIMEOUT_TCP_FIN) ?? 0,
    udpS: attributes.u32(c.IPVS_CMD_ATTR_TIMEOUT_UDP) ?? 0,
  };
}
