/** The refusal of a manager that does not lead: it names the one that does, so that a node need not ask around. */
import { Metadata } from '@grpc/grpc-js';
import { SkepError } from '../../model/errors.js';

const leaderKey = 'skep-leader';

export class NotLeaderError extends SkepError {
  /** @param leader `host:port`; empty: nobody leads that this manager knows of */
  constructor(readonly leader: string) {
    super('unavailable', 'this manager does not lead the swarm');
  }
}

/** What goes with the refusal over the wire. */
export function refusalMetadata(err: unknown): Metadata | undefined {
  if (!(err instanceof NotLeaderError)) return undefined;
  const metadata = new Metadata();
  metadata.set(leaderKey, err.leader);
  return metadata;
}

/** The refusal that a caller received, if it is this one. */
export function notLeaderOf(metadata: Metadata | undefined): NotLeaderError | undefined {
  const [leader] = metadata?.get(leaderKey) ?? [];
  return typeof leader === 'string' ? new NotLeaderError(leader) : undefined;
}
