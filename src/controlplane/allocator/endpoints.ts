/**
 * What a service holds: its virtual IPs, ingress first, and its published ports. Both stick to what the service has as
 * long as its spec still asks for it.
 */
import { isDeepStrictEqual } from 'node:util';
import type { NetworkId } from '../../model/ids.js';
import type { Network, Service, ServiceEndpoint } from '../../model/objects.js';
import type { EndpointSpec } from '../../model/service-spec.js';
import { publishesOnIngress, swarmNetworksOf } from '../../model/service-laws.js';
import { isNodeNetwork } from '../../model/node-networks.js';
import type { Ip } from '../../model/addresses.js';
import { parseCidr } from '../../model/addresses.js';
import { subnetAround } from '../../model/network-subnets.js';
import type { Draft } from '../plan.js';
import type { View } from '../store/store.js';
import type { Holdings } from './holdings.js';

const defaultEndpointSpec: EndpointSpec = { mode: 'vip', ports: [] };

/** What the allocator gives addresses on, and what it gives none on. */
export interface KnownNetworks {
  readonly ingress: NetworkId | undefined;
  /** Those that are each node's own. */
  readonly ofNodes: ReadonlyMap<NetworkId, Network>;
}

export function knownNetworks(view: Pick<View, 'list'>): KnownNetworks {
  const networks = view.list('network');
  return {
    ingress: networks.find(({ spec }) => spec.ingress)?.id,
    ofNodes: new Map(networks.filter(isNodeNetwork).map((network) => [network.id, network])),
  };
}

/** The overlays a service's tasks take part in, ingress first; undefined while the ingress network is missing. */
export function overlaysOfService(
  service: Service,
  { ingress, ofNodes }: KnownNetworks,
): readonly NetworkId[] | undefined {
  const attached = swarmNetworksOf(service.spec)
    .map(({ target }) => target as NetworkId)
    .filter((id) => !ofNodes.has(id));
  if (!publishesOnIngress(service.spec)) return [...new Set(attached)];
  return ingress === undefined ? undefined : [...new Set([ingress, ...attached])];
}

/** True when the service holds exactly what its spec asks for; its tasks wait until then. */
export function isEndpointCurrent(service: Service, known: KnownNetworks): boolean {
  const { endpoint } = service;
  const vips = vipNetworks(service, known);
  return (
    endpoint !== undefined &&
    vips !== undefined &&
    isDeepStrictEqual(endpoint.spec, service.spec.endpointSpec ?? defaultEndpointSpec) &&
    isDeepStrictEqual(
      endpoint.virtualIps.map(({ networkId }) => networkId),
      vips,
    )
  );
}

/**
 * Frees and takes what the spec asks for, in at most 1 + (number of networks) writes. Leaves the service as it is while
 * that is impossible: a port in use, a network without subnet, no free address.
 */
export function allocateEndpoint(
  draft: Draft,
  holdings: Holdings,
  service: Service,
  known: KnownNetworks,
): void {
  const vips = vipNetworks(service, known);
  if (vips === undefined || !draft.fits(1 + vips.length)) return;
  const spec = service.spec.endpointSpec ?? defaultEndpointSpec;
  const previous = service.endpoint?.ports ?? [];
  holdings.ports.release(previous);
  const ports = holdings.ports.allocate(spec.ports, previous);
  const kept = (service.endpoint?.virtualIps ?? []).filter(({ networkId }) => vips.includes(networkId));
  const missing = vips.filter((id) => !kept.some(({ networkId }) => networkId === id));
  const addresses = ports && holdings.takeAddresses(missing);
  if (!ports || !addresses) {
    holdings.ports.hold(previous);
    return;
  }
  holdings.ports.hold(ports);
  const fresh = missing.map((networkId, index) => ({
    networkId,
    address: addresses[index] as NonNullable<(typeof addresses)[number]>,
    prefixLength: prefixLengthOf(draft.get('network', networkId), addresses[index]),
  }));
  const all = [...kept, ...fresh];
  const virtualIps = vips.flatMap((id) => all.filter(({ networkId }) => networkId === id));
  const endpoint: ServiceEndpoint = { spec, ports, virtualIps };
  draft.update('service', { ...service, endpoint });
  holdings.release((service.endpoint?.virtualIps ?? []).filter((vip) => !kept.includes(vip)));
}

/** Prefix length of the subnet, of an allocated network, that the address is in. */
export function prefixLengthOf(network: Network | undefined, address: Ip | undefined): number {
  const around = network?.allocation && address && subnetAround(network.allocation, address);
  return around ? parseCidr(around.subnet).prefixLength : 0;
}

/** Where the service has a VIP: all its overlays, or none for dnsrr. */
const vipNetworks = (service: Service, known: KnownNetworks): readonly NetworkId[] | undefined =>
  service.spec.endpointSpec?.mode === 'dnsrr' ? [] : overlaysOfService(service, known);
