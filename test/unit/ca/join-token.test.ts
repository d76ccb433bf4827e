import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'vitest';
import {
  newJoinToken,
  parseJoinToken,
  sameToken,
  verifyRootDigest,
} from '../../../src/controlplane/ca/join-token.js';
import { SkepError } from '../../../src/model/errors.js';

const root = '-----BEGIN CERTIFICATE-----\nroot\n-----END CERTIFICATE-----\n';
const digest = '1'.padStart(50, '0');
const secret = 'a'.repeat(25);

test('a token has the digest of the root and a secret, both of fixed length', () => {
  for (const random of [
    (size: number) => new Uint8Array(size),
    (size: number) => new Uint8Array(size).fill(255),
  ]) {
    const token = newJoinToken(root, random);
    assert.match(token, /^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
    const { rootDigest } = parseJoinToken(token);
    assert.deepEqual(rootDigest, createHash('sha256').update(root).digest());
    verifyRootDigest({ rootDigest }, root);
  }
  assert.match(
    newJoinToken(root, () => new Uint8Array(16)),
    /-0{25}$/,
  );
  // 2^128 - 1 in base 36.
  assert.match(
    newJoinToken(root, () => new Uint8Array(16).fill(255)),
    /-f5lxx1zz5pnorynqglhzmsp33$/,
  );
});

const malformed: Array<[name: string, token: string]> = [
  ['empty', ''],
  ['words', 'garbage'],
  ['another version', `SWMTKN-2-1-${digest}-${secret}`],
  ['a short digest', `SWMTKN-1-${digest.slice(1)}-${secret}`],
  ['a long secret', `SWMTKN-1-${digest}-${secret}a`],
  ['upper case', `SWMTKN-1-${digest}-${secret.toUpperCase()}`],
  ['a digest above 256 bits', `SWMTKN-1-${'z'.repeat(50)}-${secret}`],
  ['a newline', `SWMTKN-1-${digest}-${secret}\n`],
];
for (const [name, token] of malformed)
  test(`parseJoinToken refuses ${name}`, () => {
    assert.throws(
      () => parseJoinToken(token),
      (err) => err instanceof SkepError && err.kind === 'unknown' && err.message === 'invalid join token',
    );
  });

test('a root of another cluster is refused with the digest that was expected', () => {
  const parsed = parseJoinToken(`SWMTKN-1-${digest}-${secret}`);
  assert.throws(() => verifyRootDigest(parsed, root), {
    kind: 'unknown',
    message: `remote CA does not match fingerprint. Expected: ${'1'.padStart(64, '0')}`,
  });
});

test('tokens are compared in full', () => {
  const token = newJoinToken(root, (size) => new Uint8Array(size).fill(7));
  assert(sameToken(token, token));
  assert(!sameToken(token, `${token}a`));
  assert(!sameToken('', token));
});
