/** The language of expected output: what matches, what does not, what is bound; and every change of what was printed is seen. */
import { describe, expect, test } from 'vitest';
import { fillIn, forms, matchOutput, placeholdersOf } from '../../support/documentation/pattern.js';

const id = 'a1b2c3d4e5f6g7h8i9j0k1l2m';
const token = `SWMTKN-1-${'0'.repeat(50)}-${'z'.repeat(25)}`;

const matching: readonly [name: string, expected: string[], printed: string][] = [
  ['nothing', [], ''],
  ['nothing but an end of line', [], '\n'],
  ['a line', ['web scaled to 3'], 'web scaled to 3\n'],
  ['columns of any width', ['ID NAME'], 'ID              NAME\n'],
  ['blanks at the end', ['a b'], 'a   b   \n'],
  ['a line that begins with blanks', ['  STOPS: here'], '    STOPS: here\n'],
  ['empty lines within', ['a', '', 'b'], 'a\n\nb\n'],
  ['marks of expressions as they are', ['*:8080->80/tcp (a|b) [x] $1.'], '*:8080->80/tcp (a|b) [x] $1.\n'],
  ['any lines before', ['...', 'c'], 'a\nb\nc\n'],
  ['any lines that are none', ['...', 'c', '...'], 'c\n'],
  ['any lines between, the last of two possible ends', ['a', '...', 'b'], 'a\nb\nx\nb\n'],
  ['any lines twice', ['...', 'b', '...', 'd', '...'], 'a\nb\nc\nd\ne\n'],
  ['an id', ['<id> *   node1 Ready'], `${id} *   node1   Ready\n`],
  ['an age', ['Running <age>'], 'Running about a minute ago\n'],
  ['the least age', ['Running <age>'], 'Running less than a second ago\n'],
  ['an address and a port', ['RemoteAddr: <address>:<port>'], 'RemoteAddr: 192.0.2.7:40000\n'],
  ['a text with blanks', ['Rejected: <text>No such image<text>'], 'Rejected: "No such image: x"\n'],
];

test.each(matching)('%s matches', (_, expected, printed) => {
  expect(matchOutput(expected, printed)).toMatchObject({ matched: true });
});

const different: readonly [name: string, expected: string[], printed: string, why: string][] = [
  ['a line more', ['a'], 'a\nb\n', 'more was printed than expected'],
  ['a line less', ['a', 'b'], 'a\n', 'not as expected: b'],
  ['nothing printed', ['a'], '', 'not as expected: a'],
  ['something where nothing is to be', [], 'a\n', 'more was printed than expected'],
  ['another word', ['web scaled to 3'], 'web scaled to 2\n', 'not as expected: web scaled to 3'],
  ['more at the end of a line', ['web'], 'web2\n', 'not as expected: web'],
  ['more at its beginning', ['web'], 'myweb\n', 'not as expected: web'],
  ['blanks where there are none', ['ab'], 'a b\n', 'not as expected: ab'],
  ['no blanks where there are some', ['a b'], 'ab\n', 'not as expected: a b'],
  ['a line that never comes after any', ['a', '...', 'z'], 'a\nb\nc\n', 'not as expected: z'],
  ['an order that is another', ['...', 'b', '...', 'a'], 'a\nb\n', 'not as expected: a'],
  ['a form that is another', ['<number>'], 'three\n', 'not as expected: <number>'],
  ['a short id for a long one', ['<id>'], 'a1b2c3d4e5f6\n', 'not as expected: <id>'],
  ['a point as any character', ['1.2'], '1x2\n', 'not as expected: 1.2'],
  ['an empty text', ['say <text>.'], 'say .\n', 'not as expected: say <text>.'],
];

test.each(different)('%s does not', (_, expected, printed, why) => {
  const found = matchOutput(expected, printed);
  expect(found).toMatchObject({ matched: false });
  if (!found.matched) expect(found.why.split('\n')[0]).toBe(why);
});

describe('of what a node list prints', () => {
  const expected = [
    'ID HOSTNAME STATUS',
    '<id> * node1 Ready Leader <version>',
    '<id> node2 Ready <version>',
  ];
  const printed = [
    'ID                            HOSTNAME   STATUS',
    `${id} *   node1      Ready     Leader    20.10.24+dfsg1`,
    `${id}     node2      Ready               20.10.24+dfsg1`,
  ];

  test('it matches as it is', () => {
    expect(matchOutput(expected, printed.join('\n'))).toMatchObject({ matched: true });
  });

  test.each(printed.flatMap((line, at) => line.split(/ +/).map((word) => [at, word] as const)))(
    'line %i without %s does not match',
    (at, word) => {
      const mutated = printed.map((line, index) => (index === at ? line.replace(word, '') : line));
      expect(matchOutput(expected, mutated.join('\n'))).toMatchObject({ matched: false });
    },
  );

  test.each([0, 1, 2])('without line %i, or with it twice, it does not match', (at) => {
    const without = printed.filter((_, index) => index !== at);
    const twice = printed.flatMap((line, index) => (index === at ? [line, line] : [line]));
    for (const mutated of [without, twice])
      expect(matchOutput(expected, mutated.join('\n'))).toMatchObject({ matched: false });
  });
});

test('many lines and many ends of any lines are told apart soon', () => {
  const expected = Array.from({ length: 12 }, () => ['...', 'a']).flat();
  const printed = `${'a\n'.repeat(400)}b`;
  expect(matchOutput(expected, printed)).toMatchObject({ matched: false });
});

test('what is bound is what was printed, and commands have it', () => {
  const found = matchOutput(['...', '    docker swarm join --token <worker-token> h:2377'], `x\n    docker swarm join --token ${token} h:2377\n`); // prettier-ignore
  expect(found).toEqual({ matched: true, bound: new Map([['worker-token', token]]) });
  if (found.matched)
    expect(fillIn("echo '<worker-token>' <<'END'", found.bound)).toBe(`echo '${token}' <<'END'`);
});

test('what nothing was printed for, and a form that is none, are errors', () => {
  expect(() => fillIn('docker swarm join --token <worker-token>', new Map())).toThrow('<worker-token>');
  expect(() => matchOutput(['<nonsense>'], 'x')).toThrow('<nonsense> is no placeholder');
});

test('placeholders are words, not redirections', () => {
  expect(placeholdersOf('a <id> b <short-id>')).toEqual(['id', 'short-id']);
  expect(placeholdersOf("cat <<'END' >file; diff <(a) <(b); cat <in >out")).toEqual([]);
});

test('no form takes nothing, or a line that ends within', () => {
  for (const [name, { source }] of Object.entries(forms)) {
    const whole = new RegExp(`^(?:${source})$`);
    expect([name, whole.test(''), whole.test('a\nb')]).toEqual([name, false, false]);
  }
});
