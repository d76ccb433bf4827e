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
  /**
   * Whoever does none of what is measured. Where not even that one reaches the limit, nobody can: the kernel at hand does not show what the
   * bar is about, and the bar is told to be out of reach.
   */
  readonly ideal?: SeriesName;
  /** The limit is for the worst round, not for the median; without `against` only. */
  readonly inEveryRound?: true;
}

/** What became of a bar. */
export interface Verdict {
  readonly bar: string;
  readonly reached: number;
  readonly holds: boolean;
  /** What the ideal reached, where that is not enough: then nothing is missed. */
  readonly outOfReach?: number;
}

/** @throws Error for a bar whose series were not measured: a bench that forgets one must not pass */
export const judge = (bars: readonly Bar[], series: readonly Series[]): readonly Verdict[] =>
  bars.map((bar) => {
    const holdsAt = (reached: number): boolean =>
      reached >= (bar.atLeast ?? -Infinity) && reached <= (bar.atMost ?? Infinity);
    const reached = reachedOf(bar, series);
    const best = bar.ideal === undefined ? reached : reachedOf({ ...bar, of: bar.ideal }, series);
    return {
      ...{ bar: wordsOf(bar), reached, holds: holdsAt(reached) },
      ...(bar.ideal === undefined || Number.isNaN(best) || holdsAt(best) ? {} : { outOfReach: best }),
    };
  });

/** Whether it fails the run. */
export const isMissed = ({ holds, outOfReach }: Verdict): boolean => !holds && outOfReach === undefined;

function reachedOf({ of, against, atLeast, inEveryRound }: Bar, series: readonly Series[]): number {
  const one = measured(series, of);
  if (against !== undefined) return ratioOf(one, measured(series, against)).ofMedians;
  if (!inEveryRound) return median(one.values);
  return atLeast === undefined ? Math.max(...one.values) : Math.min(...one.values);
}

function measured(series: readonly Series[], name: SeriesName): Series {
  const found = find(series, name);
  if (!found) throw new Error(`not measured: ${nameOf(name)}`);
  return found;
}

/** `new connections, skep ebpf: at least 0.9 of limit`. What both series have in common is said once. */
function wordsOf({ of, against, atLeast, atMost, inEveryRound }: Bar): string {
  const limit = `${atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast}`}${inEveryRound ? ' in every round' : ''}`;
  if (against === undefined) return `${nameOf(of)}: ${limit}`;
  const differs = {
    measure: against.measure === of.measure ? '' : against.measure,
    case: against.case === of.case ? '' : against.case,
    contender: against.contender === of.contender ? '' : against.contender,
  };
  return `${nameOf(of)}: ${limit} of ${nameOf(differs)}`;
}
