/**
 * The subnets of a network. Most have one; all that has one gateway and subnet may have further ones, and is asked here for all of
 * them. Their addresses are numbered through, so that one number tells an address of any of them: the host part in the first
 * one, and on from its size in those after it.
 */
import assert from 'node:assert';
import type { Cidr, Ip } from './addresses.js';
import {
  addressBits,
  cidrContains,
  familyOf,
  hostPart,
  ipv4ToNumber,
  numberToIp,
  parseCidr,
} from './addresses.js';

export interface NetworkSubnet {
  readonly subnet: Cidr;
  readonly gateway: Ip;
}

/** The first subnet, and the others. */
export interface NetworkSubnets extends NetworkSubnet {
  /** Absent: there are none. Never empty. */
  readonly furtherSubnets?: readonly NetworkSubnet[];
}

export const subnetsOf = ({
  subnet,
  gateway,
  furtherSubnets = [],
}: NetworkSubnets): readonly NetworkSubnet[] => [{ subnet, gateway }, ...furtherSubnets];

/** The subnet that the address is in, with its gateway; undefined: in none. */
export const subnetAround = (network: NetworkSubnets, address: Ip): NetworkSubnet | undefined =>
  subnetsOf(network).find(({ subnet }) => cidrContains(subnet, address));

/** Those that the address is not in. */
export const otherSubnets = (network: NetworkSubnets, address: Ip): readonly Cidr[] =>
  subnetsOf(network).flatMap(({ subnet }) => (cidrContains(subnet, address) ? [] : [subnet]));

/** How many addresses the subnet has. */
export const subnetSize = (subnet: Cidr): bigint => {
  const { family, prefixLength } = parseCidr(subnet);
  return 1n << BigInt(addressBits(family) - prefixLength);
};

/** The address's number in the network; undefined: it is in none of its subnets. */
export function hostNumber(network: NetworkSubnets, address: Ip): bigint | undefined {
  let before = 0n;
  for (const { subnet } of subnetsOf(network)) {
    if (cidrContains(subnet, address)) return before + hostPart(subnet, address);
    before += subnetSize(subnet);
  }
  return undefined;
}

/** {@link hostNumber} for many addresses of one network: its subnets are read once. Numbers are below 2^53. */
export function hostNumbers(network: NetworkSubnets): (address: Ip) => number | undefined {
  const ranges: { readonly base: number; readonly size: number; readonly before: number }[] = [];
  let before = 0;
  for (const { subnet } of subnetsOf(network)) {
    const { base, family } = parseCidr(subnet);
    const size = Number(subnetSize(subnet));
    if (family === 4) ranges.push({ base: Number(base), size, before });
    before += size;
  }
  const isOfIpv4 = ranges.length > 0;
  return (address) => {
    if (familyOf(address) === 6 || !isOfIpv4) {
      const number = hostNumber(network, address);
      return number === undefined ? undefined : Number(number);
    }
    const number = ipv4ToNumber(address);
    const range = ranges.find(({ base, size }) => number >= base && number < base + size);
    return range && number - range.base + range.before;
  };
}

/** The inverse of {@link hostNumber}. */
export function addressAt(network: NetworkSubnets, number: bigint): Ip {
  let before = 0n;
  for (const { subnet } of subnetsOf(network)) {
    const size = subnetSize(subnet);
    const { base, family } = parseCidr(subnet);
    if (number < before + size) return numberToIp(base + number - before, family);
    before += size;
  }
  assert.fail(`the network has no address ${number}`);
}
