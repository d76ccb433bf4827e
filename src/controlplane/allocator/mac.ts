/** MAC addresses that carry their holder: an entry left behind for an earlier holder of an address never matches. */
import { createHash } from 'node:crypto';
import type { Mac } from '../../model/addresses.js';
import { bytesToMac } from '../../model/addresses.js';
import type { NetworkId, NodeId, TaskId } from '../../model/ids.js';

/** `02:` (locally administered, unicast) and five bytes of SHA-256 over holder and network. */
export function macOf(holder: TaskId | NodeId, network: NetworkId): Mac {
  const digest = createHash('sha256').update(`${holder}/${network}`).digest();
  return bytesToMac(Uint8Array.from([0x02, ...digest.subarray(0, 5)]));
}
