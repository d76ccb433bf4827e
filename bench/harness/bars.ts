/** What a run must reach: a limit for one series, by itself or as a share of another one. */
import { median } from '../../test/support/median.js';
import { find, nameOf, ratioOf } from './series.js';
import type { Series, SeriesName } from './series.js';

export interface Bar {
  readonly of: SeriesName;
  /** Without it the limit is for the median itself, in the series' unit. */
  readonly against?: SeriesName;
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** What became of a bar. */
export interface Verdict {
  readonly bar: string;
  readonly reached: number;
  readonly holds: boolean;
}

/** @throws Error for a bar whose series were not measured: a bench that forgets one must not pass */
export const judge = (bars: readonly Bar[], series: readonly Series[]): readonly Verdict[] =>
  bars.map((bar) => {
    const reached = reachedOf(bar, series);
    const holds = reached >= (bar.atLeast ?? -Infinity) && reached <= (bar.atMost ?? Infinity);
    return { bar: wordsOf(bar), reached, holds };
  });

function reachedOf({ of, against }: Bar, series: readonly Series[]): number {
  const one = measured(series, of);
  return against === undefined ? median(one.values) : ratioOf(one, measured(series, against)).ofMedians;
}

function measured(series: readonly Series[], name: SeriesName): Series {
  const found = find(series, name);
  if (!found) throw new Error(`not measured: ${nameOf(name)}`);
  return found;
}

/** `new connections, skep ebpf: at least 0.9 of limit`. What both series have in common is said once. */
function wordsOf({ of, against, atLeast, atMost }: Bar): string {
  const limit = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast}`;
  if (against === undefined) return `${nameOf(of)}: ${limit}`;
  const differs = {
    measure: against.measure === of.measure ? '' : against.measure,
    case: against.case === of.case ? '' : against.case,
    contender: against.contender === of.contender ? '' : against.contender,
  };
  return `${nameOf(of)}: ${limit} of ${nameOf(differs)}`;
}
