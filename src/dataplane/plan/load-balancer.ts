/**
 * Virtual servers and their backends, in words that no engine owns. A VIP is balanced inside its overlay by rewriting the
 * destination MAC only; a published port in the host by translating to the task's alias, which names the node that must
 * undo it. An endpoint that is there but not serving stays as a backend of weight 0: it takes no new flow and the
 * established ones go on; it leaves with its endpoint. So does one on a silent node while there is another (silence.ts). While nobody serves, a service is refused by the node's own TCP
 * at once: `open` says so, and an engine leaves such packets alone.
 */
import { familyOf } from '../../model/addresses.js';
import { defaultScheduler } from '../../model/balancing.js';
import type { ServiceId } from '../../model/ids.js';
import type { PublishLimits } from '../../model/publishing.js';
import { takersOf } from '../silence.js';
import type { Endpoint, NodeNetworkState, Overlay } from '../state.js';
import { aliasAddress, publishedPortMark, vipMark } from '../state.js';
import type { Frontend, RealServer, VirtualServer } from './objects.js';

/**
 * Seconds for which a flow may be idle and is still known, in either engine. Established ones as long as nf_conntrack lets them
 * (five days, Linux 6.1), answered UDP as long as IPVS; a half-open one as long as a client's SYN retries usually take.
 */
export const flowIdleLimits = {
  tcpEstablishedS: 432_000,
  tcpHalfOpenS: 60,
  tcpClosedS: 120,
  udpAnsweredS: 300,
  udpUnansweredS: 30,
  sctpEstablishedS: 432_000,
} as const;

/** A frontend with its backends. */
export interface BalancedFrontend {
  readonly server: VirtualServer & { readonly frontend: Frontend };
  readonly realServers: readonly RealServer[];
  /** Somebody takes new flows. */
  readonly open: boolean;
  /** Where a published port listens; a VIP has none. */
  readonly limits: PublishLimits;
}

/**
 * The overlay's VIPs. Nothing on ingress, where no name resolves to a VIP.
 * @param idle also those of services that have no task: there is nothing to be programmed for them
 */
export function balancedVips(overlay: Overlay, idle = false): BalancedFrontend[] {
  if (overlay.ingress) return [];
  const byService = endpointsByService(overlay);
  return overlay.services.flatMap(({ id, vip, scheduler, affinityS }): BalancedFrontend[] => {
    const endpoints = byService.get(id) ?? (idle ? [] : undefined);
    if (vip === undefined || endpoints === undefined) return [];
    const mark = vipMark(overlay, vip);
    const takers = new Set(takersOf(endpoints));
    return [
      {
        server: {
          kind: 'virtualServer',
          family: familyOf(vip),
          mark,
          frontend: { kind: 'vip', address: vip },
          scheduler,
          affinityS,
        },
        realServers: endpoints.map((endpoint): RealServer => ({
          kind: 'realServer',
          mark,
          address: endpoint.address,
          port: 0,
          method: 'direct',
          weight: takers.has(endpoint) ? endpoint.weight : 0,
          mac: endpoint.mac,
        })),
        open: takers.size > 0,
        limits: { interfaces: [], cidrs: [] },
      },
    ];
  });
}

/**
 * The published ports, their backends at the aliases that name this node.
 * @param idle as of {@link balancedVips}
 */
export function balancedPorts(state: NodeNetworkState, ingress: Overlay, idle = false): BalancedFrontend[] {
  const byService = endpointsByService(ingress);
  const family = familyOf(ingress.subnet);
  const services = new Map(ingress.services.map((service) => [service.id, service]));
  return state.publishedPorts.flatMap(
    ({ serviceId, protocol, publishedPort, targetPort, interfaces = [], cidrs = [] }): BalancedFrontend[] => {
      const portAt = ({ targetPorts }: Endpoint): number =>
        targetPorts?.find((one) => one.protocol === protocol && one.publishedPort === publishedPort)
          ?.targetPort ?? targetPort;
      const endpoints = (byService.get(serviceId) ?? []).filter((endpoint) => portAt(endpoint) !== 0);
      if (endpoints.length === 0 && !idle) return [];
      const mark = publishedPortMark(protocol, publishedPort);
      const takers = new Set(takersOf(endpoints));
      const { scheduler, affinityS } = services.get(serviceId) ?? asBefore;
      const limitedBy = limitedByOf({ interfaces, cidrs });
      const frontend: Frontend = {
        kind: 'port',
        protocol,
        port: publishedPort,
        ...(limitedBy && { limitedBy }),
      };
      return [
        {
          server: { kind: 'virtualServer', family, mark, frontend, scheduler, affinityS },
          realServers: endpoints.map((endpoint): RealServer => ({
            kind: 'realServer',
            mark,
            address: aliasAddress(state.aliasRange, ingress.subnet, ingress.own.address, endpoint.address),
            port: portAt(endpoint),
            method: 'translate',
            weight: takers.has(endpoint) ? endpoint.weight : 0,
            mac: endpoint.mac,
          })),
          open: takers.size > 0,
          limits: { interfaces, cidrs },
        },
      ];
    },
  );
}

function limitedByOf({
  interfaces,
  cidrs,
}: PublishLimits): (Frontend & { readonly kind: 'port' })['limitedBy'] {
  if (interfaces.length > 0) return cidrs.length > 0 ? 'both' : 'device';
  return cidrs.length > 0 ? 'address' : undefined;
}

/** A state kept from before services on ingress were told of names none of them. */
const asBefore = { scheduler: defaultScheduler, affinityS: null } as const;

function endpointsByService(overlay: Overlay): ReadonlyMap<ServiceId, readonly Endpoint[]> {
  const found = new Map<ServiceId, Endpoint[]>();
  for (const endpoint of overlay.endpoints) {
    const of = found.get(endpoint.serviceId);
    if (of) of.push(endpoint);
    else found.set(endpoint.serviceId, [endpoint]);
  }
  return found;
}
