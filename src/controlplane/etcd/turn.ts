/**
 * One member at a time: a turn is a key on a lease, so that it ends with whoever holds it. Nobody waits for one; who does not get
 * it asks again later.
 */
import { backoffMs } from '../../runtime/backoff.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { EtcdClient } from './client.js';
import type { EtcdLeases } from './lease.js';

export interface TurnOptions {
  readonly client: Pick<EtcdClient, 'txn'>;
  readonly leases: Pick<EtcdLeases, 'grant' | 'revoke'>;
  readonly key: string;
  /** Who holds it, for people that look. */
  readonly holder: string;
  readonly clock: Pick<Clock, 'sleep'>;
  readonly log: Log;
}

/** Longer than a database takes to be written anew. */
const ttlS = 180;

/** Runs `body` if nobody else has the turn. @returns whether it ran; throws what it throws, the turn given back */
export async function inTurn(options: TurnOptions, body: () => Promise<void>): Promise<boolean> {
  const { client, leases, key, holder } = options;
  const lease = await leases.grant(ttlS);
  try {
    const taken = await client.txn(
      [{ key, modRevision: 0 }],
      [{ op: 'put', key, value: Buffer.from(holder), lease: lease.id }],
    );
    if (taken.succeeded) await body();
    return taken.succeeded;
  } finally {
    await giveBack(options, lease.id);
  }
}

/** This member may just have been started again, and the others be electing. */
const attemptsMax = 6;
const retryMsMax = 1_000;

/** Nobody else has a turn until it is told, or the lease expires. */
async function giveBack({ leases, clock, log }: TurnOptions, id: string): Promise<void> {
  for (let failures = 1; ; failures++) {
    try {
      return await leases.revoke(id);
    } catch (err) {
      if (failures === attemptsMax)
        return log.warn({ err }, 'a turn could not be given back: it ends with its lease');
      await clock.sleep(backoffMs(failures, retryMsMax));
    }
  }
}
