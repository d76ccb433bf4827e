/** A daemon's look at its host's file: what stops which, and what it logs. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OutsideError } from '../../../src/model/errors.js';
import { optionsPath, startingOptions } from '../../../src/options/file.js';
import { OptionsError } from '../../../src/options/finding.js';
import type { Environment } from '../../../src/options/read.js';
import type { DaemonName } from '../../../src/options/table.js';
import { daemonNames } from '../../../src/options/table.js';

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-options-'));
});
afterAll(() => rm(directory, { recursive: true }));

/** Starts a daemon's reading of a file; `lines` is what it logs. */
async function start(daemon: DaemonName, bytes: string | Uint8Array, env: Environment = {}) {
  const file = join(directory, 'skep.toml');
  await writeFile(file, bytes);
  const lines: { level: number; msg: string; said?: object }[] = [];
  const log = pino(
    { level: 'info' },
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        lines.push(JSON.parse(chunk.toString()) as (typeof lines)[number]);
        done();
      },
    }),
  );
  const read = (): unknown => startingOptions(daemon, { ...env, SKEP_CONFIG: file }, log);
  return { file, lines, log, read };
}

test('the path', () => {
  expect(optionsPath({})).toBe('/etc/skep/skep.toml');
  expect(optionsPath({ SKEP_CONFIG: '/x' })).toBe('/x');
});

test('a file that is not there is all defaults', async () => {
  const { read, file } = await start('skepd', '');
  await rm(file);
  expect(read()).toMatchObject({ values: { 'paths.run-dir': '/run/skep' }, findings: [] });
});

test('what is said is logged by name, for the options of this daemon; the level holds from here', async () => {
  const text = '[log]\nlevel = "debug"\n[balancer]\nengine = "ebpf"\n';
  const { read, lines, log } = await start('skepd', text, { SKEP_GROUP: 'x' });
  read();
  expect(log.level).toBe('debug');
  expect(lines).toMatchObject([
    { msg: 'options read', said: { 'api.group': 'environment', 'log.level': 'file' } },
  ]);
  expect(lines[0]?.said).not.toHaveProperty('balancer.engine');
});

describe('an error stops whom it concerns', () => {
  test.each<[string, string, readonly DaemonName[]]>([
    ['no TOML', '[', daemonNames],
    ['an unknown table', '[x]', daemonNames],
    ['a wrong level', '[log]\nlevel = "x"', daemonNames],
    ['a wrong group', '[api]\ngroup = "a b"', ['skepd']],
    ['an unknown option of one daemon', '[api]\nx = 1', ['skepd']],
    ['TCP without TLS', '[api]\nhosts = ["tcp://0.0.0.0"]', ['skepd']],
    ['a wrong balancer', '[balancer]\nengine = "x"', ['skep-dataplane']],
  ])('%s', async (_name, text, stopped) => {
    for (const daemon of daemonNames) {
      const { read, lines, file } = await start(daemon, text);
      if (stopped.includes(daemon)) {
        expect(read).toThrow(OptionsError);
        expect(read).toThrow(`${file}:`);
        expect(read).toThrow('; to mend it: ');
        expect(read).toThrow(`${daemon} `);
      } else {
        read();
        // 40: warn.
        expect(lines[0]).toMatchObject({ level: 40 });
        expect(lines[0]?.msg).toContain(`${file}:2: [`);
      }
    }
  });
});

test('a wrong allowance in the environment is an error in the log, and a start', async () => {
  const { read, lines } = await start('skepd', '', { SKEP_ALLOW: 'all' });
  read();
  // 50: error.
  expect(lines[0]).toMatchObject({ level: 50 });
  expect(lines[0]?.msg).toContain('services are allowed nothing of this host');
});

test.each([
  ['it is not UTF-8', Uint8Array.of(0x23, 0xff)],
  ['it is larger than 65536 bytes', '#'.repeat(65_537)],
])('a file is no start: %s', async (words, bytes) => {
  const { read } = await start('skep-dataplane', bytes);
  expect(read).toThrow(OutsideError);
  expect(read).toThrow(words);
});

test('a directory in its place is no start', async () => {
  const { read, file } = await start('skepd', '');
  await rm(file);
  expect(() => startingOptions('skepd', { SKEP_CONFIG: directory }, pino({ level: 'silent' }))).toThrow(
    `cannot read the options in ${directory}: EISDIR`,
  );
  expect(read()).toBeTruthy();
});
