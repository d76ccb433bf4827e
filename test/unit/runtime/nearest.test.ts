/** Which name somebody meant. */
import { expect, test } from 'vitest';
import { editsBetween, nearest } from '../../../src/runtime/nearest.js';

const names = ['verify', 'status', 'trace', 'backup', 'restore', 'doctor', 'lab', 'tls-ca'];

test.each([
  ['verfy', 'verify'],
  ['staus', 'status'],
  ['tarce', 'trace'],
  ['back', 'backup'],
  ['TLS_CA', 'tls-ca'],
  ['Stat', 'status'],
  ['x', undefined],
  ['', undefined],
  ['kubectl', undefined],
])('the name nearest to %j is %j', (typed, near) => {
  expect(nearest(typed, names)).toBe(near);
});

test('nothing is near where nothing is, or to what is far longer', () => {
  expect(nearest('verify', [])).toBeUndefined();
  expect(nearest('verify'.repeat(100_000), names)).toBeUndefined();
});

test.each([
  ['', 'abc', 3],
  ['abc', 'abc', 0],
  ['abc', 'abd', 1],
  ['abc', 'acb', 1],
  ['abc', 'ab', 1],
  ['kitten', 'sitting', 3],
])('between %j and %j are %i edits', (one, other, edits) => {
  expect([editsBetween(one, other), editsBetween(other, one)]).toEqual([edits, edits]);
});
