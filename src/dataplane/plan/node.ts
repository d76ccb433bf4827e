/**
 * One node's whole plan, cut into scopes: a namespace each, planned, observed and repaired apart from the others, so that
 * one broken overlay does not hold up the rest.
 */
import type { Family } from '../../model/addresses.js';
import type { Vni } from '../../model/ids.js';
import type { TraceId } from '../../model/trace.js';
import type { SandboxEndpoint } from '../sandbox.js';
import type { NodeNetworkState, Overlay } from '../state.js';
import type { BalancerPlan, UnservedFamilyError } from './balancing.js';
import { unserved } from './balancing.js';
import type { Op } from './diff.js';
import { diff } from './diff.js';
import { ownsInHost, planHost } from './ingress.js';
import { overlayMtuBytes } from './mtu.js';
import type { KernelObject } from './objects.js';
import { ownsInOverlay, planOverlay } from './overlay.js';
import { ownsInSandbox, planSandbox, planSandboxMtus } from './sandbox.js';

/** All that the reconciler is given. */
export interface Desired {
  /** Null: the node left its cluster, and everything of ours goes. */
  readonly state: NodeNetworkState | null;
  readonly sandboxes: readonly SandboxEndpoint[];
  /** Of the requests that made the state what it is, for the log: the same list for as long as it is the same state. */
  readonly traces?: readonly TraceId[];
}

/** A namespace that we program. */
export type Scope =
  | { readonly kind: 'host' }
  /** The protection of encrypted overlays, in the host's namespace too. */
  | { readonly kind: 'esp' }
  | { readonly kind: 'overlay'; readonly vni: Vni }
  | { readonly kind: 'sandbox'; readonly path: string };

export function scopeName(scope: Scope): string {
  switch (scope.kind) {
    case 'host':
    case 'esp':
      return scope.kind;
    case 'overlay':
      return `overlay ${scope.vni}`;
    case 'sandbox':
      return `sandbox ${scope.path}`;
  }
}

/** Endpoints by the namespace of their container; those without one yet are in none. */
export function sandboxesByPath(desired: Desired): Map<string, SandboxEndpoint[]> {
  const found = new Map<string, SandboxEndpoint[]>();
  for (const endpoint of desired.sandboxes) {
    if (endpoint.sandboxKey === null) continue;
    const others = found.get(endpoint.sandboxKey);
    if (others) others.push(endpoint);
    else found.set(endpoint.sandboxKey, [endpoint]);
  }
  return found;
}

/** What one scope should hold, and which of the observed objects are ours to remove. */
export interface ScopePlan {
  readonly scope: Scope;
  readonly objects: readonly KernelObject[];
  readonly owns: (object: KernelObject) => boolean;
  /** Why nothing is balanced here although something should be; null: all is. */
  readonly unserved: UnservedFamilyError | null;
}

const hasVips = ({ ingress, services }: Overlay): boolean =>
  !ingress && services.some(({ vip }) => vip !== undefined);

/** Families in which a plan has chains. */
export const chainFamilies = (objects: readonly KernelObject[]): Family[] => [
  ...new Set(objects.flatMap((object) => (object.kind === 'chain' ? [object.family] : []))),
];

/** @param underlayMtuBytes of the device that holds the VTEP, here and below */
export const planOverlayScope = (
  desired: Desired & { readonly state: NodeNetworkState },
  overlay: Overlay,
  underlayMtuBytes: number,
  balancing: BalancerPlan,
): ScopePlan => ({
  scope: { kind: 'overlay', vni: overlay.vni },
  objects: planOverlay(
    desired.state,
    overlay,
    desired.sandboxes.filter(({ overlayId }) => overlayId === overlay.id),
    overlayMtuBytes(desired.state, overlay, underlayMtuBytes),
    balancing,
  ),
  owns: ownsInOverlay,
  unserved: hasVips(overlay) ? unserved(balancing, overlay) : null,
});

/** Only what is ours is observed there. */
export const espScopePlan = (objects: readonly KernelObject[]): ScopePlan => ({
  scope: { kind: 'esp' },
  objects,
  owns: () => true,
  unserved: null,
});

/** @param observed what the host's namespace holds; [] before it was read */
export const planHostScope = (
  state: NodeNetworkState | null,
  underlayMtuBytes: number,
  balancing: BalancerPlan,
  observed: readonly KernelObject[],
): ScopePlan => {
  const ingress = state?.overlays.find((overlay) => overlay.ingress);
  const mtuBytes = state && ingress ? overlayMtuBytes(state, ingress, underlayMtuBytes) : underlayMtuBytes;
  return {
    scope: { kind: 'host' },
    objects: planHost(state, mtuBytes, balancing, observed),
    owns: ownsInHost,
    unserved: state && ingress && state.publishedPorts.length > 0 ? unserved(balancing, ingress) : null,
  };
};

/**
 * @param observed what the container's namespace holds: its interfaces are found there, and so are VIPs of ours
 * @param namesAnswered names are answered inside the container
 * @param joined names of the interfaces that the engine has set up, by endpoint id
 */
export const planSandboxScope = (
  state: NodeNetworkState | null,
  path: string,
  endpoints: readonly SandboxEndpoint[],
  observed: readonly KernelObject[],
  underlayMtuBytes: number,
  namesAnswered = false,
  joined: ReadonlyMap<string, string> = new Map(),
): ScopePlan => {
  const inside = planSandbox(state, endpoints, observed, namesAnswered, joined);
  const mtus = planSandboxMtus(state, endpoints, observed, underlayMtuBytes, joined);
  return {
    scope: { kind: 'sandbox', path },
    objects: withMtus(inside, mtus),
    owns: ownsInSandbox(state?.overlays ?? [], observed, inside),
    unserved: null,
  };
};

/** What else is planned of a link keeps its place, the others come first. */
function withMtus(objects: readonly KernelObject[], mtus: ReadonlyMap<string, number>): KernelObject[] {
  const named = new Set(objects.flatMap((object) => (object.kind === 'link' ? [object.name] : [])));
  return [
    ...[...mtus].flatMap(([name, mtu]): KernelObject[] =>
      named.has(name) ? [] : [{ kind: 'link', name, mtu }],
    ),
    ...objects.map((object) => {
      const mtu = object.kind === 'link' ? mtus.get(object.name) : undefined;
      return mtu === undefined ? object : { ...object, mtu };
    }),
  ];
}

/** Ops that turn what is observed into what is planned, touching no stranger's object. */
export const planOps = (plan: ScopePlan, observed: readonly KernelObject[]): Op[] =>
  diff(plan.objects, observed, plan.owns);
