/**
 * The unlock key of an autolocked cluster: 32 octets, which users are shown as `SWMKEY-1-` and base64 without padding (semantics
 * 5). It never goes into an error or a log.
 */
import { SkepError } from './errors.js';
import type { RandomSource } from './ids.js';
import type { ManagersLock } from './objects.js';

const prefix = 'SWMKEY-1-';
const keyBytes = 32;

const newUnlockKey = (random: RandomSource): string =>
  prefix + Buffer.from(random(keyBytes)).toString('base64').replace(/=+$/, '');

/** The octets, of whatever length: a key that is too short is a wrong one, as in Swarm. Throws `invalidArgument` for what is no key. */
export function parseUnlockKey(text: string): Uint8Array {
  const digits = text.startsWith(prefix) ? text.slice(prefix.length) : undefined;
  if (digits === undefined || !/^[A-Za-z0-9+/]*$/.test(digits) || digits.length % 4 === 1)
    throw new SkepError('invalidArgument', 'invalid key string');
  return Buffer.from(digits, 'base64');
}

/**
 * The lock after an update of the cluster: a new key where there was none or it is to be rotated, none where autolock is off.
 * @param rotate ignored where autolock is off, as in Swarm
 */
export function nextLock(
  lock: ManagersLock | undefined,
  { isOn, rotate }: { readonly isOn: boolean; readonly rotate: boolean },
  random: RandomSource,
): ManagersLock | undefined {
  const wasOn = lock?.unlockKey !== undefined;
  if (isOn === wasOn && !(isOn && rotate)) return lock;
  const version = (lock?.version ?? 0) + 1;
  return isOn ? { version, unlockKey: newUnlockKey(random) } : { version };
}
