/**
 * The `ebpf` engine's part of the plan: which program hangs on which device, and what the maps hold for it (native/bpf/).
 * No conntrack, no ipset, no mark per packet; one table look-up returns a reply to the node that its alias names.
 *
 * In the host, published ports answer wherever an address is: a program on each device that has one, so the plan depends on
 * what the host's namespace holds and follows it. Requests skip the host's chains unless the administrator has rules in
 * SKEP-USER: then they are marked and take the host's road through FORWARD.
 */
import type { Cidr, Family, Ip } from '../../model/addresses.js';
import {
  cidrContains,
  familyOf,
  hostPart,
  loopbackNetworks,
  overlapsLoopback,
} from '../../model/addresses.js';
import { vniClass } from '../../model/network-laws.js';
import { portName } from '../sandbox.js';
import type { Overlay } from '../state.js';
import type { BalancerPlan } from './balancing.js';
import { acceptReplies, adminFilters, chainOfAdmin, jump, jumpToAdmin } from './firewall.js';
import type { BalancedFrontend } from './load-balancer.js';
import { balancedPorts, balancedVips } from './load-balancer.js';
import { anyMarkOfOurs, hostLinkName } from './names.js';
import type {
  Address,
  AliasNode,
  Chain,
  Filter,
  Jump,
  KernelObject,
  Link,
  Listener,
  Sysctl,
} from './objects.js';
import { anyLoopbackAddress } from './objects.js';

/** The addresses in packets that the programs read and in the keys of their maps: IPv4's, see docs/adr/0023. */
export const ebpfFamily = 4 satisfies Family;

/** Programs of the object file that are attached, each always on the same side of its devices. */
const hooks = {
  skep_uplink: 'ingress',
  skep_loopback: 'egress',
  skep_return: 'ingress',
  skep_vip: 'ingress',
  skep_alias: 'ingress',
} as const satisfies Record<string, Filter['hook']>;
type ProgramName = keyof typeof hooks;
export const programNames = Object.keys(hooks) as readonly ProgramName[];

/** @param tags of the loaded programs, by name: a device on which an older one hangs gets the loaded one */
export function ebpfPlan(tags: Readonly<Record<ProgramName, string>>): BalancerPlan {
  const filter = (device: string, program: ProgramName, classId = 0): Filter => ({
    kind: 'filter',
    device,
    hook: hooks[program],
    program,
    tag: tags[program],
    classId,
  });
  return {
    name: 'ebpf',
    families: [ebpfFamily],
    planOverlay: (_state, overlay, sandboxes) => [
      ...sandboxes.map(({ endpointId }) =>
        overlay.ingress
          ? filter(portName(endpointId), 'skep_alias')
          : filter(portName(endpointId), 'skep_vip', vniClass(overlay.vni)),
      ),
      ...balancedVips(overlay).flatMap(objectsOf),
    ],
    planHost: (state, ingress, mtuBytes, observed) => {
      const family = familyOf(ingress.subnet);
      const addresses = hostAddresses(family, observed);
      const holders = new Set(addresses.map(({ device }) => device));
      const links = observed.filter((object): object is Link => object.kind === 'link');
      const ports = balancedPorts(state, ingress);
      return [
        ...hostSysctls,
        ...hostChains(state.aliasRange),
        ...aliasNodes(ingress),
        {
          kind: 'mesh',
          ownAddress: ingress.own.address,
          ownMac: ingress.own.mac,
          device: hostLinkName,
          mtu: mtuBytes,
          aliasRange: state.aliasRange,
          throughChains: adminFilters(family, observed),
        },
        ...addresses.map(({ address }): KernelObject => ({ kind: 'localAddress', address })),
        filter(hostLinkName, 'skep_return'),
        filter('lo', 'skep_loopback'),
        ...links
          // A device without a MAC (a layer 3 tunnel) has no Ethernet header for the program to rewrite.
          .filter(({ name, mac }) => holders.has(name) && name !== 'lo' && mac !== undefined)
          .map(({ name }) => filter(name, 'skep_uplink')),
        ...ports.flatMap((port) => listenersOf(port, addresses)),
        ...ports.flatMap(objectsOf),
      ];
    },
  };
}

const objectsOf = ({ server, realServers }: BalancedFrontend): KernelObject[] => [server, ...realServers];

/** Addresses on which published ports answer: all of the host's but the loopback network, which the program knows. */
const hostAddresses = (family: Family, observed: readonly KernelObject[]): Address[] =>
  observed.filter(
    (object): object is Address =>
      object.kind === 'address' &&
      object.device !== hostLinkName &&
      familyOf(object.address) === family &&
      !cidrContains(loopbackNetworks[family], object.address),
  );

/**
 * Where a limited port listens here: addresses that the host holds, and devices that hold one (others have no program). One
 * look-up then tells of a request, whatever was asked for. Calls of the loopback network are allowed or not as a whole.
 */
function listenersOf(
  { server: { mark }, limits: { interfaces, cidrs } }: BalancedFrontend,
  addresses: readonly Address[],
): Listener[] {
  if (interfaces.length === 0 && cidrs.length === 0) return [];
  const devices = new Set(['lo', ...addresses.map(({ device }) => device)]);
  const held = new Set(addresses.map(({ address }) => address));
  const called: readonly (Ip | null)[] =
    cidrs.length === 0
      ? [null]
      : [
          ...[...held].filter((address) => cidrs.some((cidr) => cidrContains(cidr, address))),
          ...(cidrs.some(overlapsLoopback) ? [anyLoopbackAddress] : []),
        ];
  const by: readonly (string | null)[] =
    interfaces.length === 0 ? [null] : interfaces.filter((name) => devices.has(name));
  return by.flatMap((device) =>
    called.map((address): Listener => ({ kind: 'listener', mark, device, address })),
  );
}

/** Every node that replies may go to, this one included. */
function aliasNodes({ subnet, own, peers }: Overlay): AliasNode[] {
  return [own, ...peers].map(({ address, mac }) => ({
    kind: 'aliasNode',
    part: Number(hostPart(subnet, address)),
    mac,
  }));
}

/**
 * Replies to the node's own calls come in on `lo` from an address that is local or, for a caller at 127.0.0.1, to one that is
 * loopback's; requests that take the host's road come back in from sk-ingress's side.
 */
const hostSysctls: readonly Sysctl[] = (
  [
    ['lo/accept_local', '1'],
    ['lo/route_localnet', '1'],
    ['lo/rp_filter', '0'],
    [`${hostLinkName}/accept_local`, '1'],
  ] as const
).map(([name, value]) => ({ kind: 'sysctl', path: `net/ipv4/conf/${name}`, value }));

/**
 * Accepts ahead of Docker's policy for requests that take the host's road, and for what the node's own TCP is to reset, its flow
 * being forgotten; and no tracking of what the programs track. A local
 * container's packet may have been tracked on its bridge, before a program saw it (br_netfilter); then the engine's
 * masquerading of what leaves that bridge must pass it over, or the task would see the node for its client.
 */
export function hostChains(aliasRange: Cidr): (Chain | Jump)[] {
  const family = familyOf(aliasRange);
  return [
    chainOfAdmin(family),
    {
      kind: 'chain',
      family,
      table: 'filter',
      name: 'SKEP-INPUT',
      rules: [
        jumpToAdmin,
        `-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m mark --mark ${anyMarkOfOurs} -j ACCEPT`,
      ],
    },
    {
      kind: 'chain',
      family,
      table: 'filter',
      name: 'SKEP-FORWARD',
      rules: [jumpToAdmin, acceptReplies(aliasRange), `-d ${aliasRange} -o ${hostLinkName} -j ACCEPT`],
    },
    {
      kind: 'chain',
      family,
      table: 'raw',
      name: 'SKEP-RAW',
      rules: [`-s ${aliasRange} -j CT --notrack`, `-d ${aliasRange} -j CT --notrack`],
    },
    {
      kind: 'chain',
      family,
      table: 'nat',
      name: 'SKEP-POSTROUTING',
      rules: [`-d ${aliasRange} -o ${hostLinkName} -j ACCEPT`],
    },
    jump(family, 'nat', 'POSTROUTING', 'SKEP-POSTROUTING'),
    jump(family, 'raw', 'PREROUTING', 'SKEP-RAW'),
    jump(family, 'raw', 'OUTPUT', 'SKEP-RAW'),
    jump(family, 'filter', 'INPUT', 'SKEP-INPUT'),
    jump(family, 'filter', 'FORWARD', 'SKEP-FORWARD'),
  ];
}
