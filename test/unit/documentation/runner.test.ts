/** Sessions typed into this machine's own bash: what a step sets the next one has, and what differs from the page is an error. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Typist } from '../../support/documentation/runner.js';
import { sessionsOf } from '../../support/documentation/session.js';
import type { Page } from '../../support/documentation/page.js';

let directory: string;
let powered: (readonly string[])[];
let typist: Typist;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'skep-typist-'));
  powered = [];
  typist = new Typist({
    shell: (machine) => ({
      home: join(directory, machine),
      memory: join(directory, `${machine}.shell`),
      run: (script) => {
        const { status, stdout, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8' });
        return Promise.resolve({ exitCode: status ?? 255, output: stdout + stderr });
      },
    }),
    power: (off) => Promise.resolve(void powered.push(off)),
  });
});
afterEach(() => rmSync(directory, { recursive: true }));

async function play(info: string, ...lines: string[]): Promise<void> {
  const page = { path: 'docs/a.md', fences: [{ line: 7, info: info.split(' '), lines }] };
  for (const block of sessionsOf(page as unknown as Page)) await typist.play(block);
}

test('variables, functions and the directory outlive a step and a session, on their machine alone', async () => {
  await play('console node1', '$ export WORD="a  b"', '$ say() { echo "said $1"; }', '$ mkdir in && cd in');
  await play('console node1', '$ say "$WORD" && pwd', 'said a b', `${directory}/node1/in`);
  await play('console node2 fails', '$ say x', '<text> say: command not found');
});

test('here documents, and both streams in the order of writing', async () => {
  await play('console node1', '$ cat <<END', '> one', '> END', 'one');
  await play('console node1', '$ echo a; echo b >&2; echo c', 'a', 'b', 'c');
});

test('a file is written as it stands', async () => {
  await play('yaml node1 file=a.yml', "x: '$HOME `y`'", '', '  z');
  expect(readFileSync(join(directory, 'node1/a.yml'), 'utf8')).toBe("x: '$HOME `y`'\n\n  z\n");
});

test('what is bound is typed', async () => {
  const key = `SWMKEY-1-${'A'.repeat(43)}`;
  await play('console node1', `$ echo key: ${key}`, 'key: <unlock-key>');
  await play('console node2', "$ echo '<unlock-key>' | tr A B", `SWMKEY-1-${'B'.repeat(43)}`);
});

test('nodes that are to be off are, before anything is typed', async () => {
  await play('console node1 off=node2', '$ true');
  await play('console node1', '$ true');
  expect(powered).toEqual([['node2'], []]);
});

test('progress is passed over, and nothing that only looks like it', async () => {
  await play('console node1', "$ echo '[   0.3 s] asking' >&2; echo a; echo '[ 12.0 s] done'", 'a');
  await play('console node1', "$ echo '[x s] a'; echo ' [ 1.0 s] b'", '[x s] a', ' [ 1.0 s] b');
});

test('what comes after a while is waited for', async () => {
  await play('console node1 eventually', '$ echo x >>n; wc -l <n', '3');
});

test.each([
  ['another output', 'console node1', ['$ echo b', 'a'], 'not as expected: a'],
  ['more output', 'console node1', ['$ printf "a\\nb\\n"', 'a'], 'more was printed than expected'],
  ['a command that fails', 'console node1', ['$ echo a; false', 'a'], 'exit code 1: echo a; false'],
  ['a refusal that is none', 'console node1 fails', ['$ echo a', 'a'], 'exit code 0: echo a'],
  ['a command that makes no sense', 'console node1', ['$ if', '...'], 'exit code 2: if'],
  ['an unbound word', 'console node1', ['$ echo <unlock-key>'], 'nothing has said what <unlock-key> is'],
])('%s is an error', async (_, info, lines, words) => {
  await expect(play(info, ...lines)).rejects.toThrow(words);
});

test('an error says where, on which machine and what was printed', async () => {
  const failure = play('console node2', '$ echo one; echo two', 'one');
  await expect(failure).rejects.toThrow(/^docs\/a\.md:7, on node2, [^]*--- printed\none\ntwo$/);
});
