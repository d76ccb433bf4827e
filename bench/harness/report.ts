/** A run as people read it: a table of what was measured, with ratios to whom Skep is held against, and one of its bars. */
import { median } from '../../test/support/median.js';
import { columns } from '../columns.js';
import { isMissed } from './bars.js';
import type { Verdict } from './bars.js';
import { find, ratioOf } from './series.js';
import type { Series } from './series.js';

/** Whom the others are shown as shares of, where they took part. */
const references = ['limit', 'bare', 'direct', 'swarm'] as const;
/** Skep's other engines are shown as shares of the one that the kernel suggests. */
const suggested = 'skep';
const isOtherEngine = (contender: string): boolean => contender.startsWith(`${suggested}, `);

export interface Report {
  readonly series: readonly Series[];
  readonly verdicts: readonly Verdict[];
}

/** Rows of cells, the head first. */
export type Cells = readonly (readonly string[])[];

/** A row for each series: its median, the spread of its rounds, and what it is of each reference (spread of the rounds' ratios). */
export function seriesCells(series: readonly Series[]): Cells {
  const present = [
    ...references.filter((name) => series.some(({ contender }) => contender === name)),
    ...(series.some(({ contender }) => isOtherEngine(contender)) ? [suggested] : []),
  ];
  return [
    ['case', 'measure', 'contender', 'median', 'rounds', ...present.map((name) => `of ${name}`)],
    ...series.map((one) => [
      one.case,
      `${one.measure} (${one.unit})`,
      one.contender,
      figure(median(one.values)),
      spread(Math.min(...one.values), Math.max(...one.values)),
      ...present.map((name) => {
        const other = find(series, { ...one, contender: name });
        if (!other || name === one.contender) return '';
        if (name === suggested && !isOtherEngine(one.contender)) return '';
        const { ofMedians, least, most } = ratioOf(one, other);
        return Number.isNaN(ofMedians) ? '-' : `${figure(ofMedians)} (${spread(least, most)})`;
      }),
    ]),
  ];
}

/** A row for each bar. */
export const verdictCells = (verdicts: readonly Verdict[]): Cells => [
  ['bar', 'reached', ''],
  ...verdicts.map((verdict) => [verdict.bar, figure(verdict.reached), wordsOf(verdict)]),
];

function wordsOf(verdict: Verdict): string {
  if (isMissed(verdict)) return 'MISSED';
  return verdict.holds ? 'holds' : `out of reach: ${figure(verdict.outOfReach ?? NaN)} at best`;
}

/** Both tables for a terminal. */
export const textOf = ({ series, verdicts }: Report): string =>
  [seriesCells(series), ...(verdicts.length > 0 ? [verdictCells(verdicts)] : [])]
    .map((cells) => columns(cells))
    .join('\n\n');

/** Three significant digits, which is more than these machines can tell apart. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const digits = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(digits);
}

const spread = (least: number, most: number): string => `${figure(least)}–${figure(most)}`;
