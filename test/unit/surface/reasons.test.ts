/** The reasons why Skep answers otherwise than Swarm say what they explain, so that nothing new can hide behind one. */
import { expect, test } from 'vitest';
import type { Difference } from '../../swarm/http/differences.js';
import { judge } from '../../swarm/http/judge.js';
import { keptAnswers } from '../../swarm/http/kept.js';
import { reasons } from '../../swarm/http/reasons.js';

const cases = reasons.flatMap(({ because, cases }) => cases.map((each) => ({ because, ...each })));
const whole = /^\^.*\$$/s;

/** Of a request that nobody asks, and differences that would be news anywhere. */
const nobodys = [
  'paths | GET /v<api>/nonsense',
  'services made | POST /v<api>/services/create (nonsense)',
  'no swarm | GET /v<api>/info (nonsense) more',
];
const news = [
  'answer SWARM "there" SKEP nothing',
  'status SWARM 200 SKEP 500',
  'status SWARM 404 SKEP 200',
  'unexpected SWARM true SKEP nothing',
  'header server SWARM "Docker/VERSION (linux)" SKEP nothing',
  'body SWARM "OK" SKEP nothing',
  'body SWARM [] SKEP []',
  'body.message SWARM "one thing" SKEP "another"',
  'body.Spec.Name SWARM "one" SKEP nothing',
  'body[0].Spec.Labels SWARM {} SKEP null',
];

test.each(cases)('$because: $asked $differs', ({ asked, differs }) => {
  expect(asked.source, 'says the whole title').toMatch(whole);
  expect(differs.source, 'says the whole difference').toMatch(whole);
  expect(nobodys.filter((title) => asked.test(title))).toEqual([]);
  expect(news.filter((said) => differs.test(said))).toEqual([]);
});

test('every case is of requests that are asked, and none of most', () => {
  const titles = [...new Set(['1.41', '1.51'].flatMap((version) => [...keptAnswers(version)!.keys()]))];
  const counts = cases.map(({ asked }) => titles.filter((title) => asked.test(title)).length);
  expect(cases.filter((_, i) => counts[i] === 0).map(({ asked }) => asked)).toEqual([]);
  expect(Math.max(...counts)).toBeLessThan(titles.length / 20);
});

test('each reason says something else', () => {
  expect(new Set(reasons.map(({ because }) => because)).size).toBe(reasons.length);
});

const difference = (title: string, skep: string): Difference => ({ title, at: 'status', swarm: '200', skep });
const reason = (because: string, asked: RegExp, differs: RegExp): (typeof reasons)[number] => ({
  because,
  cases: [{ asked, differs }],
});

test('a difference without a reason, one with two, and a case without a difference are told', () => {
  const one = reason('one', /^a$/, /^status SWARM 200 SKEP 400$/);
  const other = reason('other', /^[ab]$/, /^status SWARM 200 SKEP (400|403)$/);
  const stale = reason('stale', /^z$/, /^status SWARM 200 SKEP 400$/);
  const [both, alone, none] = [difference('a', '400'), difference('b', '403'), difference('c', '404')];
  const [first, second] = [
    { version: '1.41', swarm: new Map(), differences: [both] },
    { version: '1.51', swarm: new Map(), differences: [alone, none] },
  ];
  const { explained, unexplained, ambiguous, stale: left } = judge([first, second], [one, other, stale]);
  expect(explained.map((each) => [each.reason.because, each.differences])).toEqual([
    ['one', [{ ...both, version: '1.41' }]],
    ['other', [{ ...alone, version: '1.51' }]],
  ]);
  expect([unexplained, ambiguous, left]).toEqual([
    [{ ...none, version: '1.51' }],
    [{ ...both, version: '1.41' }],
    stale.cases,
  ]);
});
