/** How a page is read: fences, links, anchors, code. */
import { expect, test } from 'vitest';
import { parsePage } from '../../support/documentation/page.js';

const read = (...lines: string[]) => parsePage('docs/a.md', lines.join('\n'));

test('fences with their words and lines; what is in one is nothing else', () => {
  const page = read('text', '```console node1 fails', '$ a', '# no heading [no](link.md)', '```', '```', 'x', '```'); // prettier-ignore
  expect(page.fences).toEqual([
    { line: 2, info: ['console', 'node1', 'fails'], lines: ['$ a', '# no heading [no](link.md)'] },
    { line: 6, info: [], lines: ['x'] },
  ]);
  expect([page.links, [...page.anchors]]).toEqual([[], []]);
});

test('a longer fence holds a shorter one', () => {
  expect(read('````text', '```', '````').fences).toEqual([{ line: 1, info: ['text'], lines: ['```'] }]);
});

test('a fence that is never closed is an error with its line', () => {
  expect(() => read('a', '```console', '$ x')).toThrow('docs/a.md:2');
});

test('links to pages and anchors, not to sites, and not in code', () => {
  const page = read('[a](b.md) and [`code`](../c.md#d-e), [here](#f), [site](https://example.org/x)', '`[no](x.md)`'); // prettier-ignore
  expect(page.links).toEqual([
    { line: 1, path: 'b.md', anchor: '' },
    { line: 1, path: '../c.md', anchor: 'd-e' },
    { line: 1, path: '', anchor: 'f' },
  ]);
});

test.each([
  ['## A task stays Pending', 'a-task-stays-pending'],
  ['# 18. Where published ports listen', '18-where-published-ports-listen'],
  ['## `skep verify`, and what it says!', 'skep-verify-and-what-it-says'],
  ['### Two  blanks_and-dashes ', 'two--blanks_and-dashes'],
])('%s is %s', (heading, anchor) => {
  expect([...read(heading).anchors]).toEqual([anchor]);
});

test('headings of one name are numbered, and what looks like one is none', () => {
  expect([...read('# A', '## A', '### A', '#no', 'x # A').anchors]).toEqual(['a', 'a-1', 'a-2']);
});

test('code within text', () => {
  expect(read('`skep verify` and `skep status --json`', '', '| `x` |').codes).toEqual([
    'skep verify',
    'skep status --json',
    'x',
  ]);
});
