/**
 * The table of commands, and what is made of it: whatever the table has, help, manual and completion have, and nothing is said of it
 * that is not so. `SKEP_UPDATE=1` writes help.txt anew; read the difference before you commit it.
 */
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readCommandLine } from '../../../src/cli/arguments.js';
import { commandsBelow, optionsOf, usageLine } from '../../../src/cli/command-spec.js';
import type { CommandAt } from '../../../src/cli/command-spec.js';
import { skep } from '../../../src/cli/commands.js';
import { completedCommands } from '../../../src/cli/completion/words.js';
import { daemons } from '../../../src/cli/daemons.js';
import { helpText } from '../../../src/cli/help.js';
import { writeManual } from '../../../src/cli/manual-files.js';
import { manualPages } from '../../../src/cli/manual-page.js';
import { balancerNames, kernelNames } from '../../../src/cli/lab-commands.js';
import { kernels } from '../../../src/lab/kernels.js';
import { engineNames } from '../../../src/dataplane/plan/balancing.js';

const all = commandsBelow(skep);
const nameOf = ({ path }: CommandAt): string => path.join(' ');
const rows = all.map((at): [name: string, at: CommandAt] => [nameOf(at), at]);
const pages = new Map(manualPages(skep, daemons, '1.2.3').map(({ file, roff }) => [file, roff]));
const completed = new Map(completedCommands(skep).map((command) => [command.path, command]));

/** As a reader sees a page: without macros, fonts and escapes. */
const readable = (roff: string): string =>
  roff
    .replaceAll(/\\f[BIR]/g, '')
    .replaceAll('\\-', '-')
    .replaceAll('\\(aq', "'")
    .replaceAll('\\(dq', '"')
    .replaceAll('\\(ti', '~')
    .replaceAll('\\&', '')
    .replaceAll(/\s+/g, ' ');
const oneLine = (text: string): string => text.replaceAll(/\s+/g, ' ');

describe.each(rows)('%s', (name, at) => {
  const { spec, path } = at;
  const help = oneLine(helpText(at));
  const page = readable(pages.get(`${path.join('-')}.1`) ?? '');

  test('is in help, manual and completion, with each option and argument', () => {
    const completion = completed.get(name);
    const flags = completion?.options.flatMap((option) => option.flags) ?? [];
    for (const [option, { short, value, meaning }] of optionsOf(spec)) {
      const shown = `--${option}${value === undefined ? '' : ` ${value}`}`;
      expect(help).toContain(shown);
      expect(page).toContain(shown);
      for (const text of [help, page]) expect(text).toContain(meaning);
      expect(flags).toContain(`--${option}`);
      if (short !== undefined) expect(flags).toContain(`-${short}`);
    }
    for (const { name: argument, meaning } of spec.arguments)
      for (const text of [help, page]) for (const part of [argument, meaning]) expect(text).toContain(part);
    expect(completion?.arguments.map((argument) => argument.name)).toEqual(
      spec.arguments.map((argument) => argument.name),
    );
    for (const [code, meaning] of spec.exits)
      for (const text of [help, page]) expect(text).toContain(`${code} ${meaning}`);
    for (const text of [help, page])
      for (const paragraph of spec.description) expect(text).toContain(paragraph);
  });

  test('is shown in the help, manual and completion of the command above it', () => {
    const above = path.slice(0, -1);
    if (above.length === 0) return expect(path).toEqual(['skep']);
    const parent = all.find((other) => nameOf(other) === above.join(' '));
    expect(oneLine(helpText(parent ?? skep))).toContain(spec.summary);
    expect(readable(pages.get(`${above.join('-')}.1`) ?? '')).toContain(`${name} ${spec.summary}`);
    expect(completed.get(above.join(' '))?.commands).toContainEqual({
      name: path.at(-1),
      summary: spec.summary,
    });
  });

  test('is written as all are', () => {
    expect(spec.summary).toMatch(/^[a-z].*[^.]$/);
    for (const paragraph of spec.description) expect(paragraph).toMatch(/^[A-Z].*[.\]}]$/s);
    for (const [, meaning] of spec.exits) expect(meaning).toMatch(/[^.]$/);
    const letters = optionsOf(spec).flatMap(([, { short }]) => (short === undefined ? [] : [short]));
    expect(new Set(letters).size).toBe(letters.length);
    // What has code of its own says how it ends; only the last argument may be missing.
    if (!spec.commands)
      expect(spec.exits.map(([code]) => code)).toContain(spec.command === undefined ? '0' : '125');
    expect(spec.arguments.slice(0, -1).filter(({ optional }) => optional)).toEqual([]);
  });
});

const examples = all
  .flatMap(({ spec }) => spec.examples.map(([line]) => line))
  .filter((line) => !line.startsWith('source'));

test.each(examples)('the example "%s" is a command line that makes sense', (line) => {
  const words = line.replace(/^sudo /, '').split(' ');
  const at = all.findLast(({ path }) => path.every((word, place) => words[place] === word)) ?? skep;
  expect(at.path.length).toBeGreaterThan(1);
  if (at.path[1] === 'help') return;
  expect(() => readCommandLine(at.spec, words.slice(at.path.length))).not.toThrow();
});

test('commands that advice and texts name are there', () => {
  const named = [...pages.values()].flatMap((roff) => [
    ...readable(roff).matchAll(/"skep ([a-z]+(?: [a-z]+)?)/g),
  ]);
  expect(named.length).toBeGreaterThan(3);
  for (const [, words = ''] of named) {
    const [first = '', second = ''] = words.split(' ');
    expect(all.map(nameOf)).toContain(
      first === 'lab' && second !== '' ? `skep lab ${second}` : `skep ${first}`,
    );
  }
});

test('what --kernel and --balancer take is what there is', () => {
  expect([...kernelNames]).toEqual(Object.keys(kernels));
  expect([...balancerNames].sort()).toEqual(['auto', ...engineNames].sort());
});

test('help.txt has the help of every command', () => {
  const file = new URL('./help.txt', import.meta.url);
  const text = all.map((at) => `$ ${nameOf(at)} --help\n${helpText(at)}\n`).join('\n');
  if (process.env['SKEP_UPDATE'] === '1') writeFileSync(file, text);
  expect(text).toBe(readFileSync(file, 'utf8'));
  const tooLong = text.split('\n').filter((line) => line.length > 100);
  expect(tooLong).toEqual([]);
});

test('a usage line has all that a command takes', () => {
  const lines = Object.fromEntries(all.map((at) => [nameOf(at), usageLine(at)]));
  expect(lines).toMatchObject({
    skep: 'skep COMMAND [--version]',
    'skep trace': 'skep trace SERVICE [--from CLIENT] [--json]',
    'skep lab exec': 'skep lab exec NODE [--name NAME] -- CMD...',
    'skep help': 'skep help [COMMAND...]',
  });
});

describe('manual pages', () => {
  test('are there for each command and each daemon, in the section where they belong', () => {
    expect([...pages.keys()]).toEqual([
      ...all.map(({ path }) => `${path.join('-')}.1`),
      'skepd.8',
      'skep-dataplane.8',
    ]);
  });

  test.each([...pages])('%s is as groff wants it', async (_file, roff) => {
    expect(roff).toMatch(/^\.\\".*\n\.TH "[A-Z-]+" "[18]" "" "skep 1\.2\.3" "Skep"\n/);
    for (const section of ['NAME', 'SYNOPSIS', 'DESCRIPTION', 'SEE ALSO'])
      expect(roff).toContain(`\n.SH ${section}\n`);
    expect(await groff(roff)).toEqual({ code: 0, warnings: '' });
  });

  test('a text that looks like a request, or has what roff takes for its own, is shown as it is', () => {
    const spec = {
      ...skep.spec,
      commands: {},
      description: [`.dots and 'quotes' \\fB back\\slashes "-" ^~\``],
    };
    const [page] = manualPages({ path: ['odd'], spec }, [], '1');
    expect(page?.roff).toContain(
      '\n\\&.dots and \\(aqquotes\\(aq \\efB back\\eslashes \\(dq\\-\\(dq \\(ha\\(ti\\(ga\n',
    );
  });

  test('references lead to pages that there are', () => {
    const referred = [...pages.values()].flatMap((roff) => [
      ...readable(roff).matchAll(/(skep[a-z-]*)\(([18])\)/g),
    ]);
    expect(referred.length).toBeGreaterThan(all.length);
    for (const [, page = '', section = ''] of referred)
      expect([...pages.keys()]).toContain(`${page}.${section}`);
  });

  test('are written to a directory, that is made if need be', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'skep-manual-'));
    const below = join(directory, 'below', 'man');
    await writeManual(below);
    await writeManual(below);
    expect((await readdir(below)).sort()).toEqual([...pages.keys()].sort());
    await rm(directory, { recursive: true });
  });
});

/** All warnings that groff has. */
function groff(roff: string): Promise<{ readonly code: number | null; readonly warnings: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn('groff', ['-man', '-ww', '-Tutf8'], { stdio: ['pipe', 'ignore', 'pipe'] });
    let warnings = '';
    child.stderr.on('data', (chunk: Buffer) => (warnings += chunk.toString()));
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, warnings }));
    child.stdin.end(roff);
  });
}
