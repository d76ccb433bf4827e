/**
 * From two pictures of one namespace to ordered operations. Order carries the meaning: what a packet needs on its
 * way (links, FDB, neighbours, routes) is put before what sends packets that way (marks, balancing), and removed
 * after it, so that nothing is ever balanced to a backend that cannot be reached. All puts come before all
 * removals: a service whose only task is replaced keeps a backend throughout.
 */
import type { KernelObject, ObjectKind } from './objects.js';
import { isEspGuard } from './names.js';
import { identity, isBalancerSysctl, line, mustBeRemade, satisfies } from './objects.js';

export type Op =
  | { readonly op: 'add'; readonly object: KernelObject }
  | { readonly op: 'change'; readonly object: KernelObject; readonly was: KernelObject }
  /** The kernel cannot change it in place: `was` is removed and `object` made, with all that hung on it lost. */
  | { readonly op: 'remake'; readonly object: KernelObject; readonly was: KernelObject }
  | { readonly op: 'delete'; readonly object: KernelObject };

/** `+ neighbour br0 10.0.1.4 02:…`, one line an operation. */
export function opLine(op: Op): string {
  switch (op.op) {
    case 'add':
      return `+ ${line(op.object)}`;
    case 'delete':
      return `- ${line(op.object)}`;
    case 'change':
      return `~ ${line(op.object)} (was ${line(op.was)})`;
    case 'remake':
      return `! ${line(op.object)} (was ${line(op.was)})`;
  }
}

/** Stages of a pass, in order; each is done in all namespaces before the next one begins. */
export const stages = ['reach', 'balance', 'unbalance', 'unreach'] as const;
export type Stage = (typeof stages)[number];

/** Order of putting; removal runs backwards. An FDB entry precedes the neighbour entry that makes traffic begin. */
const rank: Readonly<Record<ObjectKind, number>> = {
  namespace: 0,
  espPolicy: 0,
  espState: 0.5,
  link: 1,
  sysctl: 2,
  // Before the port is published, until it is no more.
  reservedPort: 2,
  address: 3,
  fdb: 4,
  neighbour: 5,
  route: 6,
  rule: 7,
  // A reply that comes before its node is known is dropped, and other nodes may send requests at any time.
  aliasNode: 8,
  // A mark before its virtual server, or the other way round: both refuse. Next to their set, entries need no process of their own.
  ipset: 9,
  ipsetEntry: 10,
  chain: 11,
  jump: 12,
  mesh: 13,
  localAddress: 14,
  // Before the port that is limited to them; removed after it.
  listener: 14,
  filter: 15,
  ipvsTimeouts: 16,
  virtualServer: 17,
  realServer: 18,
};

/** From here on an object directs packets at backends rather than making them reachable. */
const firstBalancingRank = rank.ipset;

/** IPVS's own sysctls exist only where IPVS does: they belong to balancing, or a kernel without it would get no overlay. */
function rankOf(object: KernelObject): number {
  if (object.kind === 'sysctl' && isBalancerSysctl(object.path)) return firstBalancingRank;
  // A VIP on a container's `lo` is known as ours by its route (see sandbox.ts), which must come before it and outlive it.
  if (object.kind === 'address' && object.device === 'lo') return rank.route + 0.5;
  // What takes new flows is put before what stops taking them, so that a service whose only task is replaced always has somebody.
  if (object.kind === 'realServer' && object.weight === 0) return rank.realServer + 0.5;
  // The second lock of encrypted overlays is there before anything of them, and as long.
  if (object.kind === 'chain' && isEspGuard(object.name)) return rank.namespace - 1;
  if (object.kind === 'jump' && isEspGuard(object.target)) return rank.namespace - 0.5;
  // What shuts comes before the keys, what sends with one after it: a rotation finds all its states made.
  if (object.kind === 'espPolicy' && object.direction === 'out' && object.action.kind === 'protect')
    return rank.espState + 0.25;
  return rank[object.kind];
}

const balances = (object: KernelObject): boolean => rankOf(object) >= firstBalancingRank;

/**
 * Operations that turn `observed` into `desired`. Of objects with the same identity the first counts, on either side.
 * @param owns which observed objects are ours, and so may be removed when they are not desired
 */
export function diff(
  desired: readonly KernelObject[],
  observed: readonly KernelObject[],
  owns: (object: KernelObject) => boolean,
): Op[] {
  // Plain loops: a scope may hold hundreds of thousands of objects.
  const have = new Map<string, KernelObject>();
  for (const object of observed) {
    const key = identity(object);
    if (!have.has(key)) have.set(key, object);
  }
  const wanted = new Set<string>();
  const puts: Op[] = [];
  for (const object of ordered(desired)) {
    const key = identity(object);
    if (wanted.has(key)) continue;
    wanted.add(key);
    const was = have.get(key);
    if (was === undefined) {
      // In a namespace yet to be made only the try will tell what it has.
      const awaitsModule = object.kind === 'sysctl' && object.ifPresent && have.has('namespace');
      if (!awaitsModule) puts.push({ op: 'add', object });
    } else if (!satisfies(was, object))
      puts.push({ op: mustBeRemade(was, object) ? 'remake' : 'change', object, was });
  }
  const orphans: KernelObject[] = [];
  for (const [key, object] of have) if (!wanted.has(key) && owns(object)) orphans.push(object);
  const removals = ordered(orphans)
    .reverse()
    .map((object): Op => ({ op: 'delete', object }));
  return [...puts, ...removals];
}

/** Stable by rank, so that planners decide the order within a kind (a bridge before its ports). */
function ordered(objects: readonly KernelObject[]): KernelObject[] {
  const byRank = new Map<number, KernelObject[]>();
  for (const object of objects) {
    const of = byRank.get(rankOf(object));
    if (of) of.push(object);
    else byRank.set(rankOf(object), [object]);
  }
  return [...byRank].sort(([a], [b]) => a - b).flatMap(([, of]) => of);
}

/** Splits ops (as {@link diff} gave them) into the stages of a pass, keeping their order. */
export function byStage(ops: readonly Op[]): Record<Stage, Op[]> {
  const split: Record<Stage, Op[]> = { reach: [], balance: [], unbalance: [], unreach: [] };
  for (const op of ops) {
    const put = op.op !== 'delete';
    if (balances(op.object)) split[put ? 'balance' : 'unbalance'].push(op);
    else split[put ? 'reach' : 'unreach'].push(op);
  }
  return split;
}

/** What the kernel would hold after the ops: the model that the convergence tests run on. */
export const applyToImage = (image: readonly KernelObject[], ops: readonly Op[]): KernelObject[] => [
  ...applyToHeld(new Map(image.map((object) => [identity(object), object])), ops).values(),
];

/** The same of objects by identity, which are changed and given back. Costs the ops. */
export function applyToHeld(held: Map<string, KernelObject>, ops: readonly Op[]): Map<string, KernelObject> {
  for (const op of ops) {
    const key = identity(op.object);
    if (op.op === 'delete') held.delete(key);
    else {
      const made = op.object.kind === 'chain' ? { rules: [], ...op.object } : op.object;
      held.set(key, { ...held.get(key), ...made } as KernelObject);
    }
  }
  return held;
}
