/** Bounds that the dataplane's arithmetic sets to what users may ask for; checked where input enters. */
import type { Cidr, Family } from './addresses.js';
import { addressBits } from './addresses.js';
import type { Vni } from './ids.js';

/**
 * Aliases never leave the tunnel. Class E is used by nobody else; of IPv6 it is a part of a unique local network (RFC 4193) that is
 * Skep's own.
 */
export const defaultAliasRanges: Readonly<Record<Family, Cidr>> = {
  4: '240.0.0.0/4' as Cidr,
  6: 'fd53:6b65:70a1::/100' as Cidr,
};

/** Bits of a mesh alias that name the node, and bits that name the task: a /4 of IPv4 leaves 28. */
export const aliasPartBits = 14;

/** The smallest range of aliases, as its prefix length. */
export const aliasRangePrefixLengthMax = (family: Family): number => addressBits(family) - 2 * aliasPartBits;

/** The largest ingress subnet, as its prefix length: host parts must fit an alias (ADR 5). */
export const ingressPrefixLengthMin = (family: Family): number => addressBits(family) - aliasPartBits;

/** What the MTU option of a network may say: enough for IPv4's smallest packet (RFC 791) behind every header of ours. */
export const mtuBytesMin = 576;
export const mtuBytesMax = 65_535;

/** Host parts of VIPs stand in the low bits of packet marks (dataplane/state.ts). */
export const hostPartBitsMax = 24;

/** VXLAN's 24 bits, and 0 is no network. */
export const vniMax = 2 ** 24 - 1;

/**
 * What programs on an overlay's ports know it by: the kernel hands them 16 bits of a filter's class. Of a cluster's networks no
 * two have the same, for their addresses may overlap, and none has 0, which is no overlay's.
 */
export const vniClass = (vni: Vni | number): number => vni & 0xffff;
