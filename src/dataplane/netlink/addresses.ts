/** Addresses of links (struct ifaddrmsg). */
import type { Cidr, Family, Ip } from '../../model/addresses.js';
import { cidrContains, familyOf } from '../../model/addresses.js';
import { Attributes, AttributeWriter } from './attributes.js';
import * as c from './constants.js';
import type { NetlinkMessage, NetlinkRequest } from './message.js';
import { familyFromNumber, familyNumber } from './message.js';
import type { NetlinkSocket } from './socket.js';

const headerBytes = 8;

export interface LinkAddress {
  /** Index of the link. */
  readonly index: number;
  readonly address: Ip;
  readonly prefixLength: number;
  /** RT_SCOPE_…: 0 universe, 253 link, 254 host. */
  readonly scope: number;
  /** Set by hand; not by router advertisement or the kernel's own wish. */
  readonly permanent: boolean;
  /** IPv6 only: duplicate detection is under way and the address cannot be used yet. */
  readonly tentative: boolean;
}

export interface NewLinkAddress {
  readonly index: number;
  readonly address: Ip;
  readonly prefixLength: number;
  readonly scope?: number;
  /** True keeps the kernel from making the prefix's route. */
  readonly noPrefixRoute?: boolean;
  /** IPv6: no duplicate detection, so that the address works at once. */
  readonly noDad?: boolean;
}

/** RFC 4291. */
const linkLocalNetwork = 'fe80::/10' as Cidr;

/** IPv6 gives every device an address of the link alone by itself. */
export const isKernelsOwn = (address: Ip): boolean =>
  familyOf(address) === 6 && cidrContains(linkLocalNetwork, address);

/** The addresses of one namespace. Methods reject with NetlinkError on the kernel's refusal. */
export class Addresses {
  constructor(private readonly socket: NetlinkSocket) {}

  /** All addresses, or those of one link or family. */
  async list(filter: { index?: number; family?: Family } = {}): Promise<LinkAddress[]> {
    const payload = header(
      filter.family ? familyNumber(filter.family) : c.AF_UNSPEC,
      0,
      0,
      filter.index ?? 0,
    );
    const messages = await this.socket.dump({ type: c.RTM_GETADDR, flags: 0, payload });
    return messages.map(parseAddress).filter((address) => address !== null);
  }

  /** EEXIST when the link has the address. */
  async add(address: NewLinkAddress): Promise<void> {
    await this.socket.request(formatAddress(c.RTM_NEWADDR, c.NLM_F_CREATE | c.NLM_F_EXCL, address));
  }

  async replace(address: NewLinkAddress): Promise<void> {
    await this.socket.request(formatAddress(c.RTM_NEWADDR, c.NLM_F_CREATE | c.NLM_F_REPLACE, address));
  }

  /** EADDRNOTAVAIL when the link has no such address. */
  async remove(address: NewLinkAddress): Promise<void> {
    await this.socket.request(formatAddress(c.RTM_DELADDR, 0, address));
  }
}

/** Null for a family that is neither IPv4 nor IPv6. */
export function parseAddress(message: NetlinkMessage): LinkAddress | null {
  const { payload } = message;
  const attributes = new Attributes(payload.subarray(headerBytes));
  // On point-to-point links IFA_ADDRESS is the other side's; IPv6 leaves IFA_LOCAL out where they are the same.
  const address = attributes.ip(c.IFA_LOCAL) ?? attributes.ip(c.IFA_ADDRESS);
  if (familyFromNumber(payload.readUInt8(0)) === null || !address) return null;
  const flags = attributes.u32(c.IFA_FLAGS) ?? payload.readUInt8(2);
  return {
    index: payload.readUInt32LE(4),
    address,
    prefixLength: payload.readUInt8(1),
    scope: payload.readUInt8(3),
    permanent: (flags & c.IFA_F_PERMANENT) !== 0,
    tentative: (flags & c.IFA_F_TENTATIVE) !== 0,
  };
}

export function formatAddress(type: number, flags: number, address: NewLinkAddress): NetlinkRequest {
  const attributes = new AttributeWriter()
    .ip(c.IFA_LOCAL, address.address)
    .ip(c.IFA_ADDRESS, address.address);
  const addressFlags =
    (address.noPrefixRoute ? c.IFA_F_NOPREFIXROUTE : 0) | (address.noDad ? c.IFA_F_NODAD : 0);
  if (addressFlags) attributes.u32(c.IFA_FLAGS, addressFlags);
  const family = familyNumber(familyOf(address.address));
  const fixed = header(family, address.prefixLength, address.scope ?? c.RT_SCOPE_UNIVERSE, address.index);
  return { type, flags, payload: Buffer.concat([fixed, attributes.toBuffer()]) };
}

function header(family: number, prefixLength: number, scope: number, index: number): Buffer {
  const buffer = Buffer.alloc(headerBytes);
  buffer.writeUInt8(family, 0);
  buffer.writeUInt8(prefixLength, 1);
  buffer.writeUInt8(scope, 3);
  buffer.writeUInt32LE(index, 4);
  return buffer;
}
