/**
 * One member at a time: a turn is a key on a lease, so that it ends with whoever holds it. Nobody waits for one; who does not get
 * it asks again later.
 */
import { systemClock } from '../../runtime/clock.js';
import type { EtcdClient } from './client.js';
import type { EtcdLeases } from './lease.js';

export interface TurnOptions {
  readonly client: Pick<EtcdClient, 'txn'>;
  readonly leases: Pick<EtcdLeases, 'grant' | 'revoke'>;
  readonly key: string;
  /** Who holds it, for people that look. */
  readonly holder: string;
}

/** Longer than a database takes to be written anew. */
const ttlS = 180;

/** Runs `body` if nobody else has the turn. @returns whether it ran; throws what it throws, the turn given back */
export async function inTurn(
  { client, leases, key, holder }: TurnOptions,
  body: () => Promise<void>,
): Promise<boolean> {
  const lease = await leases.grant(ttlS);
  try {
    const taken = await client.txn(
      [{ key, modRevision: 0 }],
      [{ op: 'put', key, value: Buffer.from(holder), lease: lease.id }],
    );
    if (taken.succeeded) await body();
    return taken.succeeded;
  } finally {
    await giveBack(leases, lease.id);
  }
}

/** This member may just have been started again, and the others be electing. */
const attemptsMax = 5;

/** Nobody else has a turn until it is told, or the lease expires. */
async function giveBack(leases: TurnOptions['leases'], id: string): Promise<void> {
  for (let attempt = 1; attempt <= attemptsMax; attempt++) {
    try {
      return await leases.revoke(id);
    } catch {
      await systemClock.sleep(200 * attempt);
    }
  }
}
