/**
 * How evenly a service lies on the nodes, by the measure that the scheduler places by: first over the branches of each
 * placement preference in turn, then over the nodes of a branch. Must stay true: a move is worth making only if it brings
 * two numbers nearer that differ by two or more, at the first level at which its nodes part. So none is ever worth undoing,
 * and moves come to an end.
 */
import { attributeOf, isSpreadDescriptor } from '../../model/constraint.js';
import type { NodeId } from '../../model/ids.js';
import type { Service } from '../../model/objects.js';
import type { NodeLoad } from '../scheduler/node-load.js';

/** Of a move that is worth making. */
export interface Gain {
  /** How many preferences the nodes agree in. */
  readonly level: number;
  /** Tasks on one side more than on the other. */
  readonly difference: number;
}

/** The least difference that a move can mend. */
const worthwhile = 2;

export class Balance {
  /** Of each node the branches that it is in, from the first preference's to itself. */
  readonly #paths: ReadonlyMap<NodeId, readonly string[]>;
  readonly #totals = new Map<string, number>();

  /** Counts the service's tasks over `loads`, which are those of all nodes. */
  constructor(service: Service, loads: readonly NodeLoad[]) {
    const descriptors = (service.spec.taskTemplate.placement?.preferences ?? [])
      .map(({ spreadDescriptor }) => spreadDescriptor)
      .filter(isSpreadDescriptor);
    this.#paths = new Map(loads.map((load) => [load.node.id, pathOf(load, descriptors)]));
    for (const load of loads)
      for (const branch of this.#path(load.node.id))
        this.#totals.set(branch, this.#total(branch) + load.activeOf(service.id));
  }

  /** What moving one task between the nodes gains; undefined: nothing. */
  gain(from: NodeId, to: NodeId): Gain | undefined {
    const [ours, theirs] = [this.#path(from), this.#path(to)];
    const level = ours.findIndex((branch, i) => branch !== theirs[i]);
    if (level < 0) return undefined;
    const difference = this.#total(ours[level] ?? '') - this.#total(theirs[level] ?? '');
    return difference >= worthwhile ? { level, difference } : undefined;
  }

  #path(node: NodeId): readonly string[] {
    return this.#paths.get(node) ?? [];
  }

  #total(branch: string): number {
    return this.#totals.get(branch) ?? 0;
  }
}

function pathOf({ node }: NodeLoad, descriptors: readonly string[]): readonly string[] {
  const values = descriptors.map((descriptor) => attributeOf(node, descriptor) ?? '');
  const branches = values.map((_, i) => JSON.stringify(values.slice(0, i + 1)));
  return [...branches, JSON.stringify([...values, { node: node.id }])];
}
