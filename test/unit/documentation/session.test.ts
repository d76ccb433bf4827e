/** How a fence becomes a session, and which fences say nothing. */
import { expect, test } from 'vitest';
import type { Page } from '../../support/documentation/page.js';
import { sessionsOf } from '../../support/documentation/session.js';

const blocks = (info: string, ...lines: string[]) => {
  const page = { path: 'docs/a.md', fences: [{ line: 7, info: info.split(' '), lines }] };
  return sessionsOf(page as unknown as Page);
};
const plain = {
  kind: 'session',
  where: 'docs/a.md:7',
  runner: 'lab',
  eventually: false,
  fails: false,
  off: [],
};

test.each([
  [
    'console node1',
    ['$ a', 'b', '', 'c', '$ d'],
    {
      ...plain,
      machine: 'node1',
      steps: [
        { command: 'a', expected: ['b', '', 'c'] },
        { command: 'd', expected: [] },
      ],
    },
  ],
  [
    'console client eventually fails',
    ['$ curl x'],
    {
      ...plain,
      machine: 'client',
      eventually: true,
      fails: true,
      steps: [{ command: 'curl x', expected: [] }],
    },
  ],
  [
    'console node1 off=node2,node3',
    ['$ a'],
    { ...plain, machine: 'node1', off: ['node2', 'node3'], steps: [{ command: 'a', expected: [] }] },
  ],
  [
    'console host runner=checked',
    ['$ npm test'],
    { ...plain, machine: 'host', runner: 'checked', steps: [{ command: 'npm test', expected: [] }] },
  ],
  [
    'console node2',
    ['$ cat >f <<X', '> one', '>  two', '> X', 'said', '> not typed'],
    {
      ...plain,
      machine: 'node2',
      steps: [{ command: 'cat >f <<X\none\n two\nX', expected: ['said', '> not typed'] }],
    },
  ],
])('%s', (info, lines, session) => {
  expect(blocks(info, ...lines)).toEqual([session]);
});

test('a file', () => {
  expect(blocks('yaml node1 file=blog.yml', 'services:', '  web:')).toEqual([
    {
      kind: 'file',
      where: 'docs/a.md:7',
      machine: 'node1',
      name: 'blog.yml',
      content: 'services:\n  web:\n',
    },
  ]);
});

test('other fences are nothing to type', () => {
  expect(blocks('text', '$ a')).toEqual([]);
  expect(blocks('yaml', 'a: b')).toEqual([]);
});

test.each([
  ['console', ['$ a'], 'typed where?'],
  ['console node4', ['$ a'], 'typed where?'],
  ['console node1 sometimes', ['$ a'], '"sometimes" means nothing'],
  ['console node1 runner=nobody', ['$ a'], '"runner=nobody" means nothing'],
  ['console node1 runner=toString', ['$ a'], '"runner=toString" means nothing'],
  ['console node1 off=', ['$ a'], '"off=" means nothing'],
  ['console node1 off=node1', ['$ a'], '"node1" cannot be off'],
  ['console node1 off=client', ['$ a'], '"client" cannot be off'],
  ['console node1', [], 'no command'],
  ['console node1', ['output', '$ a'], 'begins with no command'],
  ['console node1', ['$'], 'begins with no command'],
  ['yaml file=a', ['x'], 'expected LANGUAGE MACHINE file=NAME'],
  ['yaml node1 file=../a', ['x'], 'expected LANGUAGE MACHINE file=NAME'],
  ['yaml node1 file=a more', ['x'], 'expected LANGUAGE MACHINE file=NAME'],
])('%s with %j is refused: %s', (info, lines, words) => {
  expect(() => blocks(info, ...lines)).toThrow(words);
  expect(() => blocks(info, ...lines)).toThrow('docs/a.md:7');
});
