/**
 * An address for a container of a user's, inside the transaction of whoever asks: `docker run` waits for it, and cannot
 * wait for a pass of the loop. The network is written with it, so two who were given the same address cannot both commit.
 */
import type { Ip } from '../../model/addresses.js';
import { SkepError } from '../../model/errors.js';
import type { NetworkId, TaskId } from '../../model/ids.js';
import { subnetAround } from '../../model/network-subnets.js';
import type { NetworkAttachment } from '../../model/objects.js';
import { Draft, writePlan } from '../plan.js';
import type { Transaction } from '../store/store.js';
import { prefixLengthOf } from './endpoints.js';
import { Holdings } from './holdings.js';
import { macOf } from './mac.js';

export interface LegRequest {
  readonly holder: TaskId;
  readonly networkId: NetworkId;
  /** The one address that will do; any when absent. */
  readonly address?: Ip;
}

/**
 * Takes the address. Throws `unavailable` while the network has no subnet or no address left, libnetwork's words for an
 * address that is taken (`permissionDenied`, 403 as from the engine) or outside the subnet (`invalidArgument`).
 */
export function allocateLeg(
  tx: Transaction,
  { holder, networkId, address: wanted }: LegRequest,
  nowMs: number,
): Omit<NetworkAttachment, 'aliases'> {
  const draft = new Draft(tx, nowMs);
  const holdings = new Holdings(draft);
  const network = tx.get('network', networkId);
  if (!network?.allocation)
    throw new SkepError('unavailable', `network ${network?.spec.name ?? networkId} has no subnet yet`);
  if (wanted !== undefined && !subnetAround(network.allocation, wanted))
    throw new SkepError(
      'invalidArgument',
      `Invalid address ${wanted}: It does not belong to any of this network's subnets`,
    );
  const address =
    wanted === undefined ? holdings.takeAddresses([networkId])?.[0] : holdings.takeAddress(networkId, wanted);
  if (address === undefined)
    throw wanted === undefined
      ? new SkepError('unavailable', `network ${network.spec.name} has no free address`)
      : new SkepError('permissionDenied', 'Address already in use');
  // With its ledger: what is let go before the loop's next pass must have been seen to be held.
  holdings.writeLedgers([networkId]);
  writePlan(tx, draft.plan().writes);
  return {
    networkId,
    address,
    prefixLength: prefixLengthOf(network, address),
    mac: macOf(holder, networkId),
  };
}
