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
import type { Cidr, Ip } from '../../model/addresses.js';
import type { Overlay, PublishedPort } from '../state.js';
import { jump } from './firewall.js';
import { bridgeMac, bridgeName, hostLinkName, loopbackSet, mirrorAddress } from './names.js';
import type { KernelObject } from './objects.js';
import { mainTable } from './objects.js';

const loopback = '127.0.0.0/8';
const mirror = `${mirrorAddress}/32`;

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
export const markMirrored = `-s ${mirror} -i ${hostLinkName} -j SET --map-set ${loopbackSet} dst,dst --map-mark`;

/** Both ways of a mirrored call. */
export const acceptMirrored = `-s ${mirror} -i ${hostLinkName} -j ACCEPT`;

/** @param matches sets of the ports that listen on the loopback network */
export const planHostLoopback = ({ own }: Overlay, matches: readonly PortMatch[]): KernelObject[] => [
  // A call keeps 127.0.0.1 as its source until it leaves by this device; nobody else may send us such packets.
  { kind: 'sysctl', path: `net/ipv4/conf/${hostLinkName}/route_localnet`, value: '1' },
  { kind: 'neighbour', device: hostLinkName, address: mirrorAddress, mac: bridgeMac(own.mac) },
  {
    kind: 'route',
    table: mainTable,
    type: 'unicast',
    destination: mirror as Cidr,
    device: hostLinkName,
    via: null,
    source: null,
  },
  {
    kind: 'chain',
    table: 'raw',
    name: 'SKEP-RAW',
    rules: [`-d ${loopback} -i ${hostLinkName} -j DROP`],
  },
  {
    kind: 'chain',
    table: 'nat',
    name: 'SKEP-OUTPUT',
    rules: matches.map(
      ({ set, protocol, fields }) =>
        `-d ${loopback} ${protocol}-m set --match-set ${set} ${fields} -j DNAT --to-destination ${mirrorAddress}`,
    ),
  },
  {
    kind: 'chain',
    table: 'nat',
    name: 'SKEP-POSTROUTING',
    rules: [`-s ${loopback} -o ${hostLinkName} -j SNAT --to-source ${own.address}`],
  },
  jump('raw', 'PREROUTING', 'SKEP-RAW'),
  jump('nat', 'OUTPUT', 'SKEP-OUTPUT'),
  jump('nat', 'POSTROUTING', 'SKEP-POSTROUTING'),
];

/** In ingress's namespace: the mirror. */
export const planMirror = ({ own }: Overlay): KernelObject[] => [
  {
    kind: 'chain',
    table: 'raw',
    name: 'SKEP-RAW',
    rules: [`-s ${own.address}/32 -d ${mirror} -j ACCEPT`, '-j CT --notrack'],
  },
  {
    kind: 'chain',
    table: 'nat',
    name: 'SKEP-MIRROR',
    rules: [`-s ${own.address}/32 -d ${mirror} -j DNAT --to-destination ${own.address}`],
  },
  {
    kind: 'chain',
    table: 'nat',
    name: 'SKEP-MIRRORED',
    rules: [
      `-s ${own.address}/32 -d ${own.address}/32 -o ${bridgeName} -j SNAT --to-source ${mirrorAddress}`,
    ],
  },
  jump('raw', 'PREROUTING', 'SKEP-RAW'),
  jump('nat', 'PREROUTING', 'SKEP-MIRROR'),
  jump('nat', 'POSTROUTING', 'SKEP-MIRRORED'),
];
