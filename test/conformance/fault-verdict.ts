/** What is broken and what became of it, whoever looks. */
import type { ScopePlan } from '../../src/dataplane/plan/node.js';
import type { Fault } from './fault-kinds.js';
import type { FaultNode } from './fault-node.js';

/** Repaired within five seconds; a flush of chains within one. */
export const repairMsMax = 5_000;
const chainsMsMax = 1_000;
/** What takes longer is looked at for some more time, to tell how long it took. */
const givenUpAfter = 4;

export interface Pending {
  readonly fault: Fault;
  readonly node: FaultNode;
  readonly plan: ScopePlan;
  readonly atMs: number;
}

export interface Verdict {
  readonly kinds: Readonly<Record<string, { readonly count: number; readonly slowestMs: number }>>;
  /** Faults that took longer than they may. */
  readonly late: readonly string[];
  /** Those that no death of a daemon came near: repairing each was at least one operation that it counted. */
  readonly countable: number;
}

export const isOfChains = ({ kind }: Fault): boolean => kind === 'chain flushed';

export class Verdicts implements Verdict {
  readonly kinds: Record<string, { count: number; slowestMs: number }> = {};
  readonly late: string[] = [];
  countable = 0;

  /** @param slowness see FaultReport */
  constructor(private readonly slowness: number) {}

  /** When nobody looks any more. */
  givenUpMs(pending: Pending): number {
    return givenUpAfter * this.#limitMs(pending);
  }

  /** @param ms after the fault, whoever looked saw it repaired, or gave up */
  settle(pending: Pending, ms: number, repaired: boolean): void {
    const { fault, node, atMs } = pending;
    const of = (this.kinds[fault.kind] ??= { count: 0, slowestMs: 0 });
    of.count += 1;
    of.slowestMs = Math.max(of.slowestMs, ms);
    if (ms > this.#limitMs(pending) || !repaired)
      this.late.push(`node${node.number}: ${fault.what}: ${repaired ? '' : 'not even '}after ${ms} ms`);
    if (!node.wasKilledSince(atMs)) this.countable += 1;
  }

  /** Less for chains of a daemon that lives. */
  #limitMs({ fault, node, atMs }: Pending): number {
    return this.slowness * (isOfChains(fault) && !node.wasKilledSince(atMs) ? chainsMsMax : repairMsMax);
  }
}
