/**
 * The form of a backup: sealed with a passphrase, readable in one pass, and only as a whole. What is cut off anywhere, changed
 * anywhere, or put together of two files does not open. Pure but for scrypt and the random source.
 *
 *     header  `SKEPBKUP`, version (2 bytes, 1), scrypt's log2 N, r, p (1 byte each), 3 bytes of 0, salt (16)
 *             its tag: HMAC-SHA-256 of the above, the first 16 bytes, which tells a wrong passphrase from a damaged file
 *     frames  64 KiB of plain text each, the last one less (also nothing): AES-256-GCM, ciphertext and tag (16)
 *
 * scrypt (RFC 7914) makes both keys of passphrase and salt; so no two files have a key in common, and a frame's nonce can be its
 * number with a mark for the last one: frames cannot be left out, moved, or end the file where they did not. Numbers are
 * big-endian.
 */
import { createCipheriv, createDecipheriv, createHmac, scrypt, timingSafeEqual } from 'node:crypto';
import type { RandomSource } from '../../model/ids.js';
import { SkepError } from '../../model/errors.js';

const magic = Buffer.from('SKEPBKUP');
const formatVersion = 1;
const saltBytes = 16;
const tagBytes = 16;
const keyBytes = 32;
const settingsBytes = magic.length + 2 + 3 + 3;
const headerBytes = settingsBytes + saltBytes;
/** Of plain text in every frame but the last one. */
export const frameBytes = 64 * 1024;

export interface ScryptCost {
  readonly logN: number;
  readonly r: number;
  readonly p: number;
}
/** 128 MiB and some tenths of a second for every guess. */
export const scryptCostDefault: ScryptCost = { logN: 17, r: 8, p: 1 };
/** A file that asks for more is no backup of ours: it could otherwise take any memory. */
const scryptCostMax: ScryptCost = { logN: 20, r: 16, p: 4 };

interface Keys {
  readonly frames: Buffer;
  readonly header: Buffer;
}

const refuse = (message: string): SkepError => new SkepError('invalidArgument', message);
const damaged = (): SkepError => refuse('the backup is damaged or not complete; nothing of it can be used');

/** The file's pieces, in order. */
export async function sealBackup(
  plain: Iterable<Buffer>,
  passphrase: string,
  random: RandomSource,
  cost: ScryptCost = scryptCostDefault,
): Promise<Iterable<Buffer>> {
  const settings = Buffer.alloc(settingsBytes);
  magic.copy(settings);
  settings.writeUInt16BE(formatVersion, magic.length);
  settings.set([cost.logN, cost.r, cost.p], magic.length + 2);
  const header = Buffer.concat([settings, random(saltBytes)]);
  const keys = await deriveKeys(passphrase, header.subarray(settingsBytes), cost);
  return sealed(plain, header, keys);
}

function* sealed(plain: Iterable<Buffer>, header: Buffer, keys: Keys): Generator<Buffer> {
  yield Buffer.concat([header, tagOf(header, keys)]);
  let held: Buffer = Buffer.alloc(0);
  let number = 0;
  for (const piece of plain) {
    held = held.length === 0 ? piece : Buffer.concat([held, piece]);
    for (; held.length > frameBytes; held = held.subarray(frameBytes))
      yield sealFrame(held.subarray(0, frameBytes), number++, false, keys);
  }
  yield sealFrame(held, number, true, keys);
}

/**
 * The plain text, in pieces. Throws `invalidArgument` for what is no backup, one of a newer form, a wrong passphrase, and a file
 * that is not exactly what was sealed; nothing is given before all of it was found good.
 */
export async function openBackup(file: Buffer, passphrase: string): Promise<readonly Buffer[]> {
  const settings = file.subarray(0, settingsBytes);
  if (settings.length < settingsBytes || !settings.subarray(0, magic.length).equals(magic))
    throw refuse('this is no backup of a swarm');
  const version = settings.readUInt16BE(magic.length);
  if (version !== formatVersion)
    throw refuse(
      `this backup was made by a newer version of skep: its form is ${version}, known is ${formatVersion}`,
    );
  const [logN = 0, r = 0, p = 0, ...rest] = settings.subarray(magic.length + 2);
  const isBounded =
    logN >= 1 &&
    logN <= scryptCostMax.logN &&
    r >= 1 &&
    r <= scryptCostMax.r &&
    p >= 1 &&
    p <= scryptCostMax.p;
  const header = file.subarray(0, headerBytes);
  const tag = file.subarray(headerBytes, headerBytes + tagBytes);
  if (!isBounded || rest.some((byte) => byte !== 0) || tag.length < tagBytes) throw damaged();
  const keys = await deriveKeys(passphrase, header.subarray(settingsBytes), { logN, r, p });
  if (!timingSafeEqual(tag, tagOf(header, keys)))
    throw refuse('the passphrase is wrong, or the begin of the backup is damaged');
  const plain: Buffer[] = [];
  const frames = file.subarray(headerBytes + tagBytes);
  const sealedBytes = frameBytes + tagBytes;
  for (let number = 0, at = 0; ; number++, at += sealedBytes) {
    const isLast = frames.length - at <= sealedBytes;
    plain.push(openFrame(frames.subarray(at, at + sealedBytes), number, isLast, keys));
    if (isLast) return plain;
  }
}

function sealFrame(plain: Buffer, number: number, isLast: boolean, keys: Keys): Buffer {
  const cipher = createCipheriv('aes-256-gcm', keys.frames, nonceOf(number, isLast));
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function openFrame(frame: Buffer, number: number, isLast: boolean, keys: Keys): Buffer {
  if (frame.length < tagBytes) throw damaged();
  const end = frame.length - tagBytes;
  const decipher = createDecipheriv('aes-256-gcm', keys.frames, nonceOf(number, isLast), {
    authTagLength: tagBytes,
  });
  decipher.setAuthTag(frame.subarray(end));
  const plain = decipher.update(frame.subarray(0, end));
  try {
    decipher.final();
  } catch {
    throw damaged();
  }
  return plain;
}

function nonceOf(number: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt8(isLast ? 1 : 0, 0);
  nonce.writeUInt32BE(number, 8);
  return nonce;
}

const tagOf = (header: Buffer, keys: Keys): Buffer =>
  createHmac('sha256', keys.header).update(header).digest().subarray(0, tagBytes);

function deriveKeys(passphrase: string, salt: Buffer, { logN, r, p }: ScryptCost): Promise<Keys> {
  const N = 2 ** logN;
  return new Promise((resolve, reject) =>
    scrypt(passphrase, salt, 2 * keyBytes, { N, r, p, maxmem: 256 * N * r }, (err, made) =>
      err ? reject(err) : resolve({ frames: made.subarray(0, keyBytes), header: made.subarray(keyBytes) }),
    ),
  );
}
