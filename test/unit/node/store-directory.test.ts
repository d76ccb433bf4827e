import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { StoreDirectory } from '../../../src/controlplane/node/store-directory.js';

let swarmDir: string;
let directory: StoreDirectory;
beforeEach(async () => {
  swarmDir = await mkdtemp(join(tmpdir(), 'skep-store-'));
  directory = new StoreDirectory(swarmDir);
});
afterEach(() => rm(swarmDir, { recursive: true }));

const put = async (content: string): Promise<void> => {
  const wal = join(directory.path, 'member', 'wal');
  await mkdir(wal, { recursive: true });
  await writeFile(join(wal, '0.wal'), content);
};
const held = (name: string): Promise<string> =>
  readFile(join(swarmDir, name, 'member', 'wal', '0.wal'), 'utf8').catch(() => 'none');

test('is a store only with its log', async () => {
  expect(await directory.hasStore()).toBe(false);
  await mkdir(join(directory.path, 'member', 'snap'), { recursive: true });
  expect(await directory.hasStore()).toBe(false);
  await put('log');
  expect(await directory.hasStore()).toBe(true);
});

test('a restore that does not come to its end has not been', async () => {
  await put('damaged');
  await directory.beginRestore();
  await put('half');
  await directory.undoRestore();
  expect([await held('etcd'), await held('etcd.lost')]).toEqual(['damaged', 'none']);
  await directory.undoRestore();
  expect(await held('etcd')).toBe('damaged');

  await directory.beginRestore();
  await put('whole');
  await directory.endRestore();
  await directory.undoRestore();
  expect([await held('etcd'), await held('etcd.lost')]).toEqual(['whole', 'none']);
  expect(await readdir(swarmDir)).toEqual(['etcd']);
});

test('keeps what was lost until something else works, however often that fails, and once', async () => {
  await put('first');
  await directory.setAside();
  expect([await held('etcd'), await held('etcd.lost')]).toEqual(['none', 'first']);
  await put('never worked');
  await directory.setAside();
  expect([await held('etcd'), await held('etcd.lost')]).toEqual(['none', 'first']);
  await put('works');
  await directory.forget();
  expect([await held('etcd'), await held('etcd.lost')]).toEqual(['works', 'none']);
  await directory.setAside();
  expect(await held('etcd.lost')).toBe('works');
  await directory.remove();
  expect(await readdir(swarmDir)).toEqual([]);
});
