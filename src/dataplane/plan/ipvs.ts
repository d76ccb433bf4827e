/**
 * The `ipvs` engine's part of the plan: marks by ipset and mangle chain, virtual servers by mark, IPVS's sysctls. A mark that
 * turns packets over to IPVS exists only while somebody serves. On ingress, a rule and a table per peer return replies
 * to the node that their alias names.
 *
 * The sysctls: `conntrack=0`, because nothing here needs connection tracking and it halves the rate;
 * `expire_nodest_conn=1`, so a flow whose task is gone ends at its next packet rather than hanging for 15 minutes;
 * `conn_reuse_mode=1` (the kernel's default, written down as balancing depends on it: a client port seen again after
 * TIME_WAIT is a new flow and is balanced anew); `sloppy_tcp=0`, as picking up a flow in its middle would send it to
 * whichever backend is next, which resets it anyway; `expire_quiescent_template=1`, so that affinity to a draining task ends.
 * The timeouts are the kernel's own until somebody sets them, and 900 s for idle TCP is Swarm's best known fault.
 *
 * Nothing ends a UDP flow, and IPVS keeps it at a real server of weight 0 for as long as packets come. So for UDP a task that
 * drains is no real server at all while others serve, and expire_nodest_conn moves its flows at their next packet. A VIP has
 * a virtual server of its own for that.
 */
import type { Cidr, Family } from '../../model/addresses.js';
import {
  addressBits,
  anyCidr,
  families,
  familyOf,
  formatCidr,
  loopbackNetworks,
  overlapsLoopback,
  parseCidr,
} from '../../model/addresses.js';
import type { NodeNetworkState, Overlay } from '../state.js';
import { nodeAliasCidr } from '../state.js';
import type { PublishLimits } from '../../model/publishing.js';
import type { BalancerPlan } from './balancing.js';
import { acceptReplies, chainOfAdmin, jump, jumpToAdmin } from './firewall.js';
import {
  acceptMirrored,
  markMirrored,
  mirroredElement,
  planHostLoopback,
  planMirror,
} from './ipvs-loopback.js';
import { acceptResets, copyForgotten, resetForgotten } from './ipvs-resets.js';
import type { BalancedFrontend } from './load-balancer.js';
import { balancedPorts, balancedVips, flowIdleLimits } from './load-balancer.js';
import {
  addressSet,
  anyMarkOfOurs,
  bridgeName,
  deviceSet,
  loopbackSet,
  portSet,
  transitRulePriority,
  transitTable,
  udpVipBit,
  vipSet,
} from './names.js';
import type {
  Chain,
  Frontend,
  IpSet,
  IpSetEntry,
  IpvsTimeouts,
  Jump,
  KernelObject,
  RealServer,
  Route,
  Rule,
  Sysctl,
} from './objects.js';
import { routeProtocol } from './objects.js';

export const ipvsPlan: BalancerPlan = {
  name: 'ipvs',
  families,
  planOverlay: (state, overlay) => {
    const servers = balancedVips(overlay).flatMap(dress);
    return [
      ...(overlay.ingress
        ? [...planTransit(state, overlay), ...planMirror(overlay), ...resetForgotten(state, overlay)]
        : []),
      ...(servers.length > 0
        ? [...balancerSettings, ...overlayChains(familyOf(overlay.subnet)), ...servers]
        : []),
    ];
  },
  planHost: (state, ingress) => {
    const ports = balancedPorts(state, ingress);
    const family = familyOf(ingress.subnet);
    const devices = [...new Set(ports.flatMap(({ limits }) => limits.interfaces))].sort();
    const byAddress = ports.some(({ limits }) => limits.interfaces.length === 0 && limits.cidrs.length > 0);
    return [
      ...balancerSettings,
      ...hostChains(state.aliasRange, { devices, byAddress }),
      ...copyForgotten(state.aliasRange),
      ...planHostLoopback(ingress, [
        ...publishedProtocols.map(({ protocol, match }) => ({
          protocol: `-p ${protocol} `,
          set: portSet(family, protocol),
          fields: match,
        })),
        ...[
          ...(byAddress ? [addressSet(family)] : []),
          ...(devices.includes('lo') ? [deviceSet(family, 'lo')] : []),
        ].map((set) => ({ protocol: '', set, fields: 'dst,dst' }) as const),
      ]),
      ...ports.flatMap((port) => [...dress(port), ...mirroredEntries(port, ingress)]),
    ];
  },
};

const balancerSettings: readonly (Sysctl | IpvsTimeouts)[] = [
  ...(
    [
      ['conntrack', '0'],
      ['expire_nodest_conn', '1'],
      ['conn_reuse_mode', '1'],
      ['sloppy_tcp', '0'],
      ['expire_quiescent_template', '1'],
    ] as const
  ).map(([name, value]): Sysctl => ({ kind: 'sysctl', path: `net/ipv4/vs/${name}`, value })),
  {
    kind: 'ipvsTimeouts',
    tcpS: flowIdleLimits.tcpEstablishedS,
    tcpFinS: flowIdleLimits.tcpClosedS,
    udpS: flowIdleLimits.udpAnsweredS,
  },
];

/**
 * IPVS finds a virtual server by the packet's mark, and a backend's MAC by its address. A persistent one found by mark keeps the
 * port that the client called, as it has none of its own to compare it with (ip_vs_sched_persist). So a client keeps its
 * task on a published port by its address (`mh`): until the tasks change, whatever the seconds and the scheduler asked for.
 */
function dress({ server, realServers, open, limits }: BalancedFrontend): KernelObject[] {
  const { family, mark, scheduler, affinityS, frontend } = server;
  const balancing =
    affinityS !== null && frontend.kind === 'port'
      ? ({ scheduler: 'mh', affinityS: null } as const)
      : { scheduler, affinityS };
  const balanced = (of: number, servers: readonly RealServer[]): KernelObject[] => [
    { kind: 'virtualServer', family, mark: of, ...balancing },
    ...servers.map(({ address, port, method, weight }): KernelObject => ({
      kind: 'realServer',
      mark: of,
      address,
      port,
      method,
      weight,
    })),
  ];
  const ofUdp = open ? realServers.filter(({ weight }) => weight > 0) : realServers;
  return [
    ...balanced(mark, frontend.kind === 'port' && frontend.protocol === 'udp' ? ofUdp : realServers),
    ...(frontend.kind === 'vip' ? balanced(mark + udpVipBit, ofUdp) : []),
    ...(open
      ? setEntries(family, frontend, limits).map((entry) => ({ kind: 'ipsetEntry', ...entry, mark }) as const)
      : []),
  ];
}

/** A set of networks and ports knows no /0: both halves of all addresses. */
const everywhere = (family: Family): Cidr[] =>
  [0n, 1n << BigInt(addressBits(family) - 1)].map((base) => formatCidr({ family, base, prefixLength: 1 }));

function setEntries(
  family: Family,
  frontend: Frontend,
  limits: PublishLimits,
): Pick<IpSetEntry, 'set' | 'element'>[] {
  if (frontend.kind === 'vip') return [{ set: vipSet(family), element: frontend.address }];
  const { protocol, port } = frontend;
  const { interfaces, cidrs } = limits;
  if (interfaces.length === 0 && cidrs.length === 0 && protocol !== 'sctp')
    return [{ set: portSet(family, protocol), element: String(port) }];
  const networks =
    cidrs.length === 0 ? everywhere(family) : cidrs.flatMap((cidr) => setNetworks(family, cidr));
  const sets =
    interfaces.length > 0
      ? interfaces.map((device) => deviceSet(family, device))
      : [cidrs.length > 0 ? addressSet(family) : portSet(family, protocol)];
  return sets.flatMap((set) =>
    [...new Set(networks)].map((network) => ({ set, element: `${network},${protocol}:${port}` })),
  );
}

/** A limited port that listens on the loopback network is known by more than its port when its calls come back mirrored. */
function mirroredEntries({ server, open, limits }: BalancedFrontend, { own }: Overlay): KernelObject[] {
  const { mark, frontend } = server;
  if (!open || frontend.kind === 'vip' || frontend.limitedBy === undefined) return [];
  if (limits.interfaces.length > 0 && !limits.interfaces.includes('lo')) return [];
  if (limits.cidrs.length > 0 && !limits.cidrs.some((cidr) => reachesLoopback(server.family, cidr)))
    return [];
  const element = mirroredElement(own.address, frontend.protocol, frontend.port);
  return [{ kind: 'ipsetEntry', set: loopbackSet(server.family), element, mark }];
}

/** A network as elements of sets have it. Calls of the loopback network are allowed or not as a whole. */
function setNetworks(family: Family, cidr: Cidr): string[] {
  if (familyOf(cidr) !== family) return [];
  const whole = cidr === anyCidr(family) ? everywhere(family) : [elementOf(cidr)];
  return overlapsLoopback(cidr) ? [...whole, elementOf(loopbackNetworks[family])] : whole;
}

const reachesLoopback = (family: Family, cidr: Cidr): boolean =>
  familyOf(cidr) === family && overlapsLoopback(cidr);

/** As sets print it: one address without its prefix length. */
function elementOf(cidr: Cidr): string {
  const { family, prefixLength } = parseCidr(cidr);
  return prefixLength === addressBits(family) ? cidr.slice(0, cidr.indexOf('/')) : cidr;
}

/**
 * Replies with an alias of node k as their source go to k: a rule and a table per peer. This node's own go to the host at once, but
 * for those that IPVS has forgotten, see ipvs-resets.ts.
 */
function planTransit(state: NodeNetworkState, ingress: Overlay): (Rule | Route)[] {
  return [ingress.own, ...ingress.peers].flatMap((peer): (Rule | Route)[] => {
    const table = transitTable(ingress.subnet, peer.address);
    return [
      {
        kind: 'route',
        table,
        type: 'unicast',
        destination: anyCidr(familyOf(ingress.subnet)),
        device: bridgeName,
        via: peer.address,
        source: null,
      },
      {
        kind: 'rule',
        family: familyOf(ingress.subnet),
        priority: transitRulePriority,
        from: nodeAliasCidr(state.aliasRange, ingress.subnet, peer.address),
        to: null,
        iif: null,
        table,
        protocol: routeProtocol,
      },
    ];
  });
}

/** Protocols that a port can be published for; a set and a rule each. A set of ports alone matches TCP and UDP only. */
const publishedProtocols = [
  { protocol: 'tcp', type: 'bitmap:port', match: 'dst' },
  { protocol: 'udp', type: 'bitmap:port', match: 'dst' },
  { protocol: 'sctp', type: 'hash:net,port', match: 'dst,dst' },
] as const;

const hex = (value: number): string => `0x${value.toString(16)}`;

/** In an overlay's namespace: the destination's mark, if it is a balanced VIP. */
const overlayChains = (family: Family): (IpSet | Chain | Jump)[] => [
  { kind: 'ipset', name: vipSet(family), type: 'hash:ip', family },
  {
    kind: 'chain',
    family,
    table: 'mangle',
    name: 'SKEP-VIP',
    rules: [
      `-j SET --map-set ${vipSet(family)} dst --map-mark`,
      `-p udp -m mark --mark ${anyMarkOfOurs} -j MARK --set-xmark ${hex(udpVipBit)}/${hex(udpVipBit)}`,
    ],
  },
  jump(family, 'mangle', 'PREROUTING', 'SKEP-VIP'),
];

/**
 * In the host: the mark of a published port, for packets that arrive and for the node's own; and accepts ahead of
 * Docker's policy.
 * @param limited devices that some port is limited to, and whether some is limited to addresses alone: a set and a rule each
 */
export function hostChains(
  aliasRange: Cidr,
  limited: { readonly devices: readonly string[]; readonly byAddress: boolean },
): (IpSet | Chain | Jump)[] {
  const replies = acceptReplies(aliasRange);
  const family = familyOf(aliasRange);
  const limits = [
    ...(limited.byAddress ? [{ by: '', set: addressSet(family) }] : []),
    // The node's own calls have no device that they came in by.
    ...limited.devices.map((device) => ({
      by: device === 'lo' ? '-o lo ' : `-i ${device} `,
      set: deviceSet(family, device),
    })),
  ];
  return [
    ...[...limits.map(({ set }) => set), ...(limits.length > 0 ? [loopbackSet(family)] : [])].map(
      (name): IpSet => ({
        kind: 'ipset',
        name,
        type: 'hash:net,port',
        family,
      }),
    ),
    ...publishedProtocols.map(({ protocol, type }): IpSet => ({
      kind: 'ipset',
      name: portSet(family, protocol),
      type,
      ...(type === 'hash:net,port' && { family }),
    })),
    {
      kind: 'chain',
      family,
      table: 'mangle',
      name: 'SKEP-INGRESS',
      // A loopback address cannot be the source of a packet that leaves the node: see ipvs-loopback.ts.
      rules: [
        `-d ${loopbackNetworks[family]} -j RETURN`,
        // IPVS begins a flow with it, too; but nobody calls a port so: it answers a call of the node's own from that port.
        '-p tcp -m tcp --tcp-flags SYN,ACK SYN,ACK -j RETURN',
        ...publishedProtocols.map(
          ({ protocol, match }) =>
            `-p ${protocol} -m addrtype --dst-type LOCAL -j SET --map-set ${portSet(family, protocol)} ${match} --map-mark`,
        ),
        ...limits.map(
          ({ by, set }) => `${by}-m addrtype --dst-type LOCAL -j SET --map-set ${set} dst,dst --map-mark`,
        ),
        ...(limits.length > 0 ? [markMirrored(family)] : []),
      ],
    },
    chainOfAdmin(family),
    {
      kind: 'chain',
      family,
      table: 'filter',
      name: 'SKEP-INPUT',
      rules: [jumpToAdmin, `-m mark --mark ${anyMarkOfOurs} -j ACCEPT`, replies, acceptMirrored(family)],
    },
    {
      kind: 'chain',
      family,
      table: 'filter',
      name: 'SKEP-FORWARD',
      rules: [jumpToAdmin, replies, acceptResets(aliasRange)],
    },
    jump(family, 'mangle', 'PREROUTING', 'SKEP-INGRESS'),
    jump(family, 'mangle', 'OUTPUT', 'SKEP-INGRESS'),
    jump(family, 'filter', 'INPUT', 'SKEP-INPUT'),
    jump(family, 'filter', 'FORWARD', 'SKEP-FORWARD'),
  ];
}
