/**
 * What a new network must not share with those there are: a pinned VNI, and a subnet with ingress, with the mesh's aliases or
 * with a route of a node; and an encrypted ingress asks for ESP on every node. Told to the user at once; Swarm leaves such a
 * network without a subnet and says nothing.
 */
import type { Cidr } from '../../model/addresses.js';
import { cidrsOverlap } from '../../model/addresses.js';
import { isEncrypted, isEspKnown, lacksEsp, refusalOfIngressWithoutEsp } from '../../model/encryption.js';
import { SkepError, controlApiError } from '../../model/errors.js';
import { routeInTheWay } from '../../model/host-routes.js';
import { defaultAliasRanges, vniClass } from '../../model/network-laws.js';
import { pinnedVni } from '../../model/network-options.js';
import { subnetsOf } from '../../model/network-subnets.js';
import { isNodeNetwork } from '../../model/node-networks.js';
import type { Network, NetworkSpec, Node } from '../../model/objects.js';
import type { View } from '../store/store.js';

/** Throws what the user reads. */
export function refuseConflicts(view: View, spec: NetworkSpec): void {
  refuseVni(view, spec);
  refuseIngressWithoutEsp(view, spec);
  for (const [index, { subnet }] of spec.ipam.configs.entries()) {
    // libnetwork's words for what it refuses among a node's own networks, and what is in the way.
    const overlaps = (what: string): SkepError =>
      new SkepError(
        'permissionDenied',
        `Pool overlaps with other one on this address space: ${subnet} overlaps ${what}`,
      );
    for (const aliases of Object.values(defaultAliasRanges))
      if (cidrsOverlap(subnet, aliases)) throw overlaps(`${aliases}, which the routing mesh uses`);
    for (const other of spec.ipam.configs.slice(0, index))
      if (cidrsOverlap(subnet, other.subnet)) throw overlaps(`${other.subnet} of the same network`);
    for (const other of view.list('network')) {
      // A task with published ports is on ingress and on its own networks.
      const theirs =
        (other.spec.ingress || spec.ingress) &&
        subnetsOfNetwork(other).find((each) => cidrsOverlap(subnet, each));
      if (theirs) throw overlaps(`${theirs} of network ${other.spec.name}`);
    }
    const route = routeInTheWay(view.list('node'), subnet);
    if (route !== undefined) throw overlaps(`the route ${route}`);
  }
}

/** An overlay's subnets, as soon as they are known; of a network of each node's own only its engine knows. */
export const subnetsOfNetwork = ({ spec, allocation }: Network): readonly Cidr[] =>
  isNodeNetwork({ spec })
    ? []
    : (allocation ? subnetsOf(allocation) : spec.ipam.configs).map(({ subnet }) => subnet);

/** Of two networks, a subnet of each that overlap. */
export function overlapOf(one: Network, other: Network): readonly [Cidr, Cidr] | undefined {
  for (const ours of subnetsOfNetwork(one))
    for (const theirs of subnetsOfNetwork(other)) if (cidrsOverlap(ours, theirs)) return [ours, theirs];
  return undefined;
}

function refuseVni(view: View, spec: NetworkSpec): void {
  const vni = pinnedVni(spec.driverOptions);
  if (vni === undefined) return;
  for (const other of view.list('network')) {
    const theirs = other.allocation?.vni ?? pinnedVni(other.spec.driverOptions);
    if (theirs === undefined || vniClass(theirs) !== vniClass(vni)) continue;
    const why = theirs === vni ? 'it is used' : `its low 16 bits are those of ${theirs}, which is used`;
    throw controlApiError(
      'invalidArgument',
      `could not assign vxlan id ${vni}: ${why} by network ${other.spec.name}`,
    );
  }
}

/** Else nothing would be published on such a node, and no task that publishes could run there. */
function refuseIngressWithoutEsp(view: View, spec: NetworkSpec): void {
  if (!spec.ingress || !isEncrypted(spec)) return;
  const names = (nodes: readonly Node[]): string[] =>
    nodes.map(({ id, description }) => description?.hostname || id).sort();
  const nodes = view.list('node');
  const lacking = names(nodes.filter(({ description }) => lacksEsp(description)));
  if (lacking.length > 0)
    throw new SkepError('failedPrecondition', refusalOfIngressWithoutEsp(spec.name, lacking, true));
  const unknown = names(nodes.filter(({ description }) => !isEspKnown(description)));
  if (unknown.length > 0)
    throw new SkepError('unavailable', refusalOfIngressWithoutEsp(spec.name, unknown, false));
}
