import { createServer } from 'node:http';
import type { Server, ServerResponse } from 'node:http';
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { backup, restore } from '../../../src/cli/backup.js';
import { runCommandLine } from '../../../src/cli/dispatch.js';
import { readPassphrase } from '../../../src/cli/passphrase.js';

let directory: string;
let skepd: Server;
/** What skepd was asked. */
let asked: string[];
/** How it answers. */
let answer: (reply: ServerResponse) => void;
const head = { clusterId: 'c1', revision: 7, objects: 3, takenAtMs: 0, nodeId: 'n1' };
const lines: string[] = [];
const terminal = {
  out: (line: string) => void lines.push(line),
  err: (line: string) => void lines.push(`! ${line}`),
  env: {} as NodeJS.ProcessEnv,
};

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-cli-'));
  terminal.env = { SKEP_RUN_DIR: directory };
  lines.length = 0;
  asked = [];
  await writeFile(join(directory, 'word'), 'correct horse battery\nmore\n');
  skepd = createServer((request, reply) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      asked.push(`${request.url} ${Buffer.concat(chunks).toString()}`);
      answer(reply);
    });
  });
  await new Promise<void>((resolve) => skepd.listen(join(directory, 'docker.sock'), resolve));
  answer = (reply) => {
    reply.writeHead(200, { 'Skep-Backup': JSON.stringify(head) });
    reply.end('SEALED');
  };
});
afterEach(async () => {
  await new Promise((resolve) => skepd.close(resolve));
  await rm(directory, { recursive: true });
});

/** As the command is run; errors come as lines that begin with `!`. */
const run = (...argv: string[]): Promise<number> =>
  runCommandLine([...argv, '--quiet'], {
    terminal,
    loaders: { backup: () => Promise.resolve(backup), restore: () => Promise.resolve(restore) },
    version: () => '',
  });
const file = (): string => join(directory, 'backup');
const word = (): string[] => ['--passphrase-file', join(directory, 'word')];
const others = async (): Promise<string[]> =>
  (await readdir(directory)).filter((name) => !['word', 'docker.sock'].includes(name));

test('a backup is one file for its owner, and replaces another only if that is asked for', async () => {
  expect(await run('backup', file(), ...word())).toBe(0);
  expect(asked).toEqual(['/skep/backup {"Passphrase":"correct horse battery"}\n']);
  expect(await readFile(file(), 'utf8')).toBe('SEALED');
  expect((await stat(file())).mode & 0o777).toBe(0o600);
  expect(lines[0]).toBe(`swarm c1 at revision 7, 3 objects, in ${file()}`);

  expect(await run('backup', file(), ...word())).toBe(1);
  expect(lines).toContain(`! skep backup: ${file()} is there already; --force replaces it`);
  expect(asked).toHaveLength(1);
  expect(await run('backup', file(), '--force', ...word())).toBe(0);
  expect(await others()).toEqual(['backup']);
});

test('what skepd refuses, and an answer that breaks off, leave nothing', async () => {
  answer = (reply) => reply.writeHead(503).end('{"message":"This node is not a swarm manager."}\n');
  expect(await run('backup', file(), ...word())).toBe(1);
  expect(lines).toEqual([
    '! skep backup: This node is not a swarm manager.',
    '!   This means: A backup is made of what a manager has, and this node has nothing of it to give now. No file was written.',
    '!   What to do: Run it on a manager: "docker node ls" there shows which nodes are. "docker info" says in which state this one is.',
  ]);
  answer = (reply) => {
    reply.writeHead(200, { 'Skep-Backup': JSON.stringify(head) });
    reply.write('SEA', () => reply.destroy());
  };
  expect(await run('backup', file(), ...word())).toBe(1);
  expect(lines).toContain('! skep backup: the answer of skepd broke off: aborted');
  expect(await others()).toEqual([]);
  await new Promise((resolve) => skepd.close(resolve));
  expect(await run('backup', file(), ...word())).toBe(1);
  expect(lines).toContain(
    `! skep backup: skepd at ${join(directory, 'docker.sock')} gives no answer: there is no such socket`,
  );
});

test('a restore sends word, addresses and file, and says who the manager is', async () => {
  await writeFile(file(), 'SEALED');
  answer = (reply) => reply.end(JSON.stringify(head));
  expect(await run('restore', file(), '--advertise-addr', '192.0.2.9', ...word())).toBe(0);
  expect(asked).toEqual([
    '/skep/restore {"Passphrase":"correct horse battery","ListenAddr":"","AdvertiseAddr":"192.0.2.9","DataPathAddr":""}\nSEALED',
  ]);
  expect(lines[0]).toBe(
    'swarm c1 as of 1970-01-01T00:00:00.000Z, 3 objects; this node is its only manager: n1',
  );
  expect(await run('restore', join(directory, 'none'), ...word())).toBe(1);
  expect(lines).toContain(`! skep restore: cannot read ${join(directory, 'none')}: there is no such file`);
  expect(await run('restore')).toBe(2);
  expect(lines).toContain('! skep restore: it needs FILE');
});

test('a place that takes no file is said before a passphrase is asked for', async () => {
  const path = join(directory, 'none', 'backup');
  expect(await run('backup', path, '--passphrase-file', join(directory, 'no word either'))).toBe(1);
  expect(lines[0]).toBe(
    `! skep backup: cannot write ${path}: there is no directory ${join(directory, 'none')}`,
  );
});

test('a passphrase that cannot be had is said before skepd is asked', async () => {
  expect(await run('backup', file(), '--passphrase-file', join(directory, 'none'))).toBe(1);
  expect(lines).toContain(`! skep backup: cannot read ${join(directory, 'none')}: there is no such file`);
  await writeFile(join(directory, 'word'), '\n');
  expect(await run('backup', file(), ...word())).toBe(2);
  expect(lines).toContain(`! skep backup: the passphrase is empty (${join(directory, 'word')})`);
  expect(asked).toEqual([]);
});

test('a passphrase is the first line of a file or of standard input', async () => {
  const source = { file: undefined, ask: () => undefined, isNew: true };
  const from = (text: string) => readPassphrase({ ...source, stdin: Readable.from([Buffer.from(text)]) });
  expect(await from('several words\r\nmore')).toBe('several words');
  await expect(from('\n')).rejects.toThrow(/empty/);
  await expect(from('')).rejects.toThrow(/empty/);
  await expect(from('x'.repeat(100_000))).rejects.toThrow(/too long/);
});
