/** Asks skep-dataplane on this node one question, for the commands that do nothing else. */
import { DataplaneClient } from '../dataplane/rpc/client.js';
import { SkepError } from '../model/errors.js';
import type { CommandError } from './command.js';
import type { Terminal } from './command.js';
import { dataplaneSocket } from './paths.js';
import { unreachableError } from './unreachable.js';

/** What the asker makes of refusals that it expects; undefined: nothing. */
export type OfRefusal = (refusal: SkepError) => CommandError | undefined;

/** Rejects with CommandError, exit code 2, when there is no answer. */
export async function askDataplane<Reply>(
  { env }: Pick<Terminal, 'env'>,
  call: (client: DataplaneClient) => Promise<Reply>,
  ofRefusal: OfRefusal = () => undefined,
): Promise<Reply> {
  const socketPath = dataplaneSocket(env);
  const client = new DataplaneClient(socketPath);
  try {
    return await call(client);
  } catch (cause) {
    const expected = cause instanceof SkepError ? ofRefusal(cause) : undefined;
    throw expected ?? (await unreachableError(2, { daemon: 'skep-dataplane', socketPath }, cause));
  } finally {
    client.close();
  }
}
