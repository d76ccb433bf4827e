/** The bench harness: what it makes of values, as tables of data to data. */
import { describe, expect, test } from 'vitest';
import { isMissed, judge } from '../../../bench/harness/bars.js';
import { plotOf } from '../../../bench/harness/plot.js';
import { figure, seriesCells, textOf } from '../../../bench/harness/report.js';
import { sectionOf, withSection } from '../../../bench/harness/results-file.js';
import { alternate } from '../../../bench/harness/rounds.js';
import { Measurements, ratioOf } from '../../../bench/harness/series.js';
import type { Series } from '../../../bench/harness/series.js';

const seriesOf = (contender: string, values: readonly number[], measure = 'requests'): Series => ({
  ...{ case: '', measure, unit: '1/s', contender, values },
});
const skep = seriesOf('skep', [90, 110, 100]);
const swarm = seriesOf('swarm', [45, 50, 200]);

describe('ratios', () => {
  test('are of medians, and their spread is of the rounds', () => {
    expect(ratioOf(skep, swarm)).toEqual({ ofMedians: 2, least: 0.5, most: 2.2 });
  });

  test('against nothing are no number, so that no bar holds by them', () => {
    const none = seriesOf('swarm', [0, 0, 0]);
    expect(ratioOf(skep, none).ofMedians).toBeNaN();
    const bar = { of: { ...skep }, against: none, atLeast: 0.1 };
    expect(judge([bar], [skep, none])).toMatchObject([{ holds: false }]);
  });
});

describe('bars', () => {
  const series = [skep, swarm, seriesOf('skep', [0, 0, 1], 'errors')];
  const of = { case: '', measure: 'requests', contender: 'skep' };
  const against = { ...of, contender: 'swarm' };
  test.each([
    [{ of, against, atLeast: 2 }, true, 'requests, skep: at least 2 of swarm'],
    [{ of, against, atLeast: 2.1 }, false, 'requests, skep: at least 2.1 of swarm'],
    [{ of: against, against: of, atMost: 0.5 }, true, 'requests, swarm: at most 0.5 of skep'],
    [{ of: { ...of, measure: 'errors' }, atMost: 0 }, true, 'errors, skep: at most 0'],
    [{ of, atMost: 99 }, false, 'requests, skep: at most 99'],
    [
      { of: { ...of, measure: 'errors' }, atMost: 0, inEveryRound: true as const },
      false,
      'errors, skep: at most 0 in every round',
    ],
    [{ of, atLeast: 90, inEveryRound: true as const }, true, 'requests, skep: at least 90 in every round'],
  ])('%j', (bar, holds, words) => {
    expect(judge([bar], series)).toMatchObject([{ bar: words, holds }]);
  });

  test.each([
    ['not even the ideal reaches them', [85, 90, 100], true, 'out of reach: 1.80 at best'],
    ['the ideal reaches them', [100, 200, 300], false, 'MISSED'],
    ['nobody can tell', [NaN, NaN, NaN], false, 'MISSED'],
  ])('that are not held: %s', (_, bare, isExcused, words) => {
    const bar = { of, against, atLeast: 2.1, ideal: { ...of, contender: 'bare' } };
    const all = [...series, seriesOf('bare', bare)];
    const verdicts = judge([bar], all);
    expect(verdicts.map(isMissed)).toEqual([!isExcused]);
    expect(textOf({ series: all, verdicts })).toContain(words);
  });

  test('of what was not measured are a mistake, not a bar that holds', () => {
    expect(() => judge([{ of: { ...of, case: 'elsewhere' }, atMost: 1 }], series)).toThrow(
      'not measured: requests, elsewhere, skep',
    );
  });
});

test('contenders take turns, each round beginning with another one', async () => {
  const turns: string[] = [];
  await alternate(
    ['a', 'b'],
    3,
    () => undefined,
    (name) => name,
    async (name, round) => void turns.push(`${round}${name}`),
  );
  expect(turns).toEqual(['0a', '0b', '1b', '1a', '2a', '2b']);
});

test('measurements keep the order of rounds for each series', () => {
  const measurements = new Measurements();
  const name = { case: '', measure: 'requests', unit: '1/s' };
  for (const [contender, value] of [
    ['skep', 1],
    ['swarm', 2],
    ['swarm', 3],
    ['skep', 4],
  ] as const)
    measurements.add({ ...name, contender }, value);
  expect(measurements.series).toEqual([seriesOf('skep', [1, 4]), seriesOf('swarm', [2, 3])]);
});

describe('reports', () => {
  test('show medians, spreads and shares of those that took part', () => {
    expect(seriesCells([skep, swarm])).toEqual([
      ['case', 'measure', 'contender', 'median', 'rounds', 'of swarm'],
      ['', 'requests (1/s)', 'skep', '100', '90.0–110', '2.00 (0.500–2.20)'],
      ['', 'requests (1/s)', 'swarm', '50.0', '45.0–200', ''],
    ]);
  });

  test('show another engine of Skep’s as a share of the one that the kernel suggests', () => {
    const other = seriesOf('skep, ebpf', [180, 220, 200]);
    expect(seriesCells([skep, other, swarm]).map((row) => row.at(-1))).toEqual([
      'of skep',
      '',
      '2.00 (2.00–2.00)',
      '',
    ]);
  });

  test.each([
    [0, '0'],
    [0.01234, '0.0123'],
    [1.5, '1.50'],
    [12345.6, '12346'],
    [NaN, '-'],
  ])('%d is %s', (value, words) => {
    expect(figure(value)).toBe(words);
  });

  test('say which bars are missed', () => {
    const verdicts = judge([{ of: skep, against: swarm, atLeast: 3 }], [skep, swarm]);
    expect(textOf({ series: [skep, swarm], verdicts })).toContain('MISSED');
  });
});

describe('the results file', () => {
  const provenance = { commit: 'abc1234', machine: '2 processors.', date: '2026-01-02', rounds: 5 };
  const report = { series: [skep, swarm], verdicts: [] };
  const [first, second, again] = ['deploy, uml', 'vip, host', 'deploy, uml'].map((title, at) =>
    sectionOf(title, { ...provenance, commit: `commit${at}` }, report, 'plots/x.svg'),
  );

  test('has one section for each bench and kernel, the last run’s', () => {
    const both = withSection(withSection('', second ?? ''), first ?? '');
    const later = withSection(both, again ?? '');
    expect(both.match(/^## .*$/gm)).toEqual(['## deploy, uml', '## vip, host']);
    expect(later.match(/^## .*$/gm)).toEqual(['## deploy, uml', '## vip, host']);
    expect(later).toContain('commit2');
    expect(later).not.toContain('commit0');
    expect(withSection(later, again ?? '')).toBe(later);
  });
});

test('a plot has a bar for each series and a dot for each round', () => {
  const svg = plotOf('deploy', [skep, swarm]);
  expect(svg).toMatch(/^<svg /);
  expect(svg).toContain('requests (1/s)');
  expect(svg.match(/fill="#0072b2"/g)).toHaveLength(1);
  expect(svg.match(/fill="#e69f00"/g)).toHaveLength(1);
  expect(svg.match(/fill="#222222"/g)).toHaveLength(skep.values.length + swarm.values.length);
});
