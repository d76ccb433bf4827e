/**
 * Says that this manager's daemon is alive: an object on a lease, which etcd takes away when a majority has not heard of it. It
 * is written again whenever it was lost.
 */
import type { NodeId } from '../../model/ids.js';
import type { ManagerPresence } from '../../model/objects.js';
import { OutsideError } from '../../model/errors.js';
import { backoffMs } from '../../runtime/backoff.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { EtcdClient, WriteOp } from '../etcd/client.js';
import type { Beat, EtcdLeases, Lease } from '../etcd/lease.js';
import { objectKey } from './keys.js';
import type { Sealer } from './seal.js';

export interface PresenceOptions {
  readonly client: Pick<EtcdClient, 'txn'>;
  readonly leases: Pick<EtcdLeases, 'grant' | 'revoke' | 'keepAlive'>;
  readonly sealer: Sealer;
  readonly nodeId: NodeId;
  /** `host:port` */
  readonly addr: string;
  /** See ManagerPresence; asked for whenever the object is written. */
  readonly etcdTrust?: () => string;
  /** Told of each answer to the lease's beats. */
  readonly onBeat?: (beat: Beat) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** The shortest that etcd grants with its usual timers. */
const ttlS = 2;
const retryMsMax = 1_000;

/** Runs until the signal aborts; then the object is gone, if etcd can still be told. */
export async function holdPresence(options: PresenceOptions, signal: AbortSignal): Promise<void> {
  const { leases, onBeat, clock, log } = options;
  for (let failures = 0; !signal.aborted;) {
    let lease: Lease | undefined;
    try {
      lease = await leases.grant(ttlS);
      await write(options, lease);
      failures = 0;
      await leases.keepAlive(lease, signal, onBeat);
    } catch (err) {
      if (signal.aborted) {
        // Others need not wait for it to expire.
        if (lease) await leases.revoke(lease.id, ttlS * 1_000).catch(() => undefined);
        return;
      }
      if (!(err instanceof OutsideError)) throw err;
      failures += 1;
      log.warn({ err, failures }, 'this manager is not known to be alive, will say it again');
      await clock.sleep(backoffMs(failures, retryMsMax), signal).catch(() => undefined);
    }
  }
}

async function write(
  { client, sealer, clock, nodeId, addr, etcdTrust }: PresenceOptions,
  lease: Lease,
): Promise<void> {
  const nowMs = clock.nowMs();
  const stored: Omit<ManagerPresence, 'version'> = {
    id: nodeId,
    addr,
    ...(etcdTrust && { etcdTrust: etcdTrust() }),
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
  };
  const key = objectKey('manager', nodeId);
  const value = sealer.seal(key, Buffer.from(JSON.stringify(stored)));
  const put: WriteOp = { op: 'put', key, value, lease: lease.id };
  // A put that was given up may be made yet. After this one it would tie the object to a lease that nobody holds any more, and so
  // take it away: hence none that does not know what it replaces.
  for (let modRevision = 0; ;) {
    const { succeeded, read } = await client.txn([{ key, modRevision }], [put], { readOnFailure: key });
    if (succeeded) return;
    modRevision = read?.modRevision ?? 0;
  }
}
