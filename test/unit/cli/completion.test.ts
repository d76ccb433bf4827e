/** Completion as it is typed: the script of bash runs in a real bash; those of zsh and fish are read. */
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commandsBelow, optionsOf } from '../../../src/cli/command-spec.js';
import { skep } from '../../../src/cli/commands.js';
import { bashScript } from '../../../src/cli/completion/bash.js';
import { complete } from '../../../src/cli/completion/candidates.js';
import { completion } from '../../../src/cli/completion/completion.js';
import { fishScript } from '../../../src/cli/completion/fish.js';
import { shells } from '../../../src/cli/completion/shells.js';
import { zshScript } from '../../../src/cli/completion/zsh.js';

let directory: string;
let path: string;

/** What `skep __complete` would say on a machine with two labs and some services, one of them of a bad mind. */
const stub = `#!/bin/sh
case "$1 $2 $3" in
  '__complete labs ') printf 'demo\\nlab\\n' ;;
  '__complete nodes lab') printf 'node1\\nnode2\\n' ;;
  '__complete nodes demo') printf 'node1\\nnode7\\n' ;;
  '__complete services ') printf 'web\\nworker\\n$(touch evaluated)\\n' ;;
  *) exit 2 ;;
esac
`;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-completion-'));
  await writeFile(join(directory, 'skep.bash'), bashScript(skep));
  await mkdir(join(directory, 'bin'));
  await writeFile(join(directory, 'bin/skep'), stub);
  await chmod(join(directory, 'bin/skep'), 0o755);
  await mkdir(join(directory, 'files/swarms'), { recursive: true });
  await writeFile(join(directory, 'files/swarm.backup'), '');
  path = `${join(directory, 'bin')}:${process.env['PATH']}`;
});
afterAll(() => rm(directory, { recursive: true }));

/** Splits as bash does by its COMP_WORDBREAKS, of which only `=` and blanks matter here. */
const wordsOf = (line: string): string[] => line.split(/ +|(?==)|(?<==)/);

/** What bash offers at the end of the line. */
function offers(line: string, program = 'skep'): Promise<string[]> {
  const words = [program, ...wordsOf(line)];
  const script =
    'source "$1/skep.bash"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _skep; printf "%s\\n" "${COMPREPLY[@]}"';
  return new Promise((resolve, reject) => {
    execFile(
      'bash',
      ['--norc', '-uc', script, 'bash', directory, ...words],
      { cwd: join(directory, 'files'), env: { PATH: path } },
      (err, stdout, stderr) => {
        if (err || stderr !== '') return reject(err ?? new Error(stderr));
        resolve(stdout.split('\n').filter((word) => word !== ''));
      },
    );
  });
}

const top = [
  'verify',
  'status',
  'trace',
  'backup',
  'restore',
  'doctor',
  'config',
  'lab',
  'completion',
  'help',
  'version',
];

test.each([
  ['', top],
  ['ver', ['verify', 'version']],
  ['-', ['--version', '--help', '-h']],
  ['verify ', []],
  ['verify -', ['--repair', '--json', '--quiet', '-q', '--help', '-h']],
  ['verify --json --r', ['--repair']],
  ['lab ', ['up', 'down', 'ls', 'status', 'exec', 'client', 'logs', 'kill', 'start', 'cut', 'heal']],
  ['lab st', ['status', 'start']],
  ['lab up --ke', ['--kernel']],
  ['lab up --kernel ', ['host', 'uml', 'qemu']],
  ['lab up --kernel u', ['uml']],
  ['lab up --kernel=', ['host', 'uml', 'qemu']],
  ['lab up --kernel=q', ['qemu']],
  ['lab up --init --balancer ', ['ipvs', 'ebpf', 'auto']],
  ['lab up --nodes ', []],
  ['lab down --name ', ['demo', 'lab']],
  ['lab exec ', ['node1', 'node2']],
  ['lab exec --name demo ', ['node1', 'node7']],
  ['lab exec --name=demo node7', ['node7']],
  ['lab exec node1 ', []],
  ['lab cut node1 --name demo ', ['node1', 'node7']],
  ['lab exec node1 -- printen', ['printenv']],
  ['lab exec node1 -- cat swarm', ['swarm.backup', 'swarms']],
  ['verify -- ', []],
  ['trace we', ['web']],
  ['trace ', ['web', 'worker', '$(touch evaluated)']],
  ['trace --from ', []],
  ['trace --from x w', ['web', 'worker']],
  ['backup swarm.', ['swarm.backup']],
  ['backup --passphrase-file swarm.', ['swarm.backup']],
  ['completion ', ['bash', 'zsh', 'fish']],
  ['help d', ['doctor']],
  ['nonsense ', []],
])('bash: skep %s', async (line, words) => {
  expect((await offers(line)).sort()).toEqual([...words].sort());
});

test('bash: a name is offered and not run', async () => {
  await offers('trace $');
  expect(await offers('backup ev')).toEqual([]);
});

test('bash: the program that was typed is asked', async () => {
  expect(await offers('lab down --name ', join(directory, 'bin/skep'))).toEqual(['demo', 'lab']);
  expect(await offers('lab down --name ', '/no/such/skep')).toEqual([]);
});

type Shell = (typeof shells)[number];
const scripts: Readonly<Record<Shell, string>> = {
  bash: bashScript(skep),
  zsh: zshScript(skep),
  fish: fishScript(skep),
};

/** The lines of a script that speak of one command's options. */
const linesOf: Readonly<Record<Shell, (script: string, path: readonly string[]) => readonly string[]>> = {
  bash: (script, path) =>
    script.split('\n').filter((line) => line.startsWith(`    '${path.join(' ')}') printf `)),
  zsh: (script, path) => {
    const lines = script.split('\n');
    const from = lines.indexOf(`_${path.join('_')}() {`);
    return from < 0 ? [] : lines.slice(from, lines.indexOf('}', from) + 1);
  },
  fish: (script, path) =>
    script
      .split('\n')
      .filter((line) => line.startsWith(`complete -c skep -n '__skep_at ${path.join(' ')}' `)),
};

/** The quote that is open at the end; fish alone has escapes in single quotes. */
function openQuote(script: string, shell: Shell): string | undefined {
  let open: string | undefined;
  for (let at = 0; at < script.length; at++) {
    const char = script[at] ?? '';
    if (char === '\\' && (open !== "'" || shell === 'fish')) at++;
    else if (char === '#' && open === undefined && /\s/.test(script[at - 1] ?? '\n'))
      at = script.indexOf('\n', at);
    else if (open === undefined && (char === "'" || char === '"')) open = char;
    else if (char === open) open = undefined;
  }
  return open;
}

describe.each([...shells])('the script of %s', (shell) => {
  test.each(commandsBelow(skep).map(({ path: words, spec }) => [words.join(' '), words, spec] as const))(
    'has the options of %s, and those alone',
    (_name, words, spec) => {
      const lines = linesOf[shell](scripts[shell], words).join('\n');
      const flags = [...lines.matchAll(shell === 'fish' ? / -l ([a-z-]+)/g : /[ {'(]--([a-z-]+)/g)];
      const names = optionsOf(spec).map(([name]) => name);
      expect([...new Set(flags.map(([, name]) => name))].sort()).toEqual(names.sort());
    },
  );

  test('has no quote that stays open, and nothing that is no text', () => {
    expect(openQuote(scripts[shell], shell)).toBeUndefined();
    expect(openQuote(`${scripts[shell]}'`, shell)).toBe("'");
    expect(scripts[shell]).not.toMatch(/undefined|\[object/);
  });
});

test('zsh: what _arguments takes for its own is escaped in explanations', () => {
  const spec = { ...skep.spec, commands: {}, options: { odd: { meaning: "it's [a] \\ b" } } };
  expect(zshScript({ path: ['skep'], spec })).toContain(`'--odd[it'\\''s \\[a\\] \\\\ b]'`);
});

test('fish: quotes and backslashes are escaped in descriptions', () => {
  const spec = { ...skep.spec, commands: {}, options: { odd: { meaning: "it's \\ b" } } };
  expect(fishScript({ path: ['skep'], spec })).toContain(`-l odd -d 'it\\'s \\\\ b'`);
});

test.each(shells)('skep completion %s prints its script', async (shell) => {
  const lines: string[] = [];
  const terminal = { out: (line: string) => void lines.push(line), err: () => expect.unreachable(), env: {} };
  expect(await completion([shell], terminal)).toBe(0);
  expect(`${lines.join('\n')}\n`).toBe(scripts[shell]);
});

describe('skep __complete', () => {
  const asked = async (...args: string[]): Promise<string[]> => {
    const lines: string[] = [];
    const env = { SKEP_RUN_DIR: directory };
    expect(
      await complete(args, { out: (line) => void lines.push(line), err: () => expect.unreachable(), env }),
    ).toBe(0);
    return lines;
  };

  test.each([
    [200, '[{"Spec":{"Name":"web"}},{"Spec":{"Name":"api"}}]', ['api', 'web']],
    [503, '{"message":"This node is not a swarm manager."}', []],
    [200, 'not JSON', []],
  ])('services of an API that answers %i %s', async (status, body, names) => {
    const server = createServer((request, reply) =>
      reply.writeHead(request.url === '/services' ? status : 404).end(body),
    );
    await new Promise<void>((resolve) => server.listen(join(directory, 'docker.sock'), resolve));
    expect(await asked('services')).toEqual(names);
    await new Promise((resolve) => server.close(resolve));
  });

  test('without a daemon, and for a lab that there is not or cannot be, there is nothing to offer', async () => {
    expect(await asked('services')).toEqual([]);
    expect(await asked('nodes', 'no-such-lab')).toEqual([]);
    expect(await asked('nodes', '../x')).toEqual([]);
  });
});
