/** Who is silent, round by round. */
import { describe, expect, test } from 'vitest';
import type { Round } from '../../../../src/dataplane/liveness/verdicts.js';
import { missedMax, Verdicts } from '../../../../src/dataplane/liveness/verdicts.js';
import type { NodeId } from '../../../../src/model/ids.js';

const node = (name: string): NodeId => name as NodeId;

/**
 * One round of 250 ms in which `a` and `b` are asked, as a word: who answered (`ab`, `a`, `b`, `-`), then `!` for one that this
 * daemon slept through and `?b` for one in which only b was asked.
 */
function roundOf(word: string): Round {
  const [, heard = '', slept, , only] = /^([ab]*)-?(!)?(\?([ab]))?$/.exec(word) ?? [];
  return {
    asked: new Set((only ?? 'ab').split('').map(node)),
    heard: new Set(heard.split('').filter(Boolean).map(node)),
    lengthMs: 250,
    tookMs: slept ? 5_000 : 260,
  };
}

/** After each round who is silent. */
function silentAfter(words: string, known: readonly string[] = []): string[] {
  const verdicts = new Verdicts(known.map(node));
  return words.split(' ').map((word) => {
    const round = roundOf(word);
    for (const nodeId of round.heard) verdicts.hear(nodeId);
    verdicts.judge(round);
    return [...verdicts.silent].sort().join('') || '.';
  });
}

describe('Verdicts', () => {
  const cases: readonly (readonly [
    name: string,
    rounds: string,
    known: readonly string[],
    silent: string,
  ])[] = [
    ['all answer', 'ab ab ab ab ab ab', [], '. . . . . .'],
    ['four rounds without an answer', 'ab a a a a a', [], '. . . . b b'],
    [
      'back with the first answer, and silent after four more',
      'ab a a a a ab a a a a',
      [],
      '. . . . b . . . . b',
    ],
    ['an answer in time begins anew', 'ab a a a ab a a a ab', [], '. . . . . . . . .'],
    ['who has never answered is not judged', 'a a a a a a', [], '. . . . . .'],
    ['nor is anybody at the start', '- - - - - -', [], '. . . . . .'],
    ['who answered an earlier daemon is', 'a a a a a', ['a', 'b'], '. . . b b'],
    ['both, as when this node is cut off', 'ab - - - - -', [], '. . . . ab ab'],
    ['rounds that were slept through do not count', 'ab a a a! a! a! a a', [], '. . . . . . . b'],
    ['a stall alone makes nobody silent', 'ab -! -! -! -! -! ab', [], '. . . . . . .'],
    ['an answer that was read after a stall counts', 'ab a a a ab! a a a', [], '. . . . . . . .'],
    ['rounds in which one was not asked do not count', 'ab -?b -?b -?b -?b ab', [], '. . . . b .'],
    ['whoever is silent stays so through a stall', 'ab a a a a a! a!', [], '. . . . b b b'],
  ];
  for (const [name, rounds, known, silent] of cases)
    test(name, () => expect(silentAfter(rounds, known).join(' ')).toBe(silent));

  test('gives the same set until it changes', () => {
    const verdicts = new Verdicts([node('a'), node('b')]);
    const { silent } = verdicts;
    for (const word of ['a', 'a', 'a']) verdicts.judge(roundOf(word));
    expect(verdicts.silent).toBe(silent);
    expect(verdicts.judge(roundOf('a'))).toEqual(['b']);
    const fallen = verdicts.silent;
    expect(verdicts.judge(roundOf('a'))).toEqual([]);
    expect(verdicts.hear(node('a'))).toBe(false);
    expect(verdicts.silent).toBe(fallen);
    expect(verdicts.hear(node('b'))).toBe(true);
    expect([...verdicts.silent]).toEqual([]);
  });

  test('forgets who is no peer any more, silent or not', () => {
    const verdicts = new Verdicts([node('a'), node('b')]);
    for (const word of ['a', 'a', 'a', 'a']) verdicts.judge(roundOf(word));
    expect(verdicts.keep(new Set([node('a'), node('b'), node('c')]))).toBe(false);
    expect(verdicts.keep(new Set([node('a')]))).toBe(true);
    expect([[...verdicts.silent], verdicts.known]).toEqual([[], ['a']]);
  });
});

test('missedMax: a second without an answer, and three rounds at least', () => {
  expect([250, 500, 750, 1000, 2000].map(missedMax)).toEqual([4, 3, 3, 3, 3]);
});
