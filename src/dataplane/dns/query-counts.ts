/** What has been asked and answered, counted at the cost of one addition a question: it is read when somebody wants to know. */
import type { HistogramValues } from '../../runtime/histogram.js';
import { Histogram } from '../../runtime/histogram.js';

const types = ['A', 'AAAA', 'PTR', 'other'] as const;
const outcomes = ['answered', 'empty', 'unknown', 'isolated', 'forwarded', 'refused'] as const;
type QueryType = (typeof types)[number];
export type QueryOutcome = (typeof outcomes)[number];

/** How the name service does, as plain data: it is told from thread to thread. */
export interface NameFigures {
  /** Those that there were any of. */
  readonly queries: readonly {
    readonly type: QueryType;
    readonly outcome: QueryOutcome;
    readonly count: number;
  }[];
  /** Messages that nothing was said to. */
  readonly dropped: number;
  /** Seconds until an answer, by who knew it. */
  readonly seconds: { readonly state: HistogramValues; readonly resolvers: HistogramValues };
  readonly listeners: { readonly open: number; readonly closed: number };
}

/** Of a look into memory, and of a question to servers that may be far away; two seconds are a try's deadline. */
const stateBounds = [0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.01];
const resolversBounds = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 2, 5];

export class QueryCounts {
  /** By {@link slotOf}; numbers that count a thousand years long. */
  readonly bySlot = new Float64Array(types.length * outcomes.length);
  readonly state = new Histogram(stateBounds);
  readonly resolvers = new Histogram(resolversBounds);
  dropped = 0;

  count(slot: number): void {
    this.bySlot[slot] = (this.bySlot[slot] ?? 0) + 1;
  }

  get queries(): NameFigures['queries'] {
    return types.flatMap((type) =>
      outcomes.flatMap((outcome) => {
        const count = this.bySlot[slotOf(type, outcome)] ?? 0;
        return count === 0 ? [] : [{ type, outcome, count }];
      }),
    );
  }
}

/** Where questions of a type with that outcome are counted. @param type as in DNS; any that is none of ours is `other` */
export function slotOf(type: string, outcome: QueryOutcome): number {
  const known = types.indexOf(type as QueryType);
  return (known < 0 ? types.length - 1 : known) * outcomes.length + outcomes.indexOf(outcome);
}
