/** What a node's host already reaches: overlays must keep clear of it, or containers could not reach it any more. */
import type { Cidr } from './addresses.js';
import { cidrsOverlap, normalizeCidr } from './addresses.js';
import { SkepError } from './errors.js';

/** One destination that a host has a route to, or holds itself. */
export interface HostRoute {
  readonly destination: Cidr;
  readonly device: string;
}

/** How many a node tells of. */
export const hostRoutesMax = 128;

/** Routes as a node sent them; throws `invalidArgument` for what is none. */
export function parseHostRoutes(
  sent: readonly { readonly destination: string; readonly device: string }[],
): HostRoute[] {
  if (sent.length > hostRoutesMax)
    throw new SkepError('invalidArgument', `more than ${hostRoutesMax} routes in a node's description`);
  return sent.map(({ destination, device }) => ({
    destination: normalizeCidr(destination),
    device: device.slice(0, 64),
  }));
}

/** A node, as far as its routes matter. */
interface Routed {
  readonly id: string;
  readonly description?: { readonly hostname: string; readonly routes?: readonly HostRoute[] };
}

/** The first route of any node that the subnet overlaps, in words; undefined: there is none. */
export function routeInTheWay(nodes: readonly Routed[], subnet: Cidr): string | undefined {
  for (const { id, description } of nodes)
    for (const route of description?.routes ?? [])
      if (cidrsOverlap(route.destination, subnet))
        return `${routeText(route)} of node ${description?.hostname || id}`;
  return undefined;
}

/** As `ip route` writes it. */
export const routeText = ({ destination, device }: HostRoute): string => `${destination} dev ${device}`;

/** All destinations, each once. */
export const routedDestinations = (nodes: readonly Routed[]): Cidr[] => [
  ...new Set(
    nodes.flatMap(({ description }) => (description?.routes ?? []).map((route) => route.destination)),
  ),
];
