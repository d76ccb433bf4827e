/** Keeps a manager's keyring sealed as the cluster's lock says: whoever turns autolock on or off, or rotates its key, does so for all. */
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { Trigger, runLoop } from '../../runtime/loop.js';
import type { Store } from '../store/store.js';
import { lockOf } from './keyring.js';
import type { NodeKeys } from './node-keys.js';

export interface LockLoopOptions {
  readonly store: Pick<Store, 'subscribe' | 'view'>;
  readonly keys: Pick<NodeKeys, 'follow'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Nothing but the store's word changes it: a look at times is for a disk that was full. */
const lookMs = 60_000;

export async function runLockLoop(options: LockLoopOptions, signal: AbortSignal): Promise<void> {
  const { store, keys, clock, log } = options;
  const trigger = new Trigger();
  const unsubscribe = store.subscribe(({ changes }) => {
    if (changes.some(({ kind }) => kind === 'cluster')) trigger.fire();
  });
  try {
    await runLoop(
      { name: 'lock', trigger, clock, log, resyncMs: lookMs, gapMs: 0, retryMsMax: 5_000 },
      () => keys.follow(lockOf(store.view().cluster().managersLock)),
      signal,
    );
  } finally {
    unsubscribe();
  }
}
