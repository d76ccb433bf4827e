/**
 * Links (struct ifinfomsg): veth, bridge and vxlan devices, and what the bridge keeps of a port. One dump gives all of it,
 * port attributes included (IFLA_INFO_SLAVE_DATA), so observing costs one request per namespace. Indices are
 * those of the socket's namespace.
 */
import assert from 'node:assert';
import type { Ip, Mac } from '../../model/addresses.js';
import { familyOf } from '../../model/addresses.js';
import { Attributes, AttributeWriter } from './attributes.js';
import * as c from './constants.js';
import type { NetlinkMessage, NetlinkRequest } from './message.js';
import { isErrno } from './netlink-error.js';
import type { NetlinkSocket } from './socket.js';

const headerBytes = 16;

export interface Link {
  readonly index: number;
  readonly name: string;
  /** `veth`, `bridge`, `vxlan`…; null for devices without one (lo, hardware). */
  readonly kind: string | null;
  /** Set up by the administrator. */
  readonly up: boolean;
  /** Carrier. */
  readonly lowerUp: boolean;
  readonly loopback: boolean;
  readonly mtu: number;
  readonly mac: Mac | null;
  /** Index of the bridge it is a port of. */
  readonly master: number | null;
  /** Index of the peer (veth) or of the device below (vxlan, vlan), in the namespace `peerNetnsId` names. */
  readonly peerIndex: number | null;
  /** Null when the peer is in the same namespace. */
  readonly peerNetnsId: number | null;
  readonly alias: string | null;
  readonly vxlan: VxlanInfo | null;
  readonly bridge: BridgeInfo | null;
  /** Present for ports of a bridge. */
  readonly port: BridgePort | null;
}

export interface VxlanInfo {
  readonly vni: number;
  /** UDP destination port. */
  readonly port: number;
  readonly learning: boolean;
  /** Source address of tunnel packets; null lets routing choose. */
  readonly local: Ip | null;
  /** Index of the underlay device, null when any. */
  readonly link: number | null;
  readonly proxy: boolean;
  readonly l2Miss: boolean;
  readonly l3Miss: boolean;
}

export interface BridgeInfo {
  readonly stp: boolean;
  readonly multicastSnooping: boolean;
  /** Hundredths of a second. */
  readonly ageingTimeCs: number;
}

export interface BridgePort {
  readonly learning: boolean;
  readonly neighSuppress: boolean;
  readonly hairpin: boolean;
  readonly isolated: boolean;
  readonly unicastFlood: boolean;
  readonly multicastFlood: boolean;
  readonly broadcastFlood: boolean;
}

/** What can be set on a link that is there. Absent leaves it as it is. */
export interface LinkChange {
  readonly name?: string;
  readonly mtu?: number;
  readonly mac?: Mac;
  readonly up?: boolean;
  /** Index of the bridge, null to take it out. */
  readonly master?: number | null;
  /** Empty removes it. */
  readonly alias?: string;
  /** Moves the link there (for a new link: makes it there). The other attributes apply in that namespace. */
  readonly netnsFd?: number;
}

/** An alias can only be given afterwards (the kernel ignores it in a creation), and so can the master of a peer. */
export type NewLink = Omit<LinkChange, 'alias'> & { readonly name: string } & (
    | {
        readonly kind: 'veth';
        readonly peer: Omit<LinkChange, 'alias' | 'master'> & { readonly name: string };
      }
    | ({ readonly kind: 'bridge' } & Partial<BridgeInfo>)
    | ({ readonly kind: 'vxlan'; readonly vni: number; readonly port: number } & Partial<VxlanInfo>)
    | { readonly kind: 'dummy' }
  );

/**
 * The links of one namespace. Every method but `find` rejects with NetlinkError on the kernel's refusal. `netnsId` is the number of
 * another namespace, see NamespaceIds, whose links are meant; EINVAL when there is none of that number.
 */
export class Links {
  constructor(private readonly socket: NetlinkSocket) {}

  async list(netnsId?: number): Promise<Link[]> {
    const attributes = inNamespace(netnsId).u32(c.IFLA_EXT_MASK, c.RTEXT_FILTER_SKIP_STATS).toBuffer();
    const request = { type: c.RTM_GETLINK, flags: 0, payload: Buffer.concat([header(0), attributes]) };
    return (await this.socket.dump(request)).map(parseLink);
  }

  /** The link of that name or index, or null. */
  async find(which: string | number, netnsId?: number): Promise<Link | null> {
    const attributes = inNamespace(netnsId);
    if (typeof which === 'string') attributes.string(c.IFLA_IFNAME, which);
    const payload = Buffer.concat([header(typeof which === 'number' ? which : 0), attributes.toBuffer()]);
    try {
      const [message] = await this.socket.request({ type: c.RTM_GETLINK, flags: 0, payload });
      assert(message, 'RTM_GETLINK acknowledged without an answer');
      return parseLink(message);
    } catch (err) {
      if (isErrno(err, 'ENODEV')) return null;
      throw err;
    }
  }

  /** EEXIST when the name is taken. */
  async add(link: NewLink): Promise<void> {
    await this.socket.request(formatNewLink(link));
  }

  /** ENODEV when there is no such link. */
  async change(index: number, change: LinkChange): Promise<void> {
    await this.socket.request(formatLinkChange(index, change));
  }

  /** Sets attributes of a bridge port. */
  async changePort(index: number, change: Partial<BridgePort>): Promise<void> {
    await this.socket.request(formatPortChange(index, change));
  }

  /** ENODEV when there is no such link. */
  async remove(index: number, netnsId?: number): Promise<void> {
    const payload = Buffer.concat([header(index), inNamespace(netnsId).toBuffer()]);
    await this.socket.request({ type: c.RTM_DELLINK, flags: 0, payload });
  }
}

const inNamespace = (netnsId: number | undefined): AttributeWriter => {
  const attributes = new AttributeWriter();
  return netnsId === undefined ? attributes : attributes.u32(c.IFLA_TARGET_NETNSID, netnsId);
};

export function parseLink(message: NetlinkMessage): Link {
  const { payload } = message;
  const attributes = new Attributes(payload.subarray(headerBytes));
  const flags = payload.readUInt32LE(8);
  const info = attributes.nested(c.IFLA_LINKINFO);
  const kind = info?.string(c.IFLA_INFO_KIND) ?? null;
  const data = info?.nested(c.IFLA_INFO_DATA);
  const isPort = info?.string(c.IFLA_INFO_SLAVE_KIND) === 'bridge';
  const portData = isPort ? info?.nested(c.IFLA_INFO_SLAVE_DATA) : undefined;
  return {
    index: payload.readInt32LE(4),
    name: attributes.string(c.IFLA_IFNAME) ?? '',
    kind,
    up: (flags & c.IFF_UP) !== 0,
    lowerUp: (flags & c.IFF_LOWER_UP) !== 0,
    loopback: (flags & c.IFF_LOOPBACK) !== 0,
    mtu: attributes.u32(c.IFLA_MTU) ?? 0,
    mac: attributes.mac(c.IFLA_ADDRESS) ?? null,
    master: attributes.u32(c.IFLA_MASTER) || null,
    peerIndex: attributes.u32(c.IFLA_LINK) || null,
    peerNetnsId: attributes.s32(c.IFLA_LINK_NETNSID) ?? null,
    alias: attributes.string(c.IFLA_IFALIAS) ?? null,
    vxlan: kind === 'vxlan' && data ? parseVxlan(data) : null,
    bridge: kind === 'bridge' && data ? parseBridge(data) : null,
    port: portData ? parsePort(portData) : null,
  };
}

/** Of a notification in the bridge's own family; null where it tells nothing of a port. */
export function parsePortChange({ payload }: NetlinkMessage): { index: number; port: BridgePort } | null {
  const data = new Attributes(payload.subarray(headerBytes)).nested(c.IFLA_PROTINFO);
  return data ? { index: payload.readInt32LE(4), port: parsePort(data) } : null;
}

const parseVxlan = (data: Attributes): VxlanInfo => ({
  vni: data.u32(c.IFLA_VXLAN_ID) ?? 0,
  port: data.be16(c.IFLA_VXLAN_PORT) ?? 0,
  learning: data.u8(c.IFLA_VXLAN_LEARNING) === 1,
  local: data.ip(c.IFLA_VXLAN_LOCAL) ?? data.ip(c.IFLA_VXLAN_LOCAL6) ?? null,
  link: data.u32(c.IFLA_VXLAN_LINK) || null,
  proxy: data.u8(c.IFLA_VXLAN_PROXY) === 1,
  l2Miss: data.u8(c.IFLA_VXLAN_L2MISS) === 1,
  l3Miss: data.u8(c.IFLA_VXLAN_L3MISS) === 1,
});

const parseBridge = (data: Attributes): BridgeInfo => ({
  stp: data.u32(c.IFLA_BR_STP_STATE) !== 0,
  multicastSnooping: data.u8(c.IFLA_BR_MCAST_SNOOPING) === 1,
  ageingTimeCs: data.u32(c.IFLA_BR_AGEING_TIME) ?? 0,
});

const portAttributes = {
  learning: c.IFLA_BRPORT_LEARNING,
  neighSuppress: c.IFLA_BRPORT_NEIGH_SUPPRESS,
  hairpin: c.IFLA_BRPORT_MODE,
  isolated: c.IFLA_BRPORT_ISOLATED,
  unicastFlood: c.IFLA_BRPORT_UNICAST_FLOOD,
  multicastFlood: c.IFLA_BRPORT_MCAST_FLOOD,
  broadcastFlood: c.IFLA_BRPORT_BCAST_FLOOD,
} as const satisfies Record<keyof BridgePort, number>;

const portNames = Object.keys(portAttributes) as (keyof BridgePort)[];

const parsePort = (data: Attributes): BridgePort =>
  Object.fromEntries(
    portNames.map((name) => [name, data.u8(portAttributes[name]) === 1]),
  ) as unknown as BridgePort;

export function formatNewLink(link: NewLink): NetlinkRequest {
  const attributes = new AttributeWriter();
  writeChange(attributes, link);
  attributes.nested(c.IFLA_LINKINFO, (info) => {
    info.string(c.IFLA_INFO_KIND, link.kind);
    switch (link.kind) {
      case 'veth': {
        const peer = new AttributeWriter();
        writeChange(peer, link.peer);
        const payload = Buffer.concat([header(0, link.peer.up), peer.toBuffer()]);
        info.nested(c.IFLA_INFO_DATA, (data) => data.bytes(c.VETH_INFO_PEER, payload));
        break;
      }
      case 'bridge':
        info.nested(c.IFLA_INFO_DATA, (data) => writeBridge(data, link));
        break;
      case 'vxlan':
        info.nested(c.IFLA_INFO_DATA, (data) => writeVxlan(data, link));
        break;
      case 'dummy':
        break;
    }
  });
  return {
    type: c.RTM_NEWLINK,
    flags: c.NLM_F_CREATE | c.NLM_F_EXCL,
    payload: Buffer.concat([header(0, link.up), attributes.toBuffer()]),
  };
}

export function formatLinkChange(index: number, change: LinkChange): NetlinkRequest {
  const attributes = new AttributeWriter();
  writeChange(attributes, change);
  const payload = Buffer.concat([header(index, change.up), attributes.toBuffer()]);
  return { type: c.RTM_NEWLINK, flags: 0, payload };
}

/** Bridge port attributes go to the bridge by its own family; the nested flag tells them from the older one-octet form. */
export function formatPortChange(index: number, change: Partial<BridgePort>): NetlinkRequest {
  const attributes = new AttributeWriter().nested(c.IFLA_PROTINFO, (info) => {
    for (const name of portNames) {
      const value = change[name];
      if (value !== undefined) info.u8(portAttributes[name], value ? 1 : 0);
    }
  });
  const payload = Buffer.concat([header(index, undefined, c.AF_BRIDGE), attributes.toBuffer()]);
  return { type: c.RTM_SETLINK, flags: 0, payload };
}

function writeChange(attributes: AttributeWriter, change: LinkChange): void {
  if (change.name !== undefined) {
    assert(Buffer.byteLength(change.name) < 16, `link name ${change.name} exceeds IFNAMSIZ`);
    attributes.string(c.IFLA_IFNAME, change.name);
  }
  if (change.mtu !== undefined) attributes.u32(c.IFLA_MTU, change.mtu);
  if (change.mac !== undefined) attributes.mac(c.IFLA_ADDRESS, change.mac);
  if (change.master !== undefined) attributes.u32(c.IFLA_MASTER, change.master ?? 0);
  if (change.alias !== undefined) attributes.bytes(c.IFLA_IFALIAS, Buffer.from(change.alias));
  if (change.netnsFd !== undefined) attributes.u32(c.IFLA_NET_NS_FD, change.netnsFd);
}

function writeBridge(data: AttributeWriter, bridge: Partial<BridgeInfo>): void {
  if (bridge.stp !== undefined) data.u32(c.IFLA_BR_STP_STATE, bridge.stp ? 1 : 0);
  if (bridge.multicastSnooping !== undefined)
    data.u8(c.IFLA_BR_MCAST_SNOOPING, bridge.multicastSnooping ? 1 : 0);
  if (bridge.ageingTimeCs !== undefined) data.u32(c.IFLA_BR_AGEING_TIME, bridge.ageingTimeCs);
}

function writeVxlan(data: AttributeWriter, vxlan: Partial<VxlanInfo> & { vni: number; port: number }): void {
  data.u32(c.IFLA_VXLAN_ID, vxlan.vni).be16(c.IFLA_VXLAN_PORT, vxlan.port);
  // The kernel learns unless told otherwise; here absent means off.
  data.u8(c.IFLA_VXLAN_LEARNING, vxlan.learning ? 1 : 0);
  if (vxlan.local)
    data.ip(familyOf(vxlan.local) === 4 ? c.IFLA_VXLAN_LOCAL : c.IFLA_VXLAN_LOCAL6, vxlan.local);
  if (vxlan.link) data.u32(c.IFLA_VXLAN_LINK, vxlan.link);
  if (vxlan.proxy !== undefined) data.u8(c.IFLA_VXLAN_PROXY, vxlan.proxy ? 1 : 0);
  if (vxlan.l2Miss !== undefined) data.u8(c.IFLA_VXLAN_L2MISS, vxlan.l2Miss ? 1 : 0);
  if (vxlan.l3Miss !== undefined) data.u8(c.IFLA_VXLAN_L3MISS, vxlan.l3Miss ? 1 : 0);
}

/** struct ifinfomsg; `up` undefined leaves the flag alone. */
function header(index: number, up?: boolean, family: number = c.AF_UNSPEC): Buffer {
  const buffer = Buffer.alloc(headerBytes);
  buffer.writeUInt8(family, 0);
  buffer.writeInt32LE(index, 4);
  buffer.writeUInt32LE(up ? c.IFF_UP : 0, 8);
  buffer.writeUInt32LE(up === undefined ? 0 : c.IFF_UP, 12);
  return buffer;
}
