/** Routes (struct rtmsg), those with one next hop; a foreign multipath route is listed by its destination alone. */
import assert from 'node:assert';
import type { Cidr, Family, Ip } from '../../model/addresses.js';
import {
  addressBits,
  familyOf,
  formatCidr,
  ipToNumber,
  numberToIp,
  parseCidr,
} from '../../model/addresses.js';
import { Attributes, AttributeWriter, bytesToIp, ipToBytes } from './attributes.js';
import * as c from './constants.js';
import type { NetlinkMessage, NetlinkRequest } from './message.js';
import { familyFromNumber, familyNumber } from './message.js';
import { isErrno } from './netlink-error.js';
import type { NetlinkSocket } from './socket.js';

const headerBytes = 12;

export const routeTypes = {
  unicast: c.RTN_UNICAST,
  local: c.RTN_LOCAL,
  broadcast: c.RTN_BROADCAST,
  anycast: c.RTN_ANYCAST,
  multicast: c.RTN_MULTICAST,
  blackhole: c.RTN_BLACKHOLE,
  unreachable: c.RTN_UNREACHABLE,
  prohibit: c.RTN_PROHIBIT,
  throw: c.RTN_THROW,
} as const;
export type RouteType = keyof typeof routeTypes;

export interface Route {
  /** `0.0.0.0/0` or `::/0` for the default route. */
  readonly destination: Cidr;
  readonly type: RouteType;
  /** 254 is main, 255 local. */
  readonly table: number;
  readonly protocol: number;
  /** RT_SCOPE_…; always 0 for IPv6. */
  readonly scope: number;
  readonly gateway: Ip | null;
  /** Index of the outgoing link. */
  readonly outIndex: number | null;
  /** Preferred source address. */
  readonly source: Ip | null;
  /** The metric; IPv6 gives 1024 to a route made without. */
  readonly priority: number;
  /** The gateway counts as on the link whatever the link's addresses say. */
  readonly onlink: boolean;
}

export interface NewRoute {
  readonly destination: Cidr;
  readonly type?: RouteType;
  readonly table?: number;
  readonly protocol?: number;
  /** As `ip route` chooses when absent: host for local, link without a gateway, else universe. */
  readonly scope?: number;
  readonly gateway?: Ip | null;
  readonly outIndex?: number | null;
  readonly source?: Ip | null;
  readonly priority?: number;
  readonly onlink?: boolean;
}

/** The routes of one namespace. Methods reject with NetlinkError on the kernel's refusal. */
export class Routes {
  constructor(private readonly socket: NetlinkSocket) {}

  /** All tables' routes, or those of one table, protocol or family; the kernel filters. A table nobody made is empty. */
  async list(filter: { family?: Family; table?: number; protocol?: number } = {}): Promise<Route[]> {
    const attributes = new AttributeWriter();
    if (filter.table !== undefined) attributes.u32(c.RTA_TABLE, filter.table);
    const fixed = Buffer.alloc(headerBytes);
    fixed.writeUInt8(filter.family ? familyNumber(filter.family) : c.AF_UNSPEC, 0);
    fixed.writeUInt8(filter.protocol ?? 0, 5);
    const payload = Buffer.concat([fixed, attributes.toBuffer()]);
    try {
      const messages = await this.socket.dump({ type: c.RTM_GETROUTE, flags: 0, payload });
      return messages.map(parseRoute).filter((route) => route !== null);
    } catch (err) {
      if (filter.table !== undefined && isErrno(err, 'ENOENT')) return [];
      throw err;
    }
  }

  /** Index of the link that packets to the address leave by, with whether the address is the namespace's own; null: no way there. */
  async find(address: Ip): Promise<{ readonly outIndex: number; readonly isLocal: boolean } | null> {
    const fixed = Buffer.alloc(headerBytes);
    const family = familyOf(address);
    fixed.writeUInt8(familyNumber(family), 0);
    fixed.writeUInt8(addressBits(family), 1);
    const payload = Buffer.concat([fixed, new AttributeWriter().ip(c.RTA_DST, address).toBuffer()]);
    try {
      const [message] = await this.socket.request({ type: c.RTM_GETROUTE, flags: 0, payload });
      assert(message, 'RTM_GETROUTE acknowledged without an answer');
      const outIndex = new Attributes(message.payload.subarray(headerBytes)).u32(c.RTA_OIF);
      return outIndex ? { outIndex, isLocal: message.payload.readUInt8(7) === c.RTN_LOCAL } : null;
    } catch (err) {
      // A route that refuses answers with what a packet would be told.
      if (isErrno(err, 'ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL')) return null;
      throw err;
    }
  }

  /** EEXIST when the table has a route to that destination with that metric. */
  async add(route: NewRoute): Promise<void> {
    await this.socket.request(formatRoute(c.RTM_NEWROUTE, c.NLM_F_CREATE | c.NLM_F_EXCL, route));
  }

  async replace(route: NewRoute): Promise<void> {
    await this.socket.request(formatRoute(c.RTM_NEWROUTE, c.NLM_F_CREATE | c.NLM_F_REPLACE, route));
  }

  /** Removes the first route that matches all that is given. ESRCH when there is none. */
  async remove(route: NewRoute): Promise<void> {
    await this.socket.request(formatRoute(c.RTM_DELROUTE, 0, route));
  }
}

/** Null for families and types that are not of this module, and for cached routes. */
export function parseRoute(message: NetlinkMessage): Route | null {
  const { payload } = message;
  const family = familyFromNumber(payload.readUInt8(0));
  const typeNumber = payload.readUInt8(7);
  const type = (Object.keys(routeTypes) as RouteType[]).find((name) => routeTypes[name] === typeNumber);
  if (family === null || !type || payload.readUInt32LE(8) & c.RTM_F_CLONED) return null;
  const attributes = new Attributes(payload.subarray(headerBytes));
  const destination = attributes.ip(c.RTA_DST) ?? numberToIp(0n, family);
  return {
    destination: formatCidr({ family, base: ipToNumber(destination), prefixLength: payload.readUInt8(1) }),
    type,
    table: attributes.u32(c.RTA_TABLE) ?? payload.readUInt8(4),
    protocol: payload.readUInt8(5),
    scope: payload.readUInt8(6),
    gateway: attributes.ip(c.RTA_GATEWAY) ?? parseVia(attributes),
    outIndex: attributes.u32(c.RTA_OIF) ?? null,
    source: attributes.ip(c.RTA_PREFSRC) ?? null,
    priority: attributes.u32(c.RTA_PRIORITY) ?? 0,
    onlink: (payload.readUInt32LE(8) & c.RTNH_F_ONLINK) !== 0,
  };
}

/** struct rtvia: a gateway of the other family. */
function parseVia(attributes: Attributes): Ip | null {
  const via = attributes.bytes(c.RTA_VIA);
  return via ? bytesToIp(via.subarray(2)) : null;
}

export function formatRoute(type: number, flags: number, route: NewRoute): NetlinkRequest {
  const { family, base, prefixLength } = parseCidr(route.destination);
  const routeType = route.type ?? 'unicast';
  const table = route.table ?? c.RT_TABLE_MAIN;
  const removing = type === c.RTM_DELROUTE;
  const fixed = Buffer.alloc(headerBytes);
  fixed.writeUInt8(familyNumber(family), 0);
  fixed.writeUInt8(prefixLength, 1);
  fixed.writeUInt8(table < 256 ? table : c.RT_TABLE_COMPAT, 4);
  fixed.writeUInt8(route.protocol ?? (removing ? c.RTPROT_UNSPEC : c.RTPROT_BOOT), 5);
  fixed.writeUInt8(
    route.scope ?? (removing ? c.RT_SCOPE_NOWHERE : defaultScope(family, routeType, route)),
    6,
  );
  fixed.writeUInt8(removing && !route.type ? 0 : routeTypes[routeType], 7);
  fixed.writeUInt32LE(route.onlink ? c.RTNH_F_ONLINK : 0, 8);
  const attributes = new AttributeWriter().ip(c.RTA_DST, numberToIp(base, family)).u32(c.RTA_TABLE, table);
  if (route.gateway) writeGateway(attributes, family, route.gateway);
  if (route.outIndex) attributes.u32(c.RTA_OIF, route.outIndex);
  if (route.source) attributes.ip(c.RTA_PREFSRC, route.source);
  if (route.priority !== undefined) attributes.u32(c.RTA_PRIORITY, route.priority);
  return { type, flags, payload: Buffer.concat([fixed, attributes.toBuffer()]) };
}

function writeGateway(attributes: AttributeWriter, family: Family, gateway: Ip): void {
  if (familyOf(gateway) === family) {
    attributes.ip(c.RTA_GATEWAY, gateway);
    return;
  }
  const familyField = Buffer.alloc(2);
  familyField.writeUInt16LE(familyNumber(familyOf(gateway)));
  attributes.bytes(c.RTA_VIA, Buffer.concat([familyField, ipToBytes(gateway)]));
}

function defaultScope(family: Family, type: RouteType, route: NewRoute): number {
  if (family === 6) return c.RT_SCOPE_UNIVERSE;
  if (type === 'local') return c.RT_SCOPE_HOST;
  const direct = type === 'broadcast' || type === 'anycast' || type === 'multicast';
  return direct || (type === 'unicast' && !route.gateway) ? c.RT_SCOPE_LINK : c.RT_SCOPE_UNIVERSE;
}
