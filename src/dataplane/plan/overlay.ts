/**
 * One overlay in its namespace: bridge, VXLAN device, the node's own address, the VIPs, a port per local endpoint, who
 * is where, and what the balancer engine wants there. The namespace is wholly ours.
 *
 * On ingress the node's own address belongs to the host's end of a veth pair, where published ports are translated; the
 * bridge holds the network's gateway address instead, alike on every node. Replies of local tasks that another node
 * must translate back come to that gateway and are routed on by the alias in their source. They must not pass through
 * the host's own namespace: a reply to this very node (or to a container behind it) that came in through another node
 * would be taken there for a packet of the node's own and be reset.
 */
import { encryptedPort } from '../../model/encryption.js';
import type { Family, Ip } from '../../model/addresses.js';
import { addressBits, cidrContains, familyOf, parseCidr } from '../../model/addresses.js';
import { subnetsOf } from '../../model/network-subnets.js';
import type { SandboxEndpoint } from '../sandbox.js';
import { containerEndName, portName } from '../sandbox.js';
import type { NodeNetworkState, Overlay } from '../state.js';
import type { BalancerPlan } from './balancing.js';
import { unserved } from './balancing.js';
import { bridgeMac, bridgeName, hostLinkName, hostPortName, vxlanName } from './names.js';
import { planNeighbors } from './neighbors.js';
import type { KernelObject, Link, Sysctl } from './objects.js';
import { mainTable, routeProtocol, sysctl } from './objects.js';

/**
 * All that the overlay's namespace should hold.
 * @param sandboxes this node's endpoints on this overlay
 * @param mtuBytes the underlay's MTU less VXLAN's overhead
 */
export function planOverlay(
  state: NodeNetworkState,
  overlay: Overlay,
  sandboxes: readonly SandboxEndpoint[],
  mtuBytes: number,
  balancing: BalancerPlan,
): KernelObject[] {
  const { family } = parseCidr(overlay.subnet);
  const bridgeAddress = overlay.ingress ? overlay.gateway : overlay.own.address;
  return [
    { kind: 'namespace' },
    ...planLinks(state, overlay, sandboxes, mtuBytes),
    ...routerSysctls(family, ['all', bridgeName]),
    // Bridged frames are none of the packet filter's business: a packet that a director sent on still bears the VIP.
    { kind: 'sysctl', path: `net/bridge/${bridgedPackets[family]}`, value: '0', ifPresent: true },
    ...planSubnets(overlay, bridgeAddress),
    ...overlay.services.flatMap(({ vip }): KernelObject[] =>
      vip === undefined || overlay.ingress
        ? []
        : [{ kind: 'address', device: bridgeName, address: vip, prefixLength: addressBits(familyOf(vip)) }],
    ),
    ...planNeighbors(overlay, sandboxes, state.nodeId),
    ...(unserved(balancing, overlay) ? [] : balancing.planOverlay(state, overlay, sandboxes)),
  ];
}

/** The bridge's own address, and the ways to subnets that it is not in: whoever is there is on the same bridge. */
const planSubnets = (overlay: Overlay, bridgeAddress: Ip): KernelObject[] =>
  subnetsOf(overlay).map(({ subnet }): KernelObject =>
    cidrContains(subnet, bridgeAddress)
      ? {
          kind: 'address',
          device: bridgeName,
          address: bridgeAddress,
          prefixLength: parseCidr(subnet).prefixLength,
        }
      : {
          kind: 'route',
          table: mainTable,
          type: 'unicast',
          destination: subnet,
          device: bridgeName,
          via: null,
          source: null,
        },
  );

const bridgedPackets: Readonly<Record<Family, string>> = {
  4: 'bridge-nf-call-iptables',
  6: 'bridge-nf-call-ip6tables',
};

/**
 * Forwarding on, no reverse-path filter (replies come in where requests did not go out), no redirects. IPv6 knows no such filter and
 * sends redirects to link-local addresses of neighbours alone; but it would take addresses and routes from whoever advertises some.
 */
export const routerSysctls = (family: Family, interfaces: readonly string[]): Sysctl[] => [
  sysctl(family === 4 ? 'net/ipv4/ip_forward' : 'net/ipv6/conf/all/forwarding', '1'),
  ...interfaces.flatMap((name) =>
    family === 4
      ? [sysctl(`net/ipv4/conf/${name}/rp_filter`, '0'), sysctl(`net/ipv4/conf/${name}/send_redirects`, '0')]
      : name === 'all'
        ? []
        : [sysctl(`net/ipv6/conf/${name}/disable_ipv6`, '0'), sysctl(`net/ipv6/conf/${name}/accept_ra`, '0')],
  ),
];

function planLinks(
  state: NodeNetworkState,
  overlay: Overlay,
  sandboxes: readonly SandboxEndpoint[],
  mtu: number,
): Link[] {
  // Who stands where is programmed: nothing is learned, and a frame for a MAC that is gone is dropped.
  const bridgePort = { learning: false, neighSuppress: false, unicastFlood: false };
  const port = { kind: 'link', type: 'veth', mtu, up: true, master: bridgeName, bridgePort } as const;
  return [
    { kind: 'link', name: 'lo', up: true },
    {
      kind: 'link',
      name: bridgeName,
      type: 'bridge',
      mac: overlay.ingress ? bridgeMac(overlay.own.mac) : overlay.own.mac,
      mtu,
      up: true,
    },
    {
      kind: 'link',
      name: vxlanName,
      type: 'vxlan',
      vxlan: {
        vni: overlay.vni,
        port: overlay.encrypted ? encryptedPort(state.dataPathPort) : state.dataPathPort,
        local: state.vtep,
        learning: false,
      },
      mtu,
      up: true,
      master: bridgeName,
      bridgePort: { ...bridgePort, neighSuppress: true },
    },
    ...sandboxes.map(({ endpointId, mac }): Link => ({
      ...port,
      name: portName(endpointId),
      peer: { name: containerEndName(endpointId), mac, mtu },
    })),
    ...(overlay.ingress
      ? [{ ...port, name: hostPortName, peer: { name: hostLinkName, mac: overlay.own.mac, mtu } }]
      : []),
  ];
}

/** What the reconciler may remove in an overlay's namespace: all but what the kernel makes by itself. */
export function ownsInOverlay(object: KernelObject): boolean {
  switch (object.kind) {
    case 'namespace':
    case 'sysctl':
    case 'reservedPort':
    case 'espState':
    case 'espPolicy':
      return false; // a namespace that is no longer wanted goes as a whole
    case 'ipvsTimeouts': // read wherever IPVS is, never made
      return false;
    case 'link':
      return object.name !== 'lo';
    case 'address':
      return object.device !== 'lo';
    case 'rule':
      return object.protocol === routeProtocol;
    default:
      return true;
  }
}
