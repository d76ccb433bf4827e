/** Names that users give besides: what DNS can carry is taken, also where a host would not be called so. */
import { expect, test } from 'vitest';
import { aliasesMax, faultOfAliases, isDnsName } from '../../../src/model/dns-names.js';

const longest = ['x'.repeat(63), 'y'.repeat(63), 'z'.repeat(63), 'w'.repeat(61)].join('.');

test.each([
  ['db', true],
  ['my_db', true],
  ['DB.Example.com', true],
  ['*', true],
  ['10', true],
  [longest, true],
  [`${longest}w`, false],
  ['x'.repeat(64), false],
  ['', false],
  ['.', false],
  ['.db', false],
  ['db.', false],
  ['a..b', false],
  ['a b', false],
  ['a\tb', false],
  ['a\u007fb', false],
  ['é', false],
])('%j: %s', (name, is) => {
  expect(isDnsName(name)).toBe(is);
});

test('a network’s aliases are bounded in number, and a refusal in length', () => {
  expect(faultOfAliases('net', Array(aliasesMax).fill('a') as string[])).toBeUndefined();
  expect(faultOfAliases('net', Array(aliasesMax + 1).fill('a') as string[])).toContain('64 or fewer');
  expect(faultOfAliases('net', ['a', 'x'.repeat(100_000)])?.length).toBeLessThan(500);
});
