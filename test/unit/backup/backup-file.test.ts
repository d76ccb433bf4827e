import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { frameBytes, openBackup, sealBackup } from '../../../src/controlplane/backup/backup-file.js';

/** Cheap: the form is the same. */
const cost = { logN: 4, r: 1, p: 1 };
const headerBytes = 48;
const passphrase = 'correct horse battery';
const seal = async (plain: Buffer, pieceBytes = 10_000): Promise<Buffer> => {
  const pieces = Array.from({ length: Math.ceil(plain.length / pieceBytes) }, (_, i) =>
    plain.subarray(i * pieceBytes, (i + 1) * pieceBytes),
  );
  return Buffer.concat([...(await sealBackup(pieces, passphrase, randomBytes, cost))]);
};
const open = async (file: Buffer, word = passphrase): Promise<Buffer> =>
  Buffer.concat(await openBackup(file, word));
const broken = /damaged or not complete/;

describe('a backup', () => {
  test.each([0, 1, frameBytes - 1, frameBytes, frameBytes + 1, 3 * frameBytes, 200_001])(
    'of %i bytes comes back',
    async (size) => {
      const plain = randomBytes(size);
      expect((await open(await seal(plain))).equals(plain)).toBe(true);
      expect((await open(await seal(plain, 300_000))).equals(plain)).toBe(true);
    },
  );

  test('says nothing of what is in it, and never the same', async () => {
    const plain = Buffer.from('THE-ROOT-KEY'.repeat(20_000));
    const [one, other] = [await seal(plain), await seal(plain)];
    expect(one.includes('ROOT')).toBe(false);
    expect(one.subarray(headerBytes).equals(other.subarray(headerBytes))).toBe(false);
  });

  test('cut off anywhere does not open', async () => {
    const file = await seal(randomBytes(3 * frameBytes + 100));
    const sealedFrame = frameBytes + 16;
    const ends = [0, 1, 8, 15, 31, 32, 47, headerBytes, file.length - 1];
    for (let at = headerBytes; at < file.length; at += sealedFrame)
      ends.push(at - 1, at, at + 1, at + 15, at + 16);
    for (const end of ends) await expect(open(file.subarray(0, end)), `${end} bytes`).rejects.toThrow();
    // Exactly at a frame's end: what is there is good, and not all.
    for (const frames of [1, 2, 3])
      await expect(open(file.subarray(0, headerBytes + frames * sealedFrame))).rejects.toThrow(broken);
    await expect(open(Buffer.concat([file, Buffer.of(0)]))).rejects.toThrow(broken);
    await expect(open(Buffer.concat([file, file.subarray(headerBytes)]))).rejects.toThrow(broken);
  });

  test('changed anywhere does not open', async () => {
    const file = await seal(randomBytes(2 * frameBytes + 50));
    const places = [
      ...Array.from({ length: headerBytes + 20 }, (_, i) => i),
      ...Array.from({ length: 60 }, (_, i) => Math.floor((file.length * (i + 1)) / 61)),
      file.length - 1,
    ];
    for (const at of places) {
      const changed = Buffer.from(file);
      changed[at] = changed[at]! ^ (1 << (at % 8));
      await expect(open(changed), `byte ${at}`).rejects.toThrow();
    }
  });

  test('frames cannot change places, go or come from another file', async () => {
    const plain = randomBytes(3 * frameBytes + 100);
    const [file, other] = [await seal(plain), await seal(plain)];
    const sealedFrame = frameBytes + 16;
    const frame = (of: Buffer, i: number): Buffer =>
      of.subarray(headerBytes + i * sealedFrame, headerBytes + (i + 1) * sealedFrame);
    const header = file.subarray(0, headerBytes);
    const [a, b, c, d] = [0, 1, 2, 3].map((i) => frame(file, i)) as [Buffer, Buffer, Buffer, Buffer];
    for (const frames of [[b, a, c, d], [a, c, d], [a, b, b, c, d], [a, frame(other, 1), c, d], [d], []])
      await expect(open(Buffer.concat([header, ...frames]))).rejects.toThrow(broken);
    expect((await open(Buffer.concat([header, a, b, c, d]))).equals(plain)).toBe(true);
  });

  test('with another passphrase, of a newer form, or none at all, it is refused in words', async () => {
    const file = await seal(Buffer.from('plain'));
    await expect(open(file, 'correct horse batterY')).rejects.toThrow(/the passphrase is wrong/);
    const newer = Buffer.from(file);
    newer.writeUInt16BE(2, 8);
    await expect(open(newer)).rejects.toThrow(/made by a newer version of skep: its form is 2/);
    await expect(open(Buffer.from('PK\u0003\u0004 something else altogether'))).rejects.toThrow(
      /no backup of a swarm/,
    );
    const greedy = Buffer.from(file);
    greedy[10] = 40;
    await expect(open(greedy)).rejects.toThrow(broken);
  });
});
