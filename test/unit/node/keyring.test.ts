/** The keyring as text: what comes back with which key, and what can be read without. */
import { randomBytes } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Keyring, Lock } from '../../../src/controlplane/node/keyring.js';
import {
  formatKeyring,
  isLocked,
  newLocalKey,
  parseKeyring,
} from '../../../src/controlplane/node/keyring.js';
import { newDataKey } from '../../../src/controlplane/store/seal.js';
import { newIdentity } from './identities.js';

const lock: Lock = { version: 3, key: randomBytes(32) };
let manager: Keyring;
let worker: Keyring;
beforeAll(async () => {
  manager = { identity: await newIdentity('manager'), dataKey: newDataKey(4), localKey: newLocalKey() };
  worker = { identity: await newIdentity('worker'), localKey: newLocalKey() };
});

const opened = (text: string, key: Uint8Array = lock.key): Keyring => {
  const read = parseKeyring(text);
  return isLocked(read) ? read.open(key) : read;
};
/** Every stretch of a secret that somebody could look for, as octets and in base64. */
const needles = (): string[] => {
  const body = manager.identity.keyPem.replace(/-----.*-----|\n/g, '');
  const secrets = [Buffer.from(body, 'base64'), manager.dataKey?.key ?? body, manager.localKey, lock.key];
  return secrets.flatMap((secret) => [
    Buffer.from(secret).toString('latin1'),
    Buffer.from(secret).toString('base64').slice(0, 24),
    Buffer.from(secret).toString('hex'),
  ]);
};

describe('the keyring', () => {
  test('comes back as it was, in clear and sealed', () => {
    for (const keyring of [manager, worker])
      for (const how of [undefined, lock]) expect(opened(formatKeyring(keyring, how))).toEqual(keyring);
    const read = parseKeyring(formatKeyring(manager, lock));
    expect(isLocked(read) && read.version).toBe(3);
  });

  test('sealed, shows nothing of what it holds, nor the unlock key; in clear it shows all', () => {
    const [sealed, clear] = [formatKeyring(manager, lock), formatKeyring(manager, undefined)];
    const octets = Buffer.from((JSON.parse(sealed) as { sealed: string }).sealed, 'base64').toString(
      'latin1',
    );
    for (const needle of needles()) {
      expect(sealed).not.toContain(needle);
      expect(octets).not.toContain(needle);
    }
    expect(needles().filter((needle) => clear.includes(needle)).length).toBeGreaterThan(1);
    // The same twice would say that nothing has changed.
    expect(formatKeyring(manager, lock)).not.toBe(sealed);
  });

  test.each<[string, () => Uint8Array]>([
    ['another', () => randomBytes(32)],
    [
      'one of which a bit differs',
      () => Buffer.from(lock.key).map((octet, at) => (at === 31 ? octet ^ 1 : octet)),
    ],
    ['a shorter one', () => lock.key.slice(0, 31)],
    ['a longer one', () => Buffer.concat([lock.key, Buffer.alloc(1)])],
    ['none', () => new Uint8Array()],
  ])('is not opened by %s key', (_name, key) => {
    expect(() => opened(formatKeyring(manager, lock), key())).toThrow(
      expect.objectContaining({
        kind: 'unauthenticated',
        message: 'swarm could not be unlocked: invalid key provided',
      }),
    );
  });

  test('rotated, is opened by the new key alone', () => {
    const newer = { version: 4, key: randomBytes(32) };
    const text = formatKeyring(manager, newer);
    expect(() => opened(text)).toThrow('invalid key provided');
    expect(opened(text, newer.key)).toEqual(manager);
  });

  const change = (text: string, at: (file: Record<string, unknown>) => object): string =>
    JSON.stringify({ ...(JSON.parse(text) as object), ...at(JSON.parse(text) as Record<string, unknown>) });
  test.each<[string, Lock | undefined, (text: string) => string]>([
    ['cut short', lock, (text) => text.slice(0, text.length / 2)],
    ['cut short in clear', undefined, (text) => text.slice(0, text.length / 2)],
    ['empty', lock, () => ''],
    ['of another format', lock, (text) => change(text, () => ({ formatVersion: 9 }))],
    ['no object', lock, () => '7'],
    ['without what was sealed', lock, (text) => change(text, () => ({ sealed: '' }))],
    [
      'said to be of another version of the key',
      lock,
      (text) => change(text, () => ({ unlockKeyVersion: 4 })),
    ],
    [
      'changed in one octet',
      lock,
      (text) =>
        change(text, ({ sealed }) => {
          const octets = Buffer.from(sealed as string, 'base64');
          octets.writeUInt8(octets.readUInt8(100) ^ 1, 100);
          return { sealed: octets.toString('base64') };
        }),
    ],
    ['without a key', undefined, (text) => change(text, () => ({ keyring: { certPem: 'x' } }))],
    [
      'of a key and another certificate',
      undefined,
      (text) =>
        change(text, ({ keyring }) => ({
          keyring: { ...(keyring as object), keyPem: worker.identity.keyPem },
        })),
    ],
    [
      'with half a data key',
      undefined,
      (text) =>
        change(text, ({ keyring }) => ({
          keyring: { ...(keyring as object), dataKey: { id: 1, key: 'AA' } },
        })),
    ],
  ])('%s is damaged, and the error quotes nothing', (_name, how, damage) => {
    const text = damage(formatKeyring(manager, how));
    expect(() => opened(text)).toThrow(/^the node's keyring is damaged$/);
  });
});
