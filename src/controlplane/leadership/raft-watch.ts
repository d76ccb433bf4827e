/**
 * What this manager's own etcd says of Raft. A look is a local call that needs no other member; but a few of them a second are more
 * than all else that an idle manager does. So nobody looks while the beats of this manager's lease are answered: only who leads Raft
 * can renew a lease, so an answer within a term that is known says that all is as it was. A beat that is late, or of another term,
 * has somebody look, and often, until beats have been well for a while. What must stay true: the leader's machine is missed by its
 * beats before the others can have elected another one.
 */
import type { Clock } from '../../runtime/clock.js';
import { Trigger } from '../../runtime/loop.js';
import type { EtcdClient, EtcdStatus } from '../etcd/client.js';
import type { Beat } from '../etcd/lease.js';

export type RaftStatus = Pick<EtcdStatus, 'hasLeader' | 'isLeader' | 'memberId' | 'raftTerm'>;

/** An election takes one to two seconds; a tenth of that is lost at most. */
const lookMs = 150;
/** Whoever leads Raft has nothing to win by knowing soon that it does no more: its writes are refused from then on (office.ts). */
const leaderLookMs = 1_000;
const callMs = 1_000;
/** An answer comes at once, or over one connection between managers. With half a second between beats: before any election ends. */
const lateMs = 200;
/** A new leader of Raft is known a moment before its term is (etcd tells that of its first entry); both have come by then. */
const beatsInARow = 4;

export class RaftWatch {
  readonly #trigger = new Trigger();
  #status: RaftStatus | undefined;
  #leaderlessSinceMs: number | undefined;
  /** The last beats that were answered in time, in one term. */
  #beats = { raftTerm: NaN, inARow: 0, untilMs: -Infinity };

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

  /** A beat of this manager's lease was answered. */
  readonly heard = ({ raftTerm, nextMs }: Beat): void => {
    const nowMs = this.clock.steadyMs();
    const { inARow, untilMs, raftTerm: before } = this.#beats;
    const goesOn = raftTerm === before && nowMs <= untilMs;
    this.#beats = { raftTerm, inARow: goesOn ? inARow + 1 : 1, untilMs: nowMs + nextMs + lateMs };
    if (raftTerm !== before) this.#trigger.fire();
  };

  /** Looks until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // Whatever keeps etcd from answering: nothing can be known of Raft.
      this.#status = await this.client.status(callMs).catch(() => undefined);
      this.#leaderlessSinceMs = this.#status?.hasLeader
        ? undefined
        : (this.#leaderlessSinceMs ?? this.clock.steadyMs());
      this.onLook();
      await this.#trigger.wait(this.#status?.isLeader ? leaderLookMs : lookMs, this.clock, signal);
      for (let restMs = this.#standsMs(); restMs > 0 && !signal.aborted; restMs = this.#standsMs())
        await this.#trigger.wait(restMs, this.clock, signal);
    }
  }

  /** For how long what was seen last stands by the beats, in ms; 0 or less: it does not. */
  #standsMs(): number {
    const { raftTerm, inARow, untilMs } = this.#beats;
    const isSettled = this.#status?.hasLeader === true && this.#status.raftTerm === raftTerm;
    return isSettled && inARow >= beatsInARow ? untilMs - this.clock.steadyMs() : 0;
  }
}
