/**
 * Calls of a node's own processes to 127.0.0.1, for `ipvs`. Their source may not leave the node, so they must be translated before
 * IPVS has them; and IPVS, which keeps its flows out of connection tracking, gives replies straight to a socket, so nobody
 * could translate them back. Hence IPVS sees such a call on a second way in: the host translates it (127.0.0.1 to the
 * mirror's address, its own source to the node's address on ingress) and routes it to ingress's namespace, which
 * sends it back mirrored, as the mirror's call of the node. From there on it is any client's: the reply goes to the mirror,
 * back through both translations, to the socket.
 *
 * Tasks see the mirror's address as their client. Connections are tracked for these calls alone: in ingress's namespace
 * everything else is kept out of it, and in the host they are as tracked as any call of a process.
 */
import type { Family, Ip } from '../../model/addresses.js';
import { familyOf, hostCidr, loopbackNetworks } from '../../model/addresses.js';
import type { Overlay, PublishedPort } from '../state.js';
import { jump } from './firewall.js';
import { bridgeMac, bridgeName, hostLinkName, loopbackSet, mirrorAddresses } from './names.js';
import type { KernelObject } from './objects.js';
import { mainTable, sysctl } from './objects.js';

/** A published port's set, and how packets are looked up in it. */
export interface PortMatch {
  readonly set: string;
  /** What an iptables rule says before, e.g. `-p tcp `, or ''. */
  readonly protocol: string;
  readonly fields: 'dst' | 'dst,dst';
}

/** The element of {@link loopbackSet} by which a mirrored call of a limited port is known. */
export const mirroredElement = (own: Ip, protocol: PublishedPort['protocol'], port: number): string =>
  `${own},${protocol}:${port}`;

/** A rule for the chain that marks: what comes from the mirror was let through on its way there. */
export const markMirrored = (family: Family): string =>
  `-s ${hostCidr(mirrorAddresses[family])} -i ${hostLinkName} -j SET --map-set ${loopbackSet(family)} dst,dst --map-mark`;

/** Both ways of a mirrored call. */
export const acceptMirrored = (family: Family): string =>
  `-s ${hostCidr(mirrorAddresses[family])} -i ${hostLinkName} -j ACCEPT`;

/** @param matches sets of the ports that listen on the loopback network */
export function planHostLoopback({ own }: Overlay, matches: readonly PortMatch[]): KernelObject[] {
  const family = familyOf(own.address);
  const [loopback, mirror] = [loopbackNetworks[family], mirrorAddresses[family]];
  return [
    ...loopbackSysctls[family],
    { kind: 'neighbour', device: hostLinkName, address: mirror, mac: bridgeMac(own.mac) },
    {
      kind: 'route',
      table: mainTable,
      type: 'unicast',
      destination: hostCidr(mirror),
      device: hostLinkName,
      via: null,
      source: null,
    },
    {
      kind: 'chain',
      family,
      table: 'raw',
      name: 'SKEP-RAW',
      rules: [`-d ${loopback} -i ${hostLinkName} -j DROP`],
    },
    {
      kind: 'chain',
      family,
      table: 'nat',
      name: 'SKEP-OUTPUT',
      rules: matches.map(
        ({ set, protocol, fields }) =>
          `-d ${loopback} ${protocol}-m set --match-set ${set} ${fields} -j DNAT --to-destination ${mirror}`,
      ),
    },
    {
      kind: 'chain',
      family,
      table: 'nat',
      name: 'SKEP-POSTROUTING',
      rules: [`-s ${loopback} -o ${hostLinkName} -j SNAT --to-source ${own.address}`],
    },
    jump(family, 'raw', 'PREROUTING', 'SKEP-RAW'),
    jump(family, 'nat', 'OUTPUT', 'SKEP-OUTPUT'),
    jump(family, 'nat', 'POSTROUTING', 'SKEP-POSTROUTING'),
  ];
}

/**
 * A call keeps a loopback address as its source until it leaves by this device; nobody else may send us such packets. IPv6 asks only
 * at a packet's arrival.
 */
const loopbackSysctls: Readonly<Record<Family, readonly KernelObject[]>> = {
  4: [sysctl(`net/ipv4/conf/${hostLinkName}/route_localnet`, '1')],
  6: [],
};

/** In ingress's namespace: the mirror. */
export function planMirror({ own }: Overlay): KernelObject[] {
  const family = familyOf(own.address);
  const mirror = mirrorAddresses[family];
  const [ownNetwork, mirrorNetwork] = [hostCidr(own.address), hostCidr(mirror)];
  return [
    {
      kind: 'chain',
      family,
      table: 'raw',
      name: 'SKEP-RAW',
      rules: [`-s ${ownNetwork} -d ${mirrorNetwork} -j ACCEPT`, '-j CT --notrack'],
    },
    {
      kind: 'chain',
      family,
      table: 'nat',
      name: 'SKEP-MIRROR',
      rules: [`-s ${ownNetwork} -d ${mirrorNetwork} -j DNAT --to-destination ${own.address}`],
    },
    {
      kind: 'chain',
      family,
      table: 'nat',
      name: 'SKEP-MIRRORED',
      rules: [`-s ${ownNetwork} -d ${ownNetwork} -o ${bridgeName} -j SNAT --to-source ${mirror}`],
    },
    jump(family, 'raw', 'PREROUTING', 'SKEP-RAW'),
    jump(family, 'nat', 'PREROUTING', 'SKEP-MIRROR'),
    jump(family, 'nat', 'POSTROUTING', 'SKEP-MIRRORED'),
  ];
}
