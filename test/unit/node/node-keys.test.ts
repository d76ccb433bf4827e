/** What a node keeps on its disk through its life: found or joined, promoted, locked, rotated, demoted. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseKeyring } from '../../../src/controlplane/node/keyring.js';
import type { Lock } from '../../../src/controlplane/node/keyring.js';
import { NodeKeys } from '../../../src/controlplane/node/node-keys.js';
import { newDataKey } from '../../../src/controlplane/store/seal.js';
import { newIdentity } from './identities.js';

const lock = (version: number): Lock => ({ version, key: randomBytes(32) });
const [manager, promoted, worker] = await Promise.all([
  newIdentity('manager'),
  newIdentity('manager'),
  newIdentity('worker'),
]);

let swarmDir: string;
let keys: NodeKeys;
beforeEach(async () => {
  swarmDir = await mkdtemp(join(tmpdir(), 'skep-keys-'));
  keys = new NodeKeys(swarmDir);
});
afterEach(() => rm(swarmDir, { recursive: true }));

const path = (): string => join(swarmDir, 'keyring.json');
/** `clear`, or the version of the unlock key that is needed. */
const onDisk = async (): Promise<'clear' | number> => {
  const read = parseKeyring(await readFile(path(), 'utf8'));
  return 'open' in read ? read.version : 'clear';
};
/** As after a restart of the daemon. */
async function restarted(unlockKey?: Uint8Array): Promise<NodeKeys> {
  const again = new NodeKeys(swarmDir);
  const isOpen = await again.open();
  expect(isOpen).toBe(unlockKey === undefined);
  if (unlockKey) again.unlock(unlockKey);
  return again;
}

describe('keys of a node', () => {
  test('of a founder of an autolocked cluster are never there in clear, and come back with the key', async () => {
    const [first, dataKey] = [lock(1), newDataKey()];
    await keys.found(manager, dataKey, first);
    expect(await onDisk()).toBe(1);
    expect((await stat(path())).mode & 0o777).toBe(0o600);
    const again = new NodeKeys(swarmDir);
    expect(await again.open()).toBe(false);
    expect(again.identity).toBeUndefined();
    expect(() => again.dataKey).toThrow('no data key');
    expect(() => again.localKey).toThrow();
    expect(() => again.unlock(randomBytes(32))).toThrow('invalid key provided');
    again.unlock(first.key);
    expect(again.identity).toEqual(manager);
    expect(again.dataKey).toEqual(dataKey);
    expect(again.localKey).toEqual(keys.localKey);
    expect(() => again.unlock(first.key)).toThrow('swarm is not locked');
    // What follows is sealed as it was.
    await again.saveIdentity(promoted, undefined);
    expect(await onDisk()).toBe(1);
  });

  test('follow the cluster: locked, rotated, unlocked, with nothing left beside', async () => {
    await keys.found(manager, newDataKey(), undefined);
    expect(await onDisk()).toBe('clear');
    const [second, third] = [lock(2), lock(3)];
    await keys.follow(second);
    expect(await onDisk()).toBe(2);
    const { mtimeMs } = await stat(path());
    await keys.follow({ ...second });
    expect((await stat(path())).mtimeMs).toBe(mtimeMs);
    await keys.follow(third);
    await restarted(third.key);
    await keys.follow(undefined);
    expect(await onDisk()).toBe('clear');
    expect(await readdir(swarmDir)).toEqual(['keyring.json']);
  });

  test('of one that was off during a rotation want the old key, and follow then', async () => {
    const [old, newer] = [lock(1), lock(2)];
    await keys.found(manager, newDataKey(), old);
    const again = await restarted(old.key);
    await again.follow(newer);
    expect(await onDisk()).toBe(2);
  });

  test('of a worker are in clear, whatever the lock is; promoted it seals before it writes, demoted it has no data key', async () => {
    const [first, newer] = [lock(1), lock(2)];
    await keys.saveIdentity(worker, first);
    await keys.follow(first);
    expect(await onDisk()).toBe('clear');
    const { localKey } = keys;
    await keys.saveIdentity(promoted, first);
    expect(await onDisk()).toBe(1);
    expect(keys.hasDataKey).toBe(false);
    await keys.saveDataKey(newDataKey());
    expect(await onDisk()).toBe(1);
    await keys.follow(newer);
    // A renewal's word on the lock may be older than the store's.
    await keys.saveIdentity(manager, first);
    expect(await onDisk()).toBe(2);
    expect((await restarted(newer.key)).hasDataKey).toBe(true);

    await keys.saveIdentity(worker, undefined);
    expect(await onDisk()).toBe('clear');
    const again = await restarted();
    expect(again.hasDataKey).toBe(false);
    expect([again.identity, again.localKey]).toEqual([worker, localKey]);
  });

  test('changes that come together are all there in the end', async () => {
    const [first, dataKey] = [lock(1), newDataKey()];
    await keys.saveIdentity(manager, undefined);
    await Promise.all([
      keys.saveDataKey(dataKey),
      keys.follow(first),
      keys.saveIdentity(promoted, undefined),
    ]);
    const again = await restarted(first.key);
    expect([again.identity, again.dataKey]).toEqual([promoted, dataKey]);
  });

  test('a start removes what an interrupted write has left in clear', async () => {
    const first = lock(1);
    await keys.found(manager, newDataKey(), first);
    await writeFile(`${path()}.new`, 'in clear');
    await restarted(first.key);
    expect(await readdir(swarmDir)).toEqual(['keyring.json']);
  });

  test('that are not there, or damaged, are an error', async () => {
    await expect(keys.open()).rejects.toThrow('cannot be read');
    await writeFile(path(), '{');
    await expect(keys.open()).rejects.toThrow("the node's keyring is damaged");
  });

  test('forgotten are gone from memory', async () => {
    await keys.found(manager, newDataKey(), undefined);
    keys.forget();
    expect([keys.identity, keys.hasDataKey]).toEqual([undefined, false]);
  });
});
