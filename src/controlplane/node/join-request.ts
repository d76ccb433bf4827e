/** How a manager's etcd joins those of the others. */
import { OutsideError } from '../../model/errors.js';
import { nodeClientSecurity } from '../ca/credentials.js';
import type { NodeIdentity } from '../ca/node-identity.js';
import { ManagersClient } from '../rpc/clients.js';
import type { JoinManagersReply } from '../rpc/messages.js';
import type { DataKey } from '../store/seal.js';
import { firstThatAnswers } from './ask-managers.js';

/**
 * Asks to be taken in.
 * @param managers to ask, `host:port`
 * @throws OutsideError retryable when none answers; SkepError with a manager's refusal
 */
export async function requestJoin(
  identity: NodeIdentity,
  managers: readonly string[],
  peerUrl: string,
): Promise<{ readonly members: JoinManagersReply['members']; readonly dataKey: DataKey }> {
  const { credentials, options } = nodeClientSecurity(identity);
  const { members, dataKey } = await firstThatAnswers(managers, async (addr) => {
    const client = new ManagersClient(addr, credentials, options);
    try {
      return await client.join({ peerUrl });
    } finally {
      client.close();
    }
  });
  if (!dataKey) throw new OutsideError('the manager handed over no data key', true);
  return { members, dataKey };
}
