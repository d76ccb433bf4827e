/** What this manager's own etcd says of Raft, asked often: a local call that needs no other member. */
import type { Clock } from '../../runtime/clock.js';
import type { EtcdClient, EtcdStatus } from '../etcd/client.js';

export type RaftStatus = Pick<EtcdStatus, 'hasLeader' | 'isLeader' | 'memberId' | 'raftTerm'>;

/** An election takes one to two seconds; a tenth of that is lost at most. */
const lookMs = 150;
/**
 * Whoever leads Raft has nothing to win by knowing soon that it does no more: its writes are refused from then on (office.ts). A
 * look is a call, which often would be a third of what an idle manager does.
 */
const leaderLookMs = 1_000;
const callMs = 1_000;

export class RaftWatch {
  #status: RaftStatus | undefined;
  #leaderlessSinceMs: number | undefined;

  constructor(
    private readonly client: Pick<EtcdClient, 'status'>,
    private readonly clock: Clock,
    /** After every look. */
    private readonly onLook: () => void,
  ) {}

  /** As of the last look; undefined while etcd does not answer. */
  get status(): RaftStatus | undefined {
    return this.#status;
  }

  /** For how long there has been nobody to lead Raft, in ms; 0: somebody does. */
  get leaderlessMs(): number {
    return this.#leaderlessSinceMs === undefined ? 0 : this.clock.steadyMs() - this.#leaderlessSinceMs;
  }

  /** Looks until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // Whatever keeps etcd from answering: nothing can be known of Raft.
      this.#status = await this.client.status(callMs).catch(() => undefined);
      this.#leaderlessSinceMs = this.#status?.hasLeader
        ? undefined
        : (this.#leaderlessSinceMs ?? this.clock.steadyMs());
      this.onLook();
      await this.clock.sleep(this.#status?.isLeader ? leaderLookMs : lookMs, signal).catch(() => undefined);
    }
  }
}
