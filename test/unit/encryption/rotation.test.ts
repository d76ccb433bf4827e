/** The keys of encrypted networks, hour by hour and leader by leader. */
import { expect, test } from 'vitest';
import { planKeys, rotationMs } from '../../../src/controlplane/encryption/rotation.js';
import { applyPlanner } from '../../../src/controlplane/plan.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { ClusterEncryption } from '../../../src/model/objects.js';
import { FakeTime, network, seededNumbers, storeOf } from '../../support/cluster-objects.js';

const plain = network('plain');
const encrypted = { ...network('enc'), spec: { ...network('enc').spec, driverOptions: { encrypted: '' } } };

class Leader {
  readonly #numbers: () => number;

  /** Each draws numbers of its own. */
  constructor(
    private readonly store: MemoryStore,
    private readonly time: FakeTime,
    seed = 1,
  ) {
    this.#numbers = seededNumbers(seed);
  }

  /** Gives when it wants to look again. */
  look(): Promise<number | undefined> {
    const random = (size: number): Uint8Array =>
      Uint8Array.from({ length: size }, () => Math.floor(this.#numbers() * 256));
    return applyPlanner(this.store, (view, nowMs) => planKeys(view, nowMs, random), this.time.nowMs);
  }
}

const keysOf = (store: MemoryStore): ClusterEncryption | undefined => store.view().cluster().encryption;
const shape = (store: MemoryStore): string =>
  `${
    keysOf(store)
      ?.keys.map(({ sequence }) => sequence)
      .join() ?? 'none'
  } sends ${keysOf(store)?.sends ?? 0}`;

async function make(
  ...networks: (typeof plain)[]
): Promise<{ store: MemoryStore; time: FakeTime; leader: Leader }> {
  const time = new FakeTime(1_000_000);
  const store = await storeOf({ network: networks }, time);
  return { store, time, leader: new Leader(store, time) };
}

test('no keys where nothing is encrypted', async () => {
  const { store, leader } = await make(plain);
  expect(await leader.look()).toBeUndefined();
  expect(keysOf(store)).toBeUndefined();
});

test('the next key is known for a whole interval before anybody sends with it', async () => {
  const { store, time, leader } = await make(encrypted);
  const wanted = await leader.look();
  expect([shape(store), wanted]).toEqual(['1,2 sends 1', time.ms + rotationMs]);
  const known = keysOf(store)?.keys[1];
  time.ms += rotationMs - 1;
  await leader.look();
  expect(shape(store)).toBe('1,2 sends 1');
  const shapes: string[] = [];
  for (let round = 0; round < 3; round++) {
    time.ms += round === 0 ? 1 : rotationMs;
    await leader.look();
    shapes.push(shape(store));
    if (round === 0) expect(keysOf(store)?.keys[1]).toEqual(known);
  }
  expect(shapes).toEqual(['1,2,3 sends 2', '2,3,4 sends 3', '3,4,5 sends 4']);
  expect(keysOf(store)?.keys.map(({ key }) => Buffer.from(key, 'base64').length)).toEqual([32, 32, 32]);
  expect(new Set(keysOf(store)?.keys.map(({ key }) => key)).size).toBe(3);
});

test('a leader that follows loses no key and goes on at the right time', async () => {
  const { store, time, leader } = await make(encrypted);
  await leader.look();
  const before = keysOf(store);
  time.ms += rotationMs / 2;
  const follower = new Leader(store, time, 2);
  expect(await follower.look()).toBe(time.ms + rotationMs / 2);
  expect(keysOf(store)).toEqual(before);
  time.ms += rotationMs / 2;
  await follower.look();
  expect(keysOf(store)?.keys.slice(0, 2)).toEqual(before?.keys);
  expect(shape(store)).toBe('1,2,3 sends 2');
});

test('leaders that were away for days rotate once, so that nobody is left behind', async () => {
  const { store, time, leader } = await make(encrypted);
  await leader.look();
  time.ms += 10 * rotationMs;
  await leader.look();
  await leader.look();
  expect(shape(store)).toBe('1,2,3 sends 2');
});

test('keys go with the last encrypted network, and their numbers are not given again', async () => {
  const { store, leader } = await make(encrypted, plain);
  await leader.look();
  await store.update((tx) => tx.delete('network', encrypted.id));
  expect(await leader.look()).toBeUndefined();
  expect(shape(store)).toBe(' sends 2');
  const { version: _v, createdAtMs: _c, updatedAtMs: _u, ...again } = encrypted;
  await store.update((tx) => tx.create('network', again));
  await leader.look();
  expect(shape(store)).toBe('3,4 sends 3');
});
