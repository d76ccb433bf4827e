/** `/skep/backup` and `/skep/restore`: from a manager's store to another host's restore. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Backup } from '../../../src/controlplane/backup/backup-content.js';
import { Harness, ingressId, nodeId } from './harness.js';

let api: Harness;
beforeEach(async () => {
  api = await Harness.start();
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

const Passphrase = 'correct horse battery';
const restore = (file: Buffer, asked: object = { Passphrase }) =>
  api.call('POST', '/skep/restore', Buffer.concat([Buffer.from(`${JSON.stringify(asked)}\n`), file]));

test('a backup is all of the store but what is of the moment, and is handed over whole', async () => {
  // Also where nobody leads.
  api.control.state = { ...api.control.state, leaderlessMs: 60_000 };
  const taken = await api.call('POST', '/skep/backup', { Passphrase });
  expect(taken.status).toBe(200);
  expect(JSON.parse(String(taken.headers['skep-backup']))).toMatchObject({ nodeId, objects: 3 });
  for (const secret of ['THE-ROOT-KEY', 'SWMTKN', nodeId]) expect(taken.bytes.includes(secret)).toBe(false);

  const addresses = { ListenAddr: '', AdvertiseAddr: '192.0.2.9', DataPathAddr: '' };
  expect(await restore(taken.bytes, { Passphrase, ...addresses })).toMatchObject({
    status: 200,
    json: { nodeId, objects: 3 },
  });
  const [, backup, request] = api.control.calls.at(-1) as [string, Backup, object];
  expect(request).toEqual({ listenAddr: '', advertiseAddr: '192.0.2.9', dataPathAddr: '' });
  expect(backup.cluster).toEqual(api.store.view().cluster());
  expect(backup.objects.map(({ object }) => object.id)).toEqual([backup.cluster.id, nodeId, ingressId]);
});

test('what is not a backup, or not of this passphrase, is refused before anything is done', async () => {
  const { bytes } = await api.call('POST', '/skep/backup', { Passphrase });
  for (const [file, asked, message] of [
    [bytes, { Passphrase: 'another one' }, /passphrase is wrong/],
    [bytes.subarray(0, -1), { Passphrase }, /damaged or not complete/],
    [Buffer.alloc(0), { Passphrase }, /no backup/],
    [Buffer.from('{}'), {}, /no backup/],
  ] as const)
    expect(await restore(file, asked)).toMatchObject({
      status: 400,
      json: { message: expect.stringMatching(message) as string },
    });
  expect((await api.call('POST', '/skep/restore', Buffer.from('no line'))).status).toBe(400);
  expect(api.control.calls).toEqual([]);
});

test('a short passphrase, and a node that is no manager, are refused', async () => {
  expect(await api.call('POST', '/skep/backup', { Passphrase: 'short' })).toMatchObject({
    status: 400,
    json: { message: 'the passphrase must have at least 8 characters' },
  });
  api.leaveSwarm();
  expect((await api.call('POST', '/skep/backup', { Passphrase })).status).toBe(503);
  // Nothing under this path is the engine's.
  expect((await api.call('GET', '/skep/backup')).status).toBe(404);
});
