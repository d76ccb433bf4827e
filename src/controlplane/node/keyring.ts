/**
 * A node's keyring as text: in clear, or sealed under the cluster's unlock key. Pure. A sealed one says which version of the
 * unlock key it wants, and has a keyed hash by which a wrong key is told from a damaged file; both say nothing of the key, which
 * is 32 random octets. What is sealed is sealed like everything that is stored (store/seal.ts).
 */
import { AssertionError } from 'node:assert';
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { OutsideError, SkepError } from '../../model/errors.js';
import type { ManagersLock } from '../../model/objects.js';
import { parseUnlockKey } from '../../model/unlock-key.js';
import { identityFromPem } from '../ca/node-identity.js';
import type { NodeIdentity } from '../ca/node-identity.js';
import { Sealer } from '../store/seal.js';
import type { DataKey } from '../store/seal.js';

export interface Keyring {
  readonly identity: NodeIdentity;
  /** Of the cluster; only a manager has it. */
  readonly dataKey?: DataKey;
  /** 32 octets, for what this node alone writes and reads. */
  readonly localKey: Uint8Array;
}

/** What a keyring is sealed under. */
export interface Lock {
  readonly version: number;
  readonly key: Uint8Array;
}

/** A keyring whose key is not known yet. */
export interface LockedKeyring {
  /** Of the unlock key that it wants. */
  readonly version: number;
  /** Throws `unauthenticated` for a wrong key, OutsideError for a damaged keyring. */
  open(key: Uint8Array): Keyring;
}

const formatVersion = 1;
const keyBytes = 32;
/** What the sealed text is bound to. */
const sealedPath = 'keyring';

export const newLocalKey = (): Uint8Array => randomBytes(keyBytes);

/** The lock that the cluster's managers are to have; undefined: none. */
export const lockOf = (lock: ManagersLock | null | undefined): Lock | undefined =>
  lock?.unlockKey ? { version: lock.version, key: parseUnlockKey(lock.unlockKey) } : undefined;

export const sameLock = (a: Lock | undefined, b: Lock | undefined): boolean =>
  a === undefined || b === undefined
    ? a === b
    : a.version === b.version && timingSafeEqual(Buffer.from(a.key), Buffer.from(b.key));

/** @param lock undefined: in clear */
export function formatKeyring(keyring: Keyring, lock: Lock | undefined): string {
  const plain = toPlain(keyring);
  if (!lock) return `${JSON.stringify({ formatVersion, keyring: plain })}\n`;
  const sealer = sealerOf(lock);
  const sealed = sealer.seal(sealedPath, Buffer.from(JSON.stringify(plain))).toString('base64');
  return `${JSON.stringify({ formatVersion, unlockKeyVersion: lock.version, check: checkOf(sealer), sealed })}\n`;
}

/** Throws OutsideError for a text that is no keyring. */
export function parseKeyring(text: string): Keyring | LockedKeyring {
  const file = readable(() => JSON.parse(text) as Record<string, unknown>);
  if (file['formatVersion'] !== formatVersion) throw damaged();
  const { keyring, unlockKeyVersion: version, check, sealed } = file;
  if (keyring !== undefined) return fromPlain(keyring);
  if (typeof version !== 'number' || typeof check !== 'string' || typeof sealed !== 'string') throw damaged();
  return {
    version,
    open: (key) => {
      const sealer = key.length === keyBytes ? sealerOf({ version, key }) : undefined;
      if (!sealer || !sameHash(checkOf(sealer), check))
        throw new SkepError('unauthenticated', 'swarm could not be unlocked: invalid key provided');
      return fromPlain(
        readable(
          () => JSON.parse(sealer.open(sealedPath, Buffer.from(sealed, 'base64')).toString()) as unknown,
        ),
      );
    },
  };
}

export const isLocked = (keyring: Keyring | LockedKeyring): keyring is LockedKeyring => 'open' in keyring;

const sealerOf = ({ version, key }: Lock): Sealer => new Sealer({ id: version, key });

const checkOf = (sealer: Sealer): string => sealer.indexEntry('unlock key', '');

const sameHash = (a: string, b: string): boolean =>
  a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

/** Without the cause, which would quote the file. */
const damaged = (): OutsideError => new OutsideError("the node's keyring is damaged", false);

function readable<T>(read: () => T): T {
  try {
    return read();
  } catch (err) {
    if (err instanceof SyntaxError || err instanceof AssertionError) throw damaged();
    throw err;
  }
}

const toPlain = ({ identity: { certPem, keyPem, rootPem }, dataKey, localKey }: Keyring): object => ({
  certPem,
  keyPem,
  rootPem,
  ...(dataKey && { dataKey: { id: dataKey.id, key: base64(dataKey.key) } }),
  localKey: base64(localKey),
});

function fromPlain(plain: unknown): Keyring {
  const { certPem, keyPem, rootPem, dataKey, localKey } = (plain ?? {}) as Record<string, unknown>;
  if (typeof certPem !== 'string' || typeof keyPem !== 'string' || typeof rootPem !== 'string')
    throw damaged();
  return {
    identity: identity(certPem, keyPem, rootPem),
    ...(dataKey !== undefined && { dataKey: dataKeyFrom(dataKey) }),
    localKey: keyFrom(localKey),
  };
}

function identity(certPem: string, keyPem: string, rootPem: string): NodeIdentity {
  try {
    return identityFromPem(certPem, keyPem, rootPem);
  } catch {
    throw damaged();
  }
}

function dataKeyFrom(plain: unknown): DataKey {
  const { id, key } = (plain ?? {}) as { id?: unknown; key?: unknown };
  if (typeof id !== 'number') throw damaged();
  return { id, key: keyFrom(key) };
}

function keyFrom(text: unknown): Uint8Array {
  const key = typeof text === 'string' ? Buffer.from(text, 'base64') : Buffer.alloc(0);
  if (key.length !== keyBytes) throw damaged();
  return key;
}

const base64 = (octets: Uint8Array): string => Buffer.from(octets).toString('base64');
