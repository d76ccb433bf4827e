/**
 * Virtual servers and their backends, in words that no engine owns. A VIP is balanced inside its overlay's namespace by
 * rewriting the destination MAC only; a published port in the host by translating to the task's alias, which names the
 * node that must undo it. An endpoint that is there but not serving stays as a backend of weight 0: it takes no new
 * flow and the established ones go on; it leaves with its endpoint. A mark that turns packets over to the balancer
 * exists only while somebody serves, so that a service without backends is refused by the node's own TCP at once.
 *
 * IPVS's sysctls: `conntrack=0`, because nothing here needs connection tracking and it halves the rate;
 * `expire_nodest_conn=1`, so a flow whose task is gone ends at its next packet rather than hanging for 15 minutes;
 * `conn_reuse_mode=1` (the kernel's default, written down as balancing depends on it: a client port seen again after
 * TIME_WAIT is a new flow and is balanced anew); `sloppy_tcp=0`, as picking up a flow in its middle would send it to
 * whichever backend is next, which resets it anyway.
 */
import type { ServiceId } from '../../model/ids.js';
import type { Endpoint, NodeNetworkState, Overlay } from '../state.js';
import { aliasAddress, publishedPortMark, vipMark } from '../state.js';
import { portSet, vipSet } from './names.js';
import type { KernelObject, Sysctl } from './objects.js';

export const balancerSysctls: readonly Sysctl[] = (
  [
    ['conntrack', '0'],
    ['expire_nodest_conn', '1'],
    ['conn_reuse_mode', '1'],
    ['sloppy_tcp', '0'],
  ] as const
).map(([name, value]) => ({ kind: 'sysctl', path: `net/ipv4/vs/${name}`, value }));

/** The overlay's VIPs: virtual servers by mark, real servers, and the marks. Nothing on ingress, where no name resolves to a VIP. */
export function planVirtualIps(overlay: Overlay): KernelObject[] {
  if (overlay.ingress) return [];
  const byService = endpointsByService(overlay);
  return overlay.services.flatMap(({ id, vip }) => {
    const endpoints = byService.get(id);
    if (vip === undefined || endpoints === undefined) return [];
    const mark = vipMark(overlay.subnet, vip);
    return [
      { kind: 'virtualServer', mark, scheduler: 'rr' },
      ...endpoints.map((endpoint): KernelObject => ({
        kind: 'realServer',
        mark,
        address: endpoint.address,
        port: 0,
        method: 'direct',
        weight: endpoint.serving ? 1 : 0,
      })),
      ...(endpoints.some(({ serving }) => serving)
        ? [{ kind: 'ipsetEntry', set: vipSet, element: vip, mark } as const]
        : []),
    ] satisfies KernelObject[];
  });
}

/** The host's published ports: virtual servers by mark, real servers at their aliases, and the marks. */
export function planPublishedPorts(state: NodeNetworkState, ingress: Overlay): KernelObject[] {
  const byService = endpointsByService(ingress);
  return state.publishedPorts.flatMap(({ serviceId, protocol, publishedPort, targetPort }) => {
    const endpoints = byService.get(serviceId);
    if (endpoints === undefined) return [];
    const mark = publishedPortMark(protocol, publishedPort);
    return [
      { kind: 'virtualServer', mark, scheduler: 'rr' },
      ...endpoints.map((endpoint): KernelObject => ({
        kind: 'realServer',
        mark,
        address: aliasAddress(state.aliasRange, ingress.subnet, ingress.own.address, endpoint.address),
        port: targetPort,
        method: 'translate',
        weight: endpoint.serving ? 1 : 0,
      })),
      ...(endpoints.some(({ serving }) => serving)
        ? [{ kind: 'ipsetEntry', set: portSet(protocol), element: String(publishedPort), mark } as const]
        : []),
    ] satisfies KernelObject[];
  });
}

function endpointsByService(overlay: Overlay): ReadonlyMap<ServiceId, readonly Endpoint[]> {
  const found = new Map<ServiceId, Endpoint[]>();
  for (const endpoint of overlay.endpoints) {
    const of = found.get(endpoint.serviceId);
    if (of) of.push(endpoint);
    else found.set(endpoint.serviceId, [endpoint]);
  }
  return found;
}
