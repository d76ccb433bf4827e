import { pino } from 'pino';
import { expect, test } from 'vitest';
import type { Lock } from '../../../src/controlplane/node/keyring.js';
import { runLockLoop } from '../../../src/controlplane/node/lock-loop.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { cluster, storeOf } from '../../support/cluster-objects.js';

test('the keyring follows the cluster, also one that could not be written at first', async () => {
  const store = await storeOf({ cluster: [cluster()] });
  const unlockKey = `SWMKEY-1-${'A'.repeat(43)}`;
  const followed: (number | 'none')[] = [];
  let failures = 1;
  const keys = {
    follow: async (lock: Lock | undefined) => {
      if (lock && failures-- > 0) throw new Error('no space left on device');
      followed.push(lock?.version ?? 'none');
    },
  };
  const stop = new AbortController();
  const clock = {
    ...systemClock,
    sleep: (ms: number, signal?: AbortSignal) => systemClock.sleep(Math.min(ms, 20), signal),
  };
  const running = runLockLoop({ store, keys, clock, log: pino({ level: 'silent' }) }, stop.signal);
  await expect.poll(() => followed.at(-1)).toBe('none');
  await store.update((tx) =>
    tx.update('cluster', { ...tx.cluster(), managersLock: { version: 1, unlockKey } }),
  );
  await expect.poll(() => followed.at(-1)).toBe(1);
  await store.update((tx) => tx.update('cluster', { ...tx.cluster(), managersLock: { version: 2 } }));
  await expect.poll(() => followed.at(-1)).toBe('none');
  stop.abort();
  await running;
});
