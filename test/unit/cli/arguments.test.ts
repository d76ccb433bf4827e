/** How words become options and arguments, and what is said of words that make no sense. */
import { describe, expect, test } from 'vitest';
import { asksForHelp, asksForJson, readCommandLine } from '../../../src/cli/arguments.js';
import { UsageError } from '../../../src/cli/command.js';
import type { CommandSpec } from '../../../src/cli/command-spec.js';
import { commands } from '../../../src/cli/commands.js';

const words = (line: string): string[] => line.split(' ').filter((word) => word !== '');
const { lab, ...own } = commands;
const below = lab.commands;

const understood: Array<[line: string, command: CommandSpec, read: object]> = [
  ['', own.verify, { options: { repair: false, json: false, quiet: false }, arguments: {}, command: [] }],
  ['--json -q', own.verify, { options: { repair: false, json: true, quiet: true } }],
  ['web', own.trace, { options: { from: '', json: false }, arguments: { SERVICE: 'web' } }],
  ['--from 192.0.2.7 8080 --json', own.trace, { options: { from: '192.0.2.7', json: true } }],
  ['--from=a --from=b web', own.trace, { options: { from: 'b', json: false } }],
  ['--from=-x web', own.trace, { options: { from: '-x', json: false } }],
  ['-- --json', own.trace, { options: { json: false, from: '' }, arguments: { SERVICE: '--json' } }],
  ['/f', own.backup, { options: { 'passphrase-file': undefined, force: false, quiet: false } }],
  ['', below.up, { options: { name: 'lab', nodes: '3', kernel: 'host', balancer: undefined, init: false } }],
  ['--init --kernel uml --name x', below.up, { options: { name: 'x', kernel: 'uml', init: true } }],
  [
    'node1 --name demo -- docker --name x -- y',
    below.exec,
    {
      options: { name: 'demo' },
      arguments: { NODE: 'node1' },
      command: ['docker', '--name', 'x', '--', 'y'],
    },
  ],
  ['-- curl -s http://x/', below.client, { arguments: {}, command: ['curl', '-s', 'http://x/'] }],
  ['node1 client', below.cut, { arguments: { A: 'node1', B: 'client' } }],
  ['labs', commands.__complete, { arguments: { KIND: 'labs', LAB: undefined } }],
];

test.each(understood)('reads %j', (line, spec, read) => {
  expect(readCommandLine(spec, words(line))).toMatchObject(read);
});

const refused: Array<[line: string, command: CommandSpec, what: string, todo?: string]> = [
  ['--jsn', own.verify, 'unknown option "--jsn"', 'Did you mean "--json"?'],
  ['--frobnicate', own.verify, 'unknown option "--frobnicate"'],
  ['-x', own.verify, 'unknown option "-x"'],
  ['now', own.verify, 'it takes no argument, and "now" is one too many'],
  ['--json=yes', own.verify, '--json takes no value, and has "yes"'],
  ['', own.trace, 'it needs SERVICE'],
  ['web api', own.trace, 'it takes SERVICE, and "api" is one too many'],
  [
    'web --from',
    own.trace,
    '--from needs a value',
    'Write --from CLIENT, or --from=CLIENT where it begins with a dash.',
  ],
  ['web --from --json', own.trace, '--from needs a value'],
  ['bsh', own.completion, 'SHELL must be one of bash, zsh, fish, not "bsh"', 'Did you mean "bash"?'],
  ['--kernel other', below.up, '--kernel must be one of host, uml, qemu, not "other"'],
  [
    '--balancer ipsv',
    below.up,
    '--balancer must be one of ipvs, ebpf, auto, not "ipsv"',
    'Did you mean "ipvs"?',
  ],
  ['--nodes 3', below.down, 'unknown option "--nodes"'],
  ['node1', below.cut, 'it needs B'],
  ['a b c', below.cut, 'it takes A and B, and "c" is one too many'],
  ['node1', below.exec, 'it needs a command after --'],
  ['node1 --', below.exec, 'it needs a command after --'],
  ['node1 ls -- ls', below.exec, 'it takes NODE, and "ls" is one too many'],
  ['-- ls', below.exec, 'it needs NODE'],
];

test.each(refused)('refuses %j', (line, spec, what, todo) => {
  const read = (): unknown => readCommandLine(spec, words(line));
  expect(read).toThrow(UsageError);
  expect(read).toThrow(
    expect.objectContaining({ message: what, ...(todo !== undefined && { todo }) }) as Error,
  );
});

describe('what comes before --', () => {
  test.each([
    ['--help', true],
    ['web -h', true],
    ['node1 -- docker --help', false],
    ['', false],
  ])('%j asks for help: %j', (line, is) => expect(asksForHelp(words(line))).toBe(is));
  test.each([
    ['web --json', true],
    ['node1 -- skep verify --json', false],
  ])('%j asks for JSON: %j', (line, is) => expect(asksForJson(words(line))).toBe(is));
});
