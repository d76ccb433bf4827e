import { expect, test } from 'vitest';
import type { ManagersLock } from '../../../src/model/objects.js';
import { nextLock, parseUnlockKey } from '../../../src/model/unlock-key.js';

let next = 1;
const random = (size: number): Uint8Array => new Uint8Array(size).fill(next++);
const key = (octet: number): string =>
  `SWMKEY-1-${Buffer.alloc(32, octet).toString('base64').replace('=', '')}`;

test.each<[name: string, lock: ManagersLock | undefined, wish: string, made: object | undefined]>([
  ['off from the start', undefined, 'off', undefined],
  ['off, rotated: nothing to rotate', undefined, 'off rotate', undefined],
  ['turned on', undefined, 'on', { version: 1, unlockKey: key(1) }],
  ['on, left alone', { version: 3, unlockKey: 'k' }, 'on', { version: 3, unlockKey: 'k' }],
  ['on, rotated', { version: 3, unlockKey: 'k' }, 'on rotate', { version: 4, unlockKey: key(1) }],
  ['turned off', { version: 3, unlockKey: 'k' }, 'off', { version: 4 }],
  ['turned off, rotated', { version: 3, unlockKey: 'k' }, 'off rotate', { version: 4 }],
  ['turned on again', { version: 4 }, 'on', { version: 5, unlockKey: key(1) }],
])('the lock, %s', (_name, lock, wish, made) => {
  next = 1;
  expect(nextLock(lock, { isOn: wish.startsWith('on'), rotate: wish.endsWith('rotate') }, random)).toEqual(
    made,
  );
});

test('a key as users have it is 43 digits of base64, which are the octets', () => {
  next = 0xfb;
  const made = nextLock(undefined, { isOn: true, rotate: false }, random)?.unlockKey ?? '';
  expect(made).toMatch(/^SWMKEY-1-[A-Za-z0-9+/]{43}$/);
  expect(made).toContain('+');
  expect([...parseUnlockKey(made)]).toEqual(Array(32).fill(0xfb));
});

// As dockerd 20.10 answers: what decodes is a key, if a wrong one.
test.each([
  ['', 'refused'],
  ['x', 'refused'],
  ['SWMKEY-1-a', 'refused'],
  ['SWMKEY-2-AAAA', 'refused'],
  ['SWMKEY-1-AA==', 'refused'],
  ['SWMKEY-1-AA AA', 'refused'],
  ['SWMKEY-1-AA-_', 'refused'],
  [' SWMKEY-1-AAAA', 'refused'],
  ['SWMKEY-1-', 0],
  ['SWMKEY-1-AAAA', 3],
  [key(7), 32],
])('the key %j is %s octets long', (text, octets) => {
  const parsed = (): number => parseUnlockKey(text).length;
  if (octets === 'refused') expect(parsed).toThrow('invalid key string');
  else expect(parsed()).toBe(octets);
});
