/** One command line from its words to its exit code: which command runs, and how its errors are told. */
import { expect, test } from 'vitest';
import { readCommandLine } from '../../../src/cli/arguments.js';
import { CommandError } from '../../../src/cli/command.js';
import type { Run } from '../../../src/cli/command.js';
import { commands, skep } from '../../../src/cli/commands.js';
import { complaintOf } from '../../../src/cli/complaint.js';
import { runCommandLine } from '../../../src/cli/dispatch.js';
import { helpText } from '../../../src/cli/help.js';
import { requireLabCode } from '../../../src/cli/lab-code.js';
import type { ErrorKind } from '../../../src/model/errors.js';
import { OutsideError, SkepError } from '../../../src/model/errors.js';

interface Ran {
  readonly code: number;
  readonly out: readonly string[];
  readonly err: readonly string[];
}

/** With code for `verify` and `lab exec` that does this; all other commands have none. */
async function run(line: string, body: Run = () => Promise.resolve(0)): Promise<Ran> {
  const out: string[] = [];
  const err: string[] = [];
  const load = (): Promise<Run> => Promise.resolve(body);
  const code = await runCommandLine(
    line.split(' ').filter((word) => word !== ''),
    {
      terminal: { out: (text) => out.push(text), err: (text) => err.push(text), env: {} },
      loaders: { verify: load, 'lab exec': load },
      version: () => '1.2.3',
    },
  );
  return { code, out, err };
}

const fails =
  (error: Error): Run =>
  () =>
    Promise.reject(error);
const helpOf = (name: string): string => {
  const path = name.split(' ');
  const spec = path.slice(1).reduce((at, word) => at.commands?.[word] ?? at, skep.spec);
  return helpText({ path, spec });
};

test.each([
  ['', 2, 'err', 'skep'],
  ['--help', 0, 'out', 'skep'],
  ['-h', 0, 'out', 'skep'],
  ['help', 0, 'out', 'skep'],
  ['verify --help', 0, 'out', 'skep verify'],
  ['help verify', 0, 'out', 'skep verify'],
  ['verify --nonsense -h', 0, 'out', 'skep verify'],
  ['lab', 2, 'err', 'skep lab'],
  ['lab --help', 0, 'out', 'skep lab'],
  ['lab help', 0, 'out', 'skep lab'],
  ['lab up --help', 0, 'out', 'skep lab up'],
  ['help lab up', 0, 'out', 'skep lab up'],
] as const)('skep %s: exit %i, and on std%s the help of %s', async (line, code, stream, name) => {
  expect(await run(line)).toEqual({ code, out: [], err: [], [stream]: [helpOf(name)] });
});

test.each(['version', '--version'])('skep %s', async (line) => {
  expect(await run(line)).toEqual({ code: 0, out: ['1.2.3'], err: [] });
});

test('the words after the name go to the command, and its exit code comes back', async () => {
  const seen: string[][] = [];
  const body: Run = (args) => {
    seen.push([...args]);
    return Promise.resolve(7);
  };
  expect((await run('lab exec node1 -- docker --help', body)).code).toBe(7);
  expect((await run('verify --repair', body)).code).toBe(7);
  expect(seen).toEqual([['node1', '--', 'docker', '--help'], ['--repair']]);
});

test.each([
  ['verfy', 'skep: unknown command "verfy"', 'Did you mean "skep verify"? "skep --help" says more.'],
  ['explode', 'skep: unknown command "explode"', 'Write "skep COMMAND". "skep --help" says more.'],
  ['explode --help', 'skep: unknown command "explode"', 'Write "skep COMMAND". "skep --help" says more.'],
  ['lab pu', 'skep lab: unknown command "pu"', 'Did you mean "skep lab up"? "skep lab --help" says more.'],
  ['--verify', 'skep: unknown option "--verify"', 'Did you mean "skep verify"? "skep --help" says more.'],
  [
    'help lab pu',
    'skep help: unknown command "pu"',
    'Did you mean "skep lab up"? "skep help --help" says more.',
  ],
  ['constructor', 'skep: unknown command "constructor"', 'Write "skep COMMAND". "skep --help" says more.'],
])('skep %s is refused', async (line, what, todo) => {
  const { code, out, err } = await run(line);
  expect({ code, out, what: err[0], todo: err[2] }).toEqual({
    ...{ code: 2, out: [], what },
    todo: `  What to do: ${todo}`,
  });
});

test('a word too many after version is refused', async () => {
  expect((await run('version now')).code).toBe(2);
});

test('an error says what happened, what it means, what to do', async () => {
  const error = new CommandError(1, 'it rains', { means: 'You get wet.', todo: 'Stay in.' });
  expect(await run('verify', fails(error))).toEqual({
    code: 1,
    out: [],
    err: ['skep verify: it rains', '  This means: You get wet.', '  What to do: Stay in.'],
  });
});

test('with --json it is one line of JSON', async () => {
  const error = new CommandError(1, 'it rains', { means: 'You get wet.', todo: 'Stay in.' });
  const { err } = await run('verify --json', fails(error));
  expect(err).toHaveLength(1);
  expect(JSON.parse(err[0] ?? '')).toEqual({
    error: {
      command: 'skep verify',
      what: 'it rains',
      means: 'You get wet.',
      todo: 'Stay in.',
      exitCode: 1,
    },
  });
});

test('a command line that makes no sense says what it would be like', async () => {
  const body: Run = (args) => Promise.resolve(readCommandLine(commands.verify, args).command.length);
  expect((await run('verify now', body)).err).toEqual([
    'skep verify: it takes no argument, and "now" is one too many',
    '  This means: The command line makes no sense as it is, so nothing was done.',
    '  What to do: Write "skep verify [--repair] [--json] [--quiet]". "skep verify --help" says more.',
  ]);
});

test.each([
  ['what exec itself cannot do', new SkepError('notFound', 'no lab called lab is up')],
  ['a command line that makes no sense', undefined],
])('%s is told from the exit codes of its command', async (_name, error) => {
  const body: Run = (args) =>
    Promise.resolve(readCommandLine(commands.lab.commands.exec, args).command.length);
  const { code, err } = await run('lab exec node1', error ? fails(error) : body);
  expect([code, err.length]).toEqual([125, 3]);
});

test('a bug is said to be one, with its stack', async () => {
  const { code, err } = await run('verify', fails(new TypeError('x is undefined')));
  expect({ code, what: err[0], means: err[1], stack: err[3] }).toEqual({
    code: 1,
    what: 'skep verify: x is undefined',
    means: '  This means: This is a bug of Skep, not of yours.',
    stack: expect.stringContaining('dispatch.test.ts') as string,
  });
});

const kinds: Readonly<Record<ErrorKind, number>> = {
  ...{
    invalidArgument: 2,
    failedPrecondition: 1,
    unauthenticated: 1,
    permissionDenied: 1,
    notFound: 1,
    alreadyExists: 1,
  },
  ...{ unimplemented: 1, unavailable: 1, aborted: 1, unknown: 1, deadlineExceeded: 1 },
};
const errno = (code: string): Error =>
  Object.assign(new Error(`${code}: failed, open '/x'`), { code, syscall: 'open' });

test.each([
  ...Object.entries(kinds).map(([kind, code]): [string, Error, number] => [
    kind,
    new SkepError(kind as ErrorKind, 'no'),
    code,
  ]),
  ['a failure outside', new OutsideError('no', false), 1] as [string, Error, number],
  ['one that may pass', new OutsideError('no', true), 1] as [string, Error, number],
  ['a full disk', errno('ENOSPC'), 1] as [string, Error, number],
  ['a call that nobody has seen fail', errno('EL2HLT'), 1] as [string, Error, number],
])('%s has all three parts, in sentences', (_name, error, exitCode) => {
  const complaint = complaintOf(error, { path: ['skep', 'verify'], spec: commands.verify });
  expect(complaint).toEqual({
    command: 'skep verify',
    what: error.message,
    means: expect.stringMatching(/^[A-Z].*\.$/) as string,
    todo: expect.stringMatching(/^[A-Z].*\.$/) as string,
    exitCode,
  });
});

test('advice that an error brings is what is said', () => {
  const advice = { means: 'It is so.', todo: 'Do so.' };
  for (const error of [
    new SkepError('notFound', 'no', { advice }),
    new OutsideError('no', false, { advice }),
  ])
    expect(complaintOf(error, skep)).toMatchObject(advice);
});

test('a lab is refused where its code is not, and only there', async () => {
  const nowhere = new URL('../../../dist/no-lab/', import.meta.url);
  const refused = (line: string): Promise<Ran> =>
    run(line, async () => {
      requireLabCode(nowhere);
      return Promise.resolve(0);
    });
  expect(await refused('lab exec node1 -- true')).toEqual({
    ...{ code: 125, out: [] },
    err: [
      'skep lab exec: this is a package of Skep, and labs are made from a checkout',
      '  This means: What makes a lab is not in the package. Nothing was done.',
      '  What to do: Run bin/skep lab in a checkout of Skep, after its scripts/setup.sh.',
    ],
  });
  expect(() => requireLabCode()).not.toThrow();
});
