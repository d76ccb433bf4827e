/** What the reconciler has done since it began, and how it stands now, in numbers for whoever watches it. */
import type { Clock } from '../../runtime/clock.js';
import type { HistogramValues } from '../../runtime/histogram.js';
import { Histogram } from '../../runtime/histogram.js';
import type { Scope } from '../plan/node.js';
import type { ScopeRecord } from './scope-record.js';

export type ScopeKind = Scope['kind'];
export type ScopeState = 'programmed' | 'failing' | 'pending';

export interface ReconcilerFigures {
  readonly programmedRevision: number;
  /** For how long the oldest change that is not programmed yet has been desired; 0: none is. */
  readonly behindMs: number;
  readonly driftRepairs: number;
  /** Repairs included. */
  readonly operations: number;
  readonly passes: HistogramValues;
  /** Times that a namespace could not be programmed, by its kind. */
  readonly failures: ReadonlyMap<ScopeKind, number>;
  /** How many namespaces of a kind are how. */
  readonly scopes: readonly {
    readonly kind: ScopeKind;
    readonly state: ScopeState;
    readonly count: number;
  }[];
}

/** Seconds: from a pass that has nothing to do to the first of a node with a thousand services. */
const passBounds = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30];

/** Since when the oldest change that is not programmed has been waiting. Pure but for the clock it is given. */
export class Behind {
  #sinceMs: number | null = null;
  /** The first change that the pass under way knows nothing of. */
  #nextMs: number | null = null;

  constructor(private readonly clock: Pick<Clock, 'steadyMs'>) {}

  get ms(): number {
    return this.#sinceMs === null ? 0 : this.clock.steadyMs() - this.#sinceMs;
  }

  /** Something else is desired from now on. */
  changed(): void {
    const nowMs = this.clock.steadyMs();
    this.#sinceMs ??= nowMs;
    this.#nextMs ??= nowMs;
  }

  /** A pass begins: it is of all that was desired until now. */
  begins(): void {
    this.#nextMs = null;
  }

  /** It has brought the kernel there. */
  reached(): void {
    this.#sinceMs = this.#nextMs;
  }
}

/** Counts what passes do. */
export class PassCounts {
  readonly passes = new Histogram(passBounds);
  readonly failures = new Map<ScopeKind, number>();

  failed(kind: ScopeKind): void {
    this.failures.set(kind, (this.failures.get(kind) ?? 0) + 1);
  }
}

/** Namespaces by kind and state; kinds that there is none of are absent. */
export function countScopes(records: Iterable<ScopeRecord>): ReconcilerFigures['scopes'] {
  const counts = new Map<ScopeKind, Record<ScopeState, number>>();
  for (const record of records) {
    // One that was never settled is of no namespace yet.
    if (record.scope === null) continue;
    const { kind } = record.scope;
    const of = counts.get(kind) ?? { programmed: 0, failing: 0, pending: 0 };
    counts.set(kind, of);
    of[stateOf(record)] += 1;
  }
  return [...counts].flatMap(([kind, of]) =>
    (Object.entries(of) as [ScopeState, number][]).map(([state, count]) => ({ kind, state, count })),
  );
}

const stateOf = (record: ScopeRecord): ScopeState => {
  if (record.error !== null) return 'failing';
  return record.isProgrammed && record.complete ? 'programmed' : 'pending';
};
