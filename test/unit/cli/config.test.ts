/** `skep config`: words, JSON and exit codes. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { configRuns, variablesIn } from '../../../src/cli/config.js';
import { runCommandLine } from '../../../src/cli/dispatch.js';
import { dataplaneSocket, engineAddress } from '../../../src/cli/paths.js';
import { exampleText } from '../../../src/options/example.js';
import { readOptions } from '../../../src/options/read.js';
import { options } from '../../../src/options/table.js';

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-config-'));
});
afterAll(() => rm(directory, { recursive: true }));

async function withFile(text: string): Promise<string> {
  const file = join(directory, 'skep.toml');
  await writeFile(file, text);
  return file;
}

async function run(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const [out, err]: [string[], string[]] = [[], []];
  const terminal = { out: (line: string) => void out.push(line), err: (line: string) => void err.push(line) };
  const code = await runCommandLine(['config', ...args], {
    terminal: { ...terminal, env },
    loaders: {
      'config check': () => Promise.resolve(configRuns.check),
      'config show': () => Promise.resolve(configRuns.show),
      'config example': () => Promise.resolve(configRuns.example),
    },
    version: () => '',
  });
  return { code, out, err };
}

test('check: a file that is fine', async () => {
  const file = await withFile('[log]\nlevel = "debug"\n');
  const fine = { code: 0, out: [`${file} is fine.`], err: [] };
  expect(await run(['check', file])).toEqual(fine);
  expect(await run(['check'], { SKEP_CONFIG: file, SKEP_LOG: 'loud' })).toEqual(fine);
  expect(await run(['check', file, '--json'])).toEqual({
    ...fine,
    out: [JSON.stringify({ file, exists: true, findings: [] })],
  });
});

test('check: what is wrong, what it means, what to do', async () => {
  const file = await withFile('[log]\nlevle = "debug"\n\n[api]\ngroup = 3\n');
  const { code, out, err } = await run(['check', file]);
  expect([code, err]).toEqual([1, []]);
  expect(out).toEqual([
    `${file}:2: [log] has no option "levle"`,
    '  what it means: it would be without effect; neither skepd nor skep-dataplane starts with it; what runs and the network go on as they are',
    '  what to do: did you mean level? Then rename it',
    `${file}:5: [api] group: is a number and not the name of a group`,
    '  what it means: skepd does not start with it; what runs and the network go on as they are',
    '  what to do: say for example group = "skep", or remove it for "docker"',
  ]);
  const json = await run(['check', file, '--json']);
  expect(json.code).toBe(1);
  expect(JSON.parse(json.out[0] ?? '')).toMatchObject({
    ...{ file, exists: true },
    findings: [
      { from: 'file', line: 2, daemons: ['skepd', 'skep-dataplane'] },
      { from: 'file', line: 5, daemons: ['skepd'] },
    ],
  });
});

test('check: no file is fine, a named one that is not there cannot be told', async () => {
  const file = join(directory, 'nowhere.toml');
  expect(await run(['check'], { SKEP_CONFIG: file })).toEqual({
    ...{ code: 0, out: [`There is no ${file}: every option has its default.`], err: [] },
  });
  expect(await run(['check', file])).toMatchObject({ code: 2, out: [] });
  expect((await run(['check', directory])).err[0]).toContain('EISDIR');
  expect(await run(['check', directory])).toMatchObject({ code: 2, out: [] });
});

test('example: the file as it is shipped', async () => {
  const { code, out } = await run(['example']);
  expect(code).toBe(0);
  expect(`${out.join('\n')}\n`).toBe(exampleText());
});

test('show: every option and where it is from, as a file that says the same', async () => {
  const file = await withFile('[api]\ngroup = "skep"\n[metrics]\ndataplane-address = ""\n');
  const env = { SKEP_CONFIG: file, SKEP_ALLOW: 'privileged,shm-size' };
  const { code, out } = await run(['show'], env);
  expect(code).toBe(0);
  expect(out).toContainEqual(expect.stringMatching(/^group = "skep" +# .*skep\.toml$/));
  expect(out).toContainEqual(
    expect.stringMatching(/^allow = \["privileged", "shm-size"\] +# environment \(SKEP_ALLOW\)$/),
  );
  expect(out).toContainEqual(expect.stringMatching(/^level = "info" +# default$/));
  const again = readOptions(out.join('\n'), {});
  expect(again.findings).toEqual([]);
  expect(again.values).toEqual(
    readOptions('[api]\ngroup = "skep"\n[metrics]\ndataplane-address = ""', env).values,
  );
  expect(Object.keys(parse(out.join('\n')))).toHaveLength(7);
});

test('show --json', async () => {
  const file = await withFile('[log]\nlevel = "loud"');
  const { code, out } = await run(['show', '--json'], { SKEP_CONFIG: file, SKEP_RUN_DIR: '/r' });
  const said = JSON.parse(out[0] ?? '') as { options: { name: string }[]; findings: unknown[] };
  expect([code, said.options.length, said.findings.length]).toEqual([1, options.length, 1]);
  expect(said.options).toContainEqual({
    ...{ name: 'paths.run-dir', value: '/r', from: 'environment', variable: 'SKEP_RUN_DIR' },
  });
  expect(said.options).toContainEqual({
    ...{ name: 'log.level', value: 'info', from: 'default', variable: 'SKEP_LOG' },
  });
});

test('what systemd hands to skepd is named', () => {
  const text = '# SKEP_GROUP=x\nSKEP_ALLOW=privileged\n  SKEP_LOG = debug\nSKEP_OTHER=1\n';
  expect(variablesIn(text)).toEqual(['SKEP_ALLOW', 'SKEP_LOG']);
});

test.each([[[]], [['lint']], [['check', 'a', 'b']], [['show', 'a']], [['example', '--json']]])(
  '%j makes no sense',
  async (args) => {
    expect(await run(args)).toMatchObject({ code: 2, out: [] });
  },
);

test('the other commands find the daemons where the file says, also while it has errors or cannot be read', async () => {
  const file = await withFile('[paths]\nrun-dir = "/r"\nx = 1\n[engine]\naddress = "unix:///e"\n');
  expect(dataplaneSocket({ SKEP_CONFIG: file })).toBe('/r/dataplane.sock');
  expect(engineAddress({ SKEP_CONFIG: file })).toBe('unix:///e');
  expect(dataplaneSocket({ SKEP_CONFIG: file, SKEP_RUN_DIR: '/s' })).toBe('/s/dataplane.sock');
  expect(dataplaneSocket({ SKEP_CONFIG: directory })).toBe('/run/skep/dataplane.sock');
  expect(engineAddress({ SKEP_CONFIG: directory })).toBe('unix:///var/run/docker.sock');
});
