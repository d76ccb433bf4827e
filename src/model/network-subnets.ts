/**
 * The subnets of a network. Most have one; all that has one gateway and subnet may have further ones, and is asked here for all of
 * them. Their addresses are numbered through, so that one number tells an address of any of them: the host part in the first
 * one, and on from its size in those after it.
 */
import assert from 'node:assert';
import type { Cidr, Ip } from './addresses.js';
import { addressBits, cidrContains, hostPart, numberToIp, parseCidr } from './addresses.js';

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
