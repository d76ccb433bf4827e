/**
 * Sealing of values before they reach etcd: AES-256-GCM with the key's path as additional data, so a value cannot be
 * read, changed or moved to another key. Form: version (1 byte, 1), data key id (4 bytes), nonce (12), ciphertext,
 * tag (16). Nonces are random: one data key is good for 2^32 values (NIST SP 800-38D, 8.3), seven weeks at a thousand
 * writes a second; the key id lets values of an old and a new key stand side by side during a rotation.
 * Names are unique through index entries whose keys are HMAC-SHA-256 of the name, keyed from the data key: etcd's
 * keys then say nothing. Pure but for the random source.
 */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import assert, { AssertionError } from 'node:assert';
import type { RandomSource } from '../../model/ids.js';

/** The cluster's data key. */
export interface DataKey {
  /** 1 and up; a new one for every rotation. */
  readonly id: number;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

const formatVersion = 1;
const headerBytes = 5;
const nonceBytes = 12;
const tagBytes = 16;
const keyBytes = 32;

/** A new data key; `id` 1 for a new cluster. */
export const newDataKey = (id = 1, random: RandomSource = randomBytes): DataKey => ({
  id,
  key: random(keyBytes),
});

export class Sealer {
  readonly #keys: ReadonlyMap<number, Buffer>;
  readonly #current: DataKey;
  readonly #indexKey: Buffer;
  readonly #random: RandomSource;

  /** Seals with `current`; opens with it and with `older` ones. */
  constructor(current: DataKey, older: readonly DataKey[] = [], random: RandomSource = randomBytes) {
    for (const { key } of [current, ...older]) assert(key.length === keyBytes, 'a data key has 32 bytes');
    this.#current = current;
    this.#keys = new Map(
      [...older, current].map(({ id, key }) => [id, derive(key, 'skep value encryption v1')]),
    );
    this.#indexKey = derive(current.key, 'skep name index v1');
    this.#random = random;
  }

  seal(path: string, plain: Uint8Array): Buffer {
    const header = Buffer.alloc(headerBytes);
    header.writeUInt8(formatVersion, 0);
    header.writeUInt32BE(this.#current.id, 1);
    const nonce = this.#random(nonceBytes);
    const cipher = createCipheriv('aes-256-gcm', this.#keyOf(this.#current.id, path), nonce);
    cipher.setAAD(additionalData(header, path));
    const body = [cipher.update(plain), cipher.final()];
    return Buffer.concat([header, nonce, ...body, cipher.getAuthTag()]);
  }

  /**
   * The plain text. Throws AssertionError, naming the path and nothing of the content, for a value that this key
   * did not seal for this path: the data key is wrong or the store was tampered with, and nothing can go on.
   */
  open(path: string, sealed: Buffer): Buffer {
    const bodyStart = headerBytes + nonceBytes;
    const bodyEnd = sealed.length - tagBytes;
    if (bodyEnd < bodyStart || sealed[0] !== formatVersion) throw unsealable(path);
    const header = sealed.subarray(0, headerBytes);
    const key = this.#keyOf(header.readUInt32BE(1), path);
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(headerBytes, bodyStart), {
      authTagLength: tagBytes,
    });
    decipher.setAAD(additionalData(header, path));
    decipher.setAuthTag(sealed.subarray(bodyEnd));
    const plain = decipher.update(sealed.subarray(bodyStart, bodyEnd));
    try {
      return Buffer.concat([plain, decipher.final()]);
    } catch {
      throw unsealable(path);
    }
  }

  /** The last part of an index entry's key: 64 hex digits. */
  indexEntry(kind: string, name: string): string {
    return createHmac('sha256', this.#indexKey).update(`${kind}\0${name}`).digest('hex');
  }

  #keyOf(id: number, path: string): Buffer {
    const key = this.#keys.get(id);
    if (!key) throw unsealable(path);
    return key;
  }
}

const additionalData = (header: Buffer, path: string): Buffer => Buffer.concat([header, Buffer.from(path)]);

const derive = (key: Uint8Array, purpose: string): Buffer =>
  Buffer.from(hkdfSync('sha256', key, Buffer.alloc(0), purpose, keyBytes));

const unsealable = (path: string): AssertionError =>
  new AssertionError({ message: `the stored value of ${path} cannot be opened with this data key` });
