/**
 * The host's own namespace, where published ports live: the host's end of the veth pair to ingress, a route per alias of
 * this node, permanent neighbours behind it, and what the balancer engine wants there for published ports. Everybody else
 * lives here too, so only what bears our names, protocol number or mark prefix is ever touched.
 */
import { addressBits, familyOf, hostCidr } from '../../model/addresses.js';
import type { NodeNetworkState } from '../state.js';
import { aliasAddress } from '../state.js';
import type { BalancerPlan } from './balancing.js';
import { unserved } from './balancing.js';
import { adminChain, hostLinkName, isEspGuard, isOurChain, isOurMark, isOurSet } from './names.js';
import type { KernelObject } from './objects.js';
import { mainTable, routeProtocol } from './objects.js';
import { routerSysctls } from './overlay.js';

/**
 * All that the host's namespace should hold; nothing while there is no ingress overlay.
 * @param observed what it holds: an engine may look there for devices and addresses
 */
export function planHost(
  state: NodeNetworkState | null,
  mtuBytes: number,
  balancing: BalancerPlan,
  observed: readonly KernelObject[],
): KernelObject[] {
  const ingress = state?.overlays.find((overlay) => overlay.ingress);
  if (state === null || ingress === undefined) return [];
  const { own, subnet, endpoints } = ingress;
  const family = familyOf(subnet);
  return [
    { kind: 'link', name: hostLinkName, type: 'veth', mac: own.mac, mtu: mtuBytes, up: true },
    ...routerSysctls(family, ['all', hostLinkName]),
    { kind: 'address', device: hostLinkName, address: own.address, prefixLength: addressBits(family) },
    ...endpoints.flatMap((endpoint): KernelObject[] => [
      { kind: 'neighbour', device: hostLinkName, address: endpoint.address, mac: endpoint.mac },
      {
        kind: 'route',
        table: mainTable,
        type: 'unicast',
        destination: hostCidr(aliasAddress(state.aliasRange, subnet, own.address, endpoint.address)),
        device: hostLinkName,
        via: endpoint.address,
        source: null,
      },
    ]),
    ...state.publishedPorts.map(({ protocol, publishedPort }): KernelObject => ({
      kind: 'reservedPort',
      protocol,
      port: publishedPort,
    })),
    ...(unserved(balancing, ingress) ? [] : balancing.planHost(state, ingress, mtuBytes, observed)),
  ];
}

/** What is ours in the host's namespace, by name, protocol number or mark. */
export function ownsInHost(object: KernelObject): boolean {
  switch (object.kind) {
    case 'link':
      // A container's end left here without its endpoint goes with its port; the pair to ingress with ingress.
      return false;
    case 'address':
    case 'neighbour':
      return object.device === hostLinkName;
    case 'route': // only those of protocol 94 are observed
    case 'reservedPort': // only ours are observed
      return true;
    case 'rule':
      return object.protocol === routeProtocol;
    case 'ipset':
      return isOurSet(object.name);
    case 'ipsetEntry':
      return isOurSet(object.set);
    case 'chain':
      // The administrator's rules outlive us; an empty chain of that name is removed (its rules are then []).
      return (
        isOurChain(object.name) &&
        !isEspGuard(object.name) &&
        (object.name !== adminChain || object.rules?.length === 0)
      );
    case 'jump':
      return isOurChain(object.target) && !isEspGuard(object.target);
    case 'virtualServer':
    case 'realServer':
      return isOurMark(object.mark);
    case 'filter': // only programs of ours are observed, and only our maps
    case 'localAddress':
    case 'listener':
    case 'aliasNode':
    case 'mesh':
      return true;
    case 'namespace':
    case 'sysctl':
    case 'fdb':
    case 'ipvsTimeouts': // read wherever IPVS is, never made
    case 'espState': // a scope of their own
    case 'espPolicy':
      return false;
  }
}
