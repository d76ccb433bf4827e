/**
 * Leases: keys that go when whoever wrote them is not heard of any more. A majority decides that, so a process that is cut
 * off, paused or dead loses its keys, whatever it believes itself.
 */
import type * as grpc from '@grpc/grpc-js';
import { EtcdError, callMsDefault, serviceClient, toEtcdError, unary } from './channel.js';
import type { Unary } from './channel.js';
import { status } from '@grpc/grpc-js';

interface WireGrant {
  readonly ID: string;
  readonly TTL: string;
}
interface WireKeepAlive extends WireGrant {
  readonly header: { readonly raftTerm: string };
}

type LeaseClient = grpc.Client & {
  leaseGrant: Unary<WireGrant>;
  leaseRevoke: Unary<unknown>;
  leaseKeepAlive(): grpc.ClientDuplexStream<{ readonly ID: string }, WireKeepAlive>;
};

export interface Lease {
  readonly id: string;
  /** What etcd grants may be more than was asked for: never less than one and a half elections. */
  readonly ttlMs: number;
}

/** An answer to one beat of a lease. Whoever leads Raft has given it, on this term or the next: nobody else can renew a lease. */
export interface Beat {
  /** As this member knew it when it was asked. */
  readonly raftTerm: number;
  /** When the next beat is due, in ms. */
  readonly nextMs: number;
}

const beatsPerTtl = 4;
/** After as many beats without an answer the next one goes another way, which leaves the lease a quarter of its time. */
const unansweredMax = 3;

export class EtcdLeases {
  readonly #leases: LeaseClient;

  /** See EtcdClient. */
  constructor(address: string, credentials?: grpc.ChannelCredentials) {
    this.#leases = serviceClient('Lease', address, credentials);
  }

  async grant(ttlS: number, deadlineMs = callMsDefault): Promise<Lease> {
    const { leaseGrant } = this.#leases;
    const { ID, TTL } = await unary('lease grant', deadlineMs, this.#leases, leaseGrant, { TTL: ttlS });
    return { id: ID, ttlMs: Number(TTL) * 1_000 };
  }

  /** Its keys go at once. One that is gone is no error. */
  async revoke(id: string, deadlineMs = callMsDefault): Promise<void> {
    try {
      await unary('lease revoke', deadlineMs, this.#leases, this.#leases.leaseRevoke, { ID: id });
    } catch (err) {
      if (!(err instanceof EtcdError && err.code === status.NOT_FOUND)) throw err;
    }
  }

  /**
   * Holds a lease until something fails.
   * @param onBeat called with each answer
   * @throws EtcdError NOT_FOUND when it has expired; the signal's reason
   */
  keepAlive(
    { id, ttlMs }: Lease,
    signal: AbortSignal,
    onBeat: (beat: Beat) => void = () => undefined,
  ): Promise<never> {
    return new Promise((_, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      const stream = this.#leases.leaseKeepAlive();
      const end = (reason: Error): void => {
        clearInterval(timer);
        signal.removeEventListener('abort', onAbort);
        reject(reason);
        stream.cancel();
      };
      const onAbort = (): void => end(signal.reason as Error);
      signal.addEventListener('abort', onAbort, { once: true });
      // Counted, not timed: of a process that was held up the answers have come, and are only not read yet.
      let unanswered = 0;
      const beat = (): void => {
        // A member hands beats to the one that leads, and waits long for one that is dead: the lease would be lost meanwhile.
        if (unanswered === unansweredMax)
          end(new EtcdError('lease keep alive', status.DEADLINE_EXCEEDED, 'no answer', undefined));
        else {
          unanswered += 1;
          stream.write({ ID: id });
        }
      };
      const nextMs = ttlMs / beatsPerTtl;
      const timer = setInterval(beat, nextMs);
      // Stays after the end: cancelling makes one more error, which nobody else would take.
      stream.on('error', (err: grpc.ServiceError) => end(toEtcdError('lease keep alive', err)));
      stream.on('end', () =>
        end(new EtcdError('lease keep alive', status.UNAVAILABLE, 'the stream ended', undefined)),
      );
      stream.on('data', ({ TTL, header }: WireKeepAlive) => {
        unanswered = 0;
        if (Number(TTL) === 0)
          end(new EtcdError('lease keep alive', status.NOT_FOUND, 'the lease has expired', undefined));
        else if (!signal.aborted) onBeat({ raftTerm: Number(header.raftTerm), nextMs });
      });
      beat();
    });
  }

  close(): void {
    this.#leases.close();
  }
}
