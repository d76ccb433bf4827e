/** What was measured, and how two contenders compare: medians of alternating rounds, and how far the rounds were apart. */
import { median } from '../../test/support/median.js';

/** Values of one contender for one measure in one case, one a round, in the order of the rounds. */
export interface Series {
  /** What was varied (`task elsewhere`, `1,000 services`); empty where nothing was. */
  readonly case: string;
  readonly measure: string;
  readonly unit: string;
  readonly contender: string;
  readonly values: readonly number[];
}

/** Names one series of a run. */
export type SeriesName = Pick<Series, 'case' | 'measure' | 'contender'>;

/** One series as a share of another one. */
export interface Ratio {
  /** Of the medians; NaN where the other's median is zero. */
  readonly ofMedians: number;
  /** Smallest and largest of the rounds, each against the other's value of the same round. */
  readonly least: number;
  readonly most: number;
}

export const nameOf = ({ case: of, measure, contender }: SeriesName): string =>
  [measure, of, contender].filter((part) => part !== '').join(', ');

export const find = (series: readonly Series[], name: SeriesName): Series | undefined =>
  series.find(
    (each) => each.case === name.case && each.measure === name.measure && each.contender === name.contender,
  );

export function ratioOf(one: Series, other: Series): Ratio {
  const ofMedians = divide(median(one.values), median(other.values));
  const rounds = one.values.flatMap((value, round) => {
    const ratio = divide(value, other.values[round] ?? NaN);
    return Number.isNaN(ratio) ? [] : [ratio];
  });
  return { ofMedians, least: Math.min(...rounds), most: Math.max(...rounds) };
}

const caseOf = ({ measure, case: of }: Series): string => `${measure}, ${of}`;

const divide = (value: number, by: number): number => (by === 0 ? NaN : value / by);

/** Gathers values as rounds give them, and tells each: a run that is ended has shown what it had. */
export class Measurements {
  readonly #tell: (line: string) => void;
  readonly #series = new Map<string, Series & { readonly values: number[] }>();

  constructor(tell: (line: string) => void = () => undefined) {
    this.#tell = tell;
  }

  add(name: SeriesName & Pick<Series, 'unit'>, value: number): void {
    const key = nameOf(name);
    this.#tell(`${key}: ${Number(value.toPrecision(4))} ${name.unit}`);
    const series = this.#series.get(key) ?? { ...name, values: [] };
    series.values.push(value);
    this.#series.set(key, series);
  }

  /** Those of one case beside each other, cases as they came. */
  get series(): readonly Series[] {
    const all = [...this.#series.values()];
    const cases = new Set(all.map(caseOf));
    return [...cases].flatMap((of) => all.filter((one) => caseOf(one) === of));
  }
}
