/**
 * Join tokens: `SWMTKN-1-<digest>-<secret>` (semantics 5). The digest lets a joining node trust a root it fetched
 * from a stranger; the secret lets it in, and decides the role. Secrets never go into an error.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { SkepError } from '../../model/errors.js';
import { base36 } from '../../model/ids.js';
import type { RandomSource } from '../../model/ids.js';

export interface JoinToken {
  /** SHA-256 of the root certificate's PEM text. */
  readonly rootDigest: Buffer;
  /** The secret as it stands in the token. */
  readonly secret: string;
}

const digestLength = 50;
const secretLength = 25;
const secretBytes = 16;
const digestBytes = 32;

/** A token with a new secret for the cluster of this root. */
export const newJoinToken = (rootPem: string, random: RandomSource): string =>
  ['SWMTKN', '1', base36(sha256(rootPem)).padStart(digestLength, '0'), newSecret(random)].join('-');

/** The same cluster's token with a new secret. */
export const rotateJoinToken = (token: string, random: RandomSource): string => {
  const digest = parseJoinToken(token) && token.split('-')[2];
  return ['SWMTKN', '1', digest, newSecret(random)].join('-');
};

/** Throws `unknown` (Docker answers 500) for what is no token; also for one of FIPS mode (`SWMTKN-2-1-…`). */
export function parseJoinToken(token: string): JoinToken {
  const match = /^SWMTKN-1-([0-9a-z]{50})-([0-9a-z]{25})$/.exec(token);
  const [, digest, secret] = match ?? [];
  const value = digest === undefined ? undefined : fromBase36(digest);
  if (value === undefined || secret === undefined || value >> BigInt(8 * digestBytes) !== 0n)
    throw new SkepError('unknown', 'invalid join token');
  return { rootDigest: Buffer.from(value.toString(16).padStart(2 * digestBytes, '0'), 'hex'), secret };
}

/** Throws `unknown` if the token was not made for the cluster with this root. */
export function verifyRootDigest({ rootDigest }: Pick<JoinToken, 'rootDigest'>, rootPem: string): void {
  if (!timingSafeEqual(sha256(rootPem), rootDigest))
    throw new SkepError(
      'unknown',
      `remote CA does not match fingerprint. Expected: ${rootDigest.toString('hex')}`,
    );
}

/** True if the tokens are equal; hashed first, so that neither content nor length shows in the time it takes. */
export const sameToken = (a: string, b: string): boolean => timingSafeEqual(sha256(a), sha256(b));

const newSecret = (random: RandomSource): string => base36(random(secretBytes)).padStart(secretLength, '0');

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();

const fromBase36 = (digits: string): bigint =>
  Array.from(digits).reduce((value, digit) => value * 36n + BigInt(parseInt(digit, 36)), 0n);
