/**
 * VNI, subnets and gateways of a network. What is chosen here is the lowest that is free; what is taken is read from the other networks,
 * so there is no counter to lose. Subnets that users write may overlap one another, each network being a world of its own,
 * but none may overlap ingress's: a task with published ports is on both. A subnet chosen here keeps clear of every other
 * network and of every node's routes. What cannot be had leaves the network unallocated, as in Swarm: tasks on it wait,
 * and it is tried again whenever something changes. What can be told at once, the API refuses.
 */
import type { Cidr, Family, Ip } from '../../model/addresses.js';
import {
  addressBits,
  cidrsOverlap,
  formatCidr,
  normalizeCidr,
  numberToIp,
  parseCidr,
} from '../../model/addresses.js';
import type { Vni } from '../../model/ids.js';
import { defaultAliasRanges, ingressPrefixLengthMin, vniClass } from '../../model/network-laws.js';
import { pinnedVni } from '../../model/network-options.js';
import type { NetworkSubnet } from '../../model/network-subnets.js';
import { subnetsOf } from '../../model/network-subnets.js';
import type { Cluster, IpamConfig, Network } from '../../model/objects.js';
import { auxiliaryAddresses, usableHostParts } from './address-pool.js';

/** Swarm's first VNI (overlay driver manager). */
export const firstVni = 4096;

export type NetworkAllocation = NonNullable<Network['allocation']>;
export type TakenNetwork = NetworkAllocation & { readonly ingress: boolean };

/** What is no longer to be had. */
export interface Taken {
  /** All other networks. */
  readonly networks: readonly TakenNetwork[];
  /** Where nodes have routes to. */
  readonly routes: readonly Cidr[];
}

/** What the network gets, or undefined while it can have nothing. */
export function allocateNetwork(
  cluster: Pick<Cluster, 'defaultAddrPool' | 'subnetSize'>,
  network: Network,
  taken: Taken,
): NetworkAllocation | undefined {
  const vni = chooseVni(network, taken.networks);
  if (vni === undefined) return undefined;
  const { configs } = network.spec.ipam;
  const chosen =
    configs.length > 0
      ? configs.map((config) => explicitSubnet(network, config, taken.networks))
      : [subnetFromPools(cluster, network.spec.ingress, [...subnetsOfAll(taken.networks), ...taken.routes])];
  const subnets = chosen.flatMap((subnet, index): NetworkSubnet[] => {
    if (subnet === undefined) return [];
    const gateway = configs[index]?.gateway ?? firstUsable(subnet, configs[index]);
    return gateway === undefined ? [] : [{ subnet, gateway }];
  });
  const [first, ...furtherSubnets] = subnets;
  // All of them or none: those that were asked for are there when the network is.
  if (first === undefined || subnets.length < chosen.length) return undefined;
  return { vni, ...first, ...(furtherSubnets.length > 0 && { furtherSubnets }) };
}

const subnetsOfAll = (networks: readonly TakenNetwork[]): Cidr[] =>
  networks.flatMap((network) => subnetsOf(network).map(({ subnet }) => subnet));

function chooseVni({ spec }: Network, taken: readonly TakenNetwork[]): Vni | undefined {
  const classes = new Set([0, ...taken.map(({ vni }) => vniClass(vni))]);
  const isFree = (vni: number): vni is Vni => !classes.has(vniClass(vni));
  const pinned = pinnedVni(spec.driverOptions);
  if (pinned !== undefined) return isFree(pinned) ? pinned : undefined;
  // Behind these come the same low halves again.
  for (let vni = firstVni; vni < firstVni + 2 ** 16; vni++) if (isFree(vni)) return vni;
  return undefined;
}

function explicitSubnet(
  { spec }: Network,
  { subnet }: IpamConfig,
  taken: readonly TakenNetwork[],
): Cidr | undefined {
  const normal = normalizeCidr(subnet);
  const kept = subnetsOfAll(taken.filter(({ ingress }) => ingress || spec.ingress));
  return [...Object.values(defaultAliasRanges), ...kept].some((other) => cidrsOverlap(other, normal))
    ? undefined
    : normal;
}

/** The first subnet of the cluster's size in its pools that overlaps none of `taken`; undefined when there is none. */
export function subnetFromPools(
  cluster: Pick<Cluster, 'defaultAddrPool' | 'subnetSize'>,
  ingress: boolean,
  taken: readonly Cidr[],
): Cidr | undefined {
  const extents = [...Object.values(defaultAliasRanges), ...taken]
    .map(extentOf)
    .sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
  for (const pool of cluster.defaultAddrPool) {
    const { family, first, last } = extentOf(pool);
    const size = ingress ? Math.max(cluster.subnetSize, ingressPrefixLengthMin(family)) : cluster.subnetSize;
    const step = 1n << BigInt(addressBits(family) - size);
    let candidate = first;
    for (const other of extents) {
      if (other.family !== family || other.last < candidate) continue;
      // In order of their beginnings: the rest begins behind it, too.
      if (other.first >= candidate + step) break;
      candidate = first + ((other.last - first) / step + 1n) * step;
    }
    if (candidate + step - 1n <= last) return formatCidr({ family, base: candidate, prefixLength: size });
  }
  return undefined;
}

/** First and last address of a subnet, as numbers. */
function extentOf(subnet: Cidr): { family: Family; first: bigint; last: bigint } {
  const { family, base, prefixLength } = parseCidr(subnet);
  return { family, first: base, last: base + (1n << BigInt(addressBits(family) - prefixLength)) - 1n };
}

/** Swarm's gateway is the first address of the range, where one is given. */
function firstUsable(subnet: Cidr, config: IpamConfig | undefined): Ip | undefined {
  const { base, family } = parseCidr(subnet);
  const { first, last } = usableHostParts(subnet, config?.range);
  const kept = new Set(auxiliaryAddresses(config));
  for (let host = first; host <= last; host++) {
    const address = numberToIp(base + BigInt(host), family);
    if (!kept.has(address)) return address;
  }
  return undefined;
}
