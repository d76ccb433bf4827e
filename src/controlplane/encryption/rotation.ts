/**
 * The keys of encrypted networks, made by the leader and kept in the store: so a leader that follows goes on where the last
 * one was. There are the key that nodes send with, the one after it and the one before it, and every node receives with
 * all of them. A rotation lets nodes send with the next key, which all of them have had for a whole interval, and makes
 * another next one; a node that hears of it late is still heard, for as long as its key is among the three.
 */
import type { RandomSource } from '../../model/ids.js';
import { isEncrypted } from '../../model/encryption.js';
import type { Cluster, ClusterEncryption, ClusterKey } from '../../model/objects.js';
import { Draft } from '../plan.js';
import type { Plan } from '../plan.js';
import type { View } from '../store/store.js';

/** Swarm's (keymanager's default): twelve hours. */
export const rotationMs = 12 * 3_600_000;
const keyBytes = 32;

/** One pass: keys while there is an encrypted network, a rotation when it is time. */
export function planKeys(view: View, nowMs: number, random: RandomSource, intervalMs = rotationMs): Plan {
  const draft = new Draft(view, nowMs);
  const cluster = view.cluster();
  const wanted = view.list('network').some(({ spec }) => isEncrypted(spec));
  const next = wanted ? rotated(cluster, nowMs, random, intervalMs) : withoutKeys(cluster);
  if (next !== cluster.encryption && next !== undefined && draft.fits(1))
    draft.update('cluster', { ...cluster, encryption: next });
  if (wanted && next) draft.wakeAt(next.sendsSinceMs + intervalMs);
  return draft.plan();
}

/** The present keys where it is not yet time. A clock that was set back puts a rotation off by as much. */
function rotated(
  { encryption }: Cluster,
  nowMs: number,
  random: RandomSource,
  intervalMs: number,
): ClusterEncryption {
  const { keys = [], sends = 0, sendsSinceMs = 0 } = encryption ?? {};
  const nextKey = keys.find(({ sequence }) => sequence > sends);
  if (encryption && nextKey && nowMs < sendsSinceMs + intervalMs) return encryption;
  if (!nextKey) {
    const first = newKey(sends + 1, random);
    return { keys: [first, newKey(sends + 2, random)], sends: first.sequence, sendsSinceMs: nowMs };
  }
  const kept = keys.filter(({ sequence }) => sequence >= sends);
  return {
    keys: [...kept, newKey(nextKey.sequence + 1, random)],
    sends: nextKey.sequence,
    sendsSinceMs: nowMs,
  };
}

/** The numbers go on where they were, should there be an encrypted network again: one number never means two keys. */
function withoutKeys({ encryption }: Cluster): ClusterEncryption | undefined {
  if (!encryption || encryption.keys.length === 0) return encryption;
  const last = Math.max(...encryption.keys.map(({ sequence }) => sequence));
  return { ...encryption, keys: [], sends: last };
}

const newKey = (sequence: number, random: RandomSource): ClusterKey => ({
  sequence,
  key: Buffer.from(random(keyBytes)).toString('base64'),
});
