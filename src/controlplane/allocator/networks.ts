/**
 * VNI, subnet and gateway of a network. Both are the lowest that is free; what is taken is read from the other networks,
 * so there is no counter to lose. An explicit subnet that overlaps another network's, or a pinned VNI in use, leaves the
 * network unallocated, as in Swarm: tasks on it wait, and it is tried again whenever something changes.
 */
import type { Cidr, Ip } from '../../model/addresses.js';
import { cidrsOverlap, formatCidr, normalizeCidr, numberToIp, parseCidr } from '../../model/addresses.js';
import type { Vni } from '../../model/ids.js';
import { ingressPrefixLengthMin } from '../../model/network-laws.js';
import type { Cluster, Network } from '../../model/objects.js';
import { usableHostParts } from './address-pool.js';

/** Swarm's first VNI (overlay driver manager), and the last of 24 bits. */
export const firstVni = 4096;
export const lastVni = 2 ** 24 - 1;

/** The option by which users pin VNIs; a comma-separated list, of which the one subnet takes the first. */
export const vniOption = 'com.docker.network.driver.overlay.vxlanid_list';

export type NetworkAllocation = NonNullable<Network['allocation']>;

/** What the network gets, or undefined while it can have nothing. `taken`: the allocations of all other networks. */
export function allocateNetwork(
  cluster: Pick<Cluster, 'defaultAddrPool' | 'subnetSize'>,
  network: Network,
  taken: readonly NetworkAllocation[],
): NetworkAllocation | undefined {
  const vni = chooseVni(network, taken);
  const config = network.spec.ipam.configs[0];
  const subnet = config ? explicitSubnet(config.subnet, taken) : subnetFromPool(cluster, network, taken);
  if (vni === undefined || subnet === undefined) return undefined;
  return { vni, subnet, gateway: config?.gateway ?? firstUsable(subnet) };
}

function chooseVni(network: Network, taken: readonly NetworkAllocation[]): Vni | undefined {
  const used = new Set<number>(taken.map(({ vni }) => vni));
  const pinned = network.spec.driverOptions[vniOption];
  if (pinned !== undefined) {
    const vni = Number(pinned.split(',')[0]);
    return Number.isInteger(vni) && vni > 0 && vni <= lastVni && !used.has(vni) ? (vni as Vni) : undefined;
  }
  for (let vni = firstVni; vni <= lastVni; vni++) if (!used.has(vni)) return vni as Vni;
  return undefined;
}

function explicitSubnet(subnet: Cidr, taken: readonly NetworkAllocation[]): Cidr | undefined {
  const normal = normalizeCidr(subnet);
  return taken.some((other) => cidrsOverlap(other.subnet, normal)) ? undefined : normal;
}

function subnetFromPool(
  cluster: Pick<Cluster, 'defaultAddrPool' | 'subnetSize'>,
  network: Network,
  taken: readonly NetworkAllocation[],
): Cidr | undefined {
  const { ingress } = network.spec;
  const subnetSize = ingress ? Math.max(cluster.subnetSize, ingressPrefixLengthMin) : cluster.subnetSize;
  for (const pool of cluster.defaultAddrPool) {
    const { base, family, prefixLength } = parseCidr(pool);
    const step = 1n << BigInt((family === 4 ? 32 : 128) - subnetSize);
    // Each network spoils at most one candidate of its own size, a larger one is stepped over whole.
    const candidates = subnetSize < prefixLength ? 0n : 1n << BigInt(subnetSize - prefixLength);
    for (let i = 0n; i < candidates;) {
      const subnet = formatCidr({ family, base: base + i * step, prefixLength: subnetSize });
      const clash = taken.find((other) => cidrsOverlap(other.subnet, subnet));
      if (!clash) return subnet;
      const held = parseCidr(clash.subnet);
      const heldEnd = held.base + (1n << BigInt((family === 4 ? 32 : 128) - held.prefixLength));
      const next = (heldEnd - base + step - 1n) / step;
      i = next > i ? next : i + 1n;
    }
  }
  return undefined;
}

function firstUsable(subnet: Cidr): Ip {
  const { base, family } = parseCidr(subnet);
  return numberToIp(base + BigInt(usableHostParts(subnet).first), family);
}
