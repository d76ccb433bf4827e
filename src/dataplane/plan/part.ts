/**
 * The part of a node's network in which two desired values differ, as two small values of their own: what was, and what is.
 * Planned apart by the same planners they differ in exactly the objects in which the whole plans differ, whatever the
 * size of the rest; so a change costs what it touches. Pure.
 *
 * It rests on this: an object of a plan hangs on what there is only once (a *head*: the state's or an overlay's own fields, its
 * peers) and on one service with its endpoints and published ports, or on one endpoint or sandbox alone. So a part has
 * the heads, and of everything that differs the service it belongs to, whole. Objects that hang on more ({@link isOfOneItem})
 * are seen to differ here, too, but what they should be only the whole plan knows.
 */
import { isDeepStrictEqual } from 'node:util';
import type { NetworkId, NodeId, ServiceId } from '../../model/ids.js';
import type { SandboxEndpoint } from '../sandbox.js';
import type { Difference, Items } from '../../runtime/keyed-list.js';
import { difference } from '../../runtime/keyed-list.js';
import { headOfState, itemAt, serviceKey, withoutItems } from '../state-change.js';
import type { Endpoint, NodeNetworkState, Overlay, OverlayService, PublishedPort } from '../state.js';
import type { Op } from './diff.js';
import type { Desired } from './node.js';
import type { KernelObject, ObjectKind } from './objects.js';

/** A desired value of a node that is in a cluster. */
type Joined = Desired & { readonly state: NodeNetworkState };

export interface PartialChange {
  /** The part as it was and as it is: overlays that are in both, with their heads and what differs. */
  readonly before: Joined;
  readonly after: Joined;
  /** Overlays that differ in their heads or are in one value only. */
  readonly others: ReadonlySet<NetworkId>;
  /** Ingress, on which the host's plan hangs, is one of those. */
  readonly ingressIsOther: boolean;
  /** Namespaces of containers whose endpoints differ. */
  readonly sandboxPaths: ReadonlySet<string>;
}

/** Null when the values differ in what everything hangs on. */
export function partialChange(before: Desired, after: Desired): PartialChange | null {
  if (before.state === null || after.state === null) return null;
  if (!isDeepStrictEqual(headOfPlans(before.state), headOfPlans(after.state))) return null;
  const known = new Map(before.state.overlays.map((overlay) => [overlay.id, overlay]));
  const others = new Set(before.state.overlays.map(({ id }) => id));
  const pairs: OverlayPair[] = [];
  for (const overlay of after.state.overlays) {
    const was = known.get(overlay.id);
    if (was !== undefined && (was === overlay || isDeepStrictEqual(headOf(was), headOf(overlay)))) {
      others.delete(overlay.id);
      pairs.push(pairOf(was, overlay));
    } else others.add(overlay.id);
  }
  const ports = difference(before.state.publishedPorts, after.state.publishedPorts);
  const sandboxes = difference(before.sandboxes, after.sandboxes);
  const services = new Set<ServiceId>([
    ...pairs.flatMap(({ endpoints }) => both(endpoints).map(({ serviceId }) => serviceId)),
    ...pairs.flatMap((pair) => both(pair.services).map(({ id }) => id)),
    ...both(ports).map(({ serviceId }) => serviceId),
  ]);
  // Containers of no service have nothing in common.
  services.delete('' as ServiceId);
  const portsDiffer = both(ports).length > 0;
  const parts = pairs.map((pair) => restrict(pair, services, sandboxes, portsDiffer));
  const alikePorts =
    services.size > 0
      ? alikeOf(before.state.publishedPorts, after.state.publishedPorts, ports, services)
      : [];
  const joined = (
    state: NodeNetworkState,
    overlays: readonly Overlay[],
    differing: readonly PublishedPort[],
    some: readonly SandboxEndpoint[],
  ): Joined => ({
    state: { ...state, overlays, publishedPorts: [...alikePorts, ...differing] },
    sandboxes: some,
  });
  const touching = sandboxesTouching(parts);
  return {
    before: joined(
      before.state,
      parts.map((part) => part.before),
      ports.gone,
      [
        ...sandboxes.gone,
        ...before.sandboxes.filter((one) => touching(one) && !sandboxes.gone.includes(one)),
      ],
    ),
    after: joined(
      after.state,
      parts.map((part) => part.after),
      ports.come,
      [...sandboxes.come, ...after.sandboxes.filter((one) => touching(one) && !sandboxes.come.includes(one))],
    ),
    others,
    ingressIsOther: [...before.state.overlays, ...after.state.overlays].some(
      ({ id, ingress }) => ingress && others.has(id),
    ),
    sandboxPaths: new Set(
      both(sandboxes).flatMap(({ sandboxKey }) => (sandboxKey === null ? [] : [sandboxKey])),
    ),
  };
}

/** The value with its heads alone: what of a plan hangs on nothing else. */
export const headOnly = (state: NodeNetworkState): NodeNetworkState => ({
  ...state,
  overlays: state.overlays.map(withoutItems),
  publishedPorts: [],
});

/** Kinds of which each object belongs to one service, endpoint or sandbox. */
const itemKinds: ReadonlySet<ObjectKind> = new Set<ObjectKind>([
  'link',
  'address',
  'fdb',
  'neighbour',
  'route',
  'reservedPort',
  'ipsetEntry',
  'virtualServer',
  'realServer',
  'filter',
]);

/** False: the op is on what many things have in common, or what hangs on it is lost by it. */
export const isOfOneItem = (op: Op): boolean =>
  op.op !== 'remake' &&
  itemKinds.has(op.object.kind) &&
  ![op.object, 'was' in op && op.was].some(isLimitedPort);

/** Where it listens is planned from the devices and addresses that are found, at least by one engine. */
const isLimitedPort = (object: KernelObject | false): boolean =>
  object !== false &&
  object.kind === 'virtualServer' &&
  object.frontend?.kind === 'port' &&
  object.frontend.limitedBy !== undefined;

interface OverlayPair {
  readonly before: Overlay;
  readonly after: Overlay;
  readonly endpoints: Difference<Endpoint>;
  readonly services: Difference<OverlayService>;
  readonly peers: Difference<Overlay['peers'][number]>;
}

const pairOf = (before: Overlay, after: Overlay): OverlayPair => ({
  before,
  after,
  endpoints: difference(before.endpoints, after.endpoints),
  services: difference(before.services, after.services),
  peers: difference(before.peers, after.peers),
});

const both = <T>({ gone, come }: Difference<T>): readonly T[] => [...gone, ...come];

/** Without the keys of encrypted overlays: only their protection hangs on them, and it looks for itself (see esp.ts). */
const headOfPlans = (state: NodeNetworkState): object => ({ ...headOfState(state), encryptionKeys: null });
const headOf = (overlay: Overlay): Overlay => ({ ...withoutItems(overlay), peers: [] });

/**
 * Both sides with all of the services that differ, with every endpoint that a peer's coming or going concerns, and with one
 * endpoint and its service more that are alike on both: as long as there is such a one, so is what hangs on there being any.
 */
function restrict(
  pair: OverlayPair,
  services: ReadonlySet<ServiceId>,
  sandboxes: Difference<SandboxEndpoint>,
  portsDiffer: boolean,
): Pick<OverlayPair, 'before' | 'after'> {
  const { before, after } = pair;
  const moved = both(sandboxes).filter(({ overlayId }) => overlayId === after.id);
  const isAlike = before === after && moved.length === 0 && !(after.ingress && portsDiffer);
  if (isAlike) return { before: withoutItems(before), after: withoutItems(after) };
  const { gone, come } = pair.endpoints;
  const byService = groupedByService(before.endpoints, after.endpoints, pair.endpoints);
  const nodes = new Set<NodeId>(both(pair.peers).map(({ nodeId }) => nodeId));
  // Nobody sees to it that what the engine told of is nobody else's in the state.
  const isTouched = (endpoint: Endpoint): boolean =>
    nodes.has(endpoint.nodeId) ||
    moved.some(({ address, mac }) => address === endpoint.address || mac === endpoint.mac);
  const alike = new Set([
    ...alikeOf(before.endpoints, after.endpoints, pair.endpoints, services),
    ...(nodes.size + moved.length > 0 ? after.endpoints.filter(isTouched) : []),
  ]);
  for (const endpoint of come) alike.delete(endpoint);
  const witness =
    services.size > 0
      ? after.services.find(
          ({ id, vip }) => vip !== undefined && !services.has(id) && byService.get(id)?.size,
        )
      : undefined;
  const [one] = witness ? (byService.get(witness.id) ?? []) : [];
  if (one) alike.add(one);
  const side = (overlay: Overlay, differing: readonly Endpoint[]): Overlay => ({
    ...overlay,
    endpoints: [...alike, ...differing],
    services: [
      ...[...services].flatMap((id) => itemAt(overlay.services, serviceKey, id) ?? []),
      ...(witness ? [witness] : []),
    ],
  });
  return { before: side(before, gone), after: side(after, come) };
}

interface OfService {
  readonly serviceId: ServiceId;
}
type ByService<T> = Map<ServiceId, Set<T>>;

/** Of the services' items those that are in both lists. */
function alikeOf<T extends OfService>(
  before: Items<T>,
  after: Items<T>,
  differing: Difference<T>,
  services: ReadonlySet<ServiceId>,
): T[] {
  const byService = groupedByService(before, after, differing);
  const come = new Set(differing.come);
  return [...services].flatMap((id) => [...(byService.get(id) ?? [])].filter((item) => !come.has(item)));
}

/** Of lists that were asked for last: each change takes along that of before. */
const known = new WeakMap<Items<OfService>, ByService<OfService>>();

/** The items of the later list by service. Costs the change, where the earlier list was a later one before. */
function groupedByService<T extends OfService>(
  before: Items<T>,
  after: Items<T>,
  { gone, come }: Difference<T>,
): ByService<T> {
  const held = known.get(after) ?? known.get(before);
  const byService = (held as ByService<T> | undefined) ?? grouped(before);
  if (!known.has(after)) {
    known.delete(before);
    for (const item of gone) byService.get(item.serviceId)?.delete(item);
    for (const item of come) addTo(byService, item);
    known.set(after, byService);
  }
  return byService;
}

function grouped<T extends OfService>(items: Items<T>): ByService<T> {
  const groups: ByService<T> = new Map();
  for (const item of items) addTo(groups, item);
  return groups;
}

function addTo<T extends OfService>(groups: ByService<T>, item: T): void {
  const group = groups.get(item.serviceId);
  if (group) group.add(item);
  else groups.set(item.serviceId, new Set([item]));
}

/** Whether a sandbox has the address or the MAC of an endpoint in the part. */
function sandboxesTouching(
  parts: readonly Pick<OverlayPair, 'before' | 'after'>[],
): (sandbox: SandboxEndpoint) => boolean {
  const touched = new Set<string>();
  for (const { before, after } of parts)
    for (const { address, mac } of [...before.endpoints, ...after.endpoints])
      touched.add(`${after.id} ${address}`).add(`${after.id} ${mac}`);
  return ({ overlayId, address, mac }) =>
    touched.has(`${overlayId} ${address}`) || touched.has(`${overlayId} ${mac}`);
}
