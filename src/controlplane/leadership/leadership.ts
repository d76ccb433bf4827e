/**
 * Takes office when this manager is to lead, and runs what only the leader does for as long as it does. Must stay true: what
 * an earlier term has begun has ended before the next one begins.
 */
import type { NodeId } from '../../model/ids.js';
import { leaderId } from '../../model/ids.js';
import { SkepError } from '../../model/errors.js';
import type { Clock } from '../../runtime/clock.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import { Trigger } from '../../runtime/loop.js';
import type { Store } from '../store/store.js';
import type { Candidate } from './office.js';
import { DeposedError, isInOffice, mayTakeOffice, storeInOffice, takeOffice } from './office.js';
import type { RaftWatch } from './raft-watch.js';

export interface LeadershipOptions {
  readonly store: Store;
  readonly nodeId: NodeId;
  readonly raft: Pick<RaftWatch, 'status' | 'leaderlessMs'>;
  /**
   * What the leader does, until the signal aborts.
   * @param store takes nothing any more once the term is over
   */
  readonly lead: (store: Store, signal: AbortSignal) => Promise<void>;
  /** Called when a term begins. */
  readonly onTerm?: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

const resyncMs = 1_000;
/**
 * A leader that can write nothing for as long gives up its office, so that its nodes turn to whoever leads now. An etcd that is
 * only started again is back before.
 */
const leaderlessMsMax = 3_000;

export class Leadership {
  readonly #trigger = new Trigger();
  #reconsider: (() => void) | undefined;

  constructor(private readonly options: LeadershipOptions) {}

  /** Something that office depends on may have changed. */
  readonly look = (): void => {
    this.#reconsider?.();
    this.#trigger.fire();
  };

  /** Runs until the signal aborts and this manager leads no more. Rejects with what `lead` rejects with. */
  async run(signal: AbortSignal): Promise<void> {
    const { store, clock } = this.options;
    const unsubscribe = store.subscribe(({ changes }) => {
      if (changes.some(({ kind }) => kind === 'leader' || kind === 'manager')) this.look();
    });
    try {
      while (!signal.aborted) {
        const term = await this.#campaign();
        if (term !== undefined && !signal.aborted) await this.#lead(term, signal);
        else await this.#trigger.wait(resyncMs, clock, signal);
      }
    } finally {
      unsubscribe();
    }
  }

  /** @returns the version of the leader object, once it is ours */
  async #campaign(): Promise<number | undefined> {
    const { store, nodeId, raft, log } = this.options;
    const { status } = raft;
    if (!status?.hasLeader) return undefined;
    const candidate: Candidate = { nodeId, isRaftLeader: status.isLeader, raftTerm: status.raftTerm };
    if (!mayTakeOffice(store.view(), candidate)) return undefined;
    try {
      const taken = await store.update((tx) => {
        if (!mayTakeOffice(tx, candidate)) return false;
        takeOffice(tx, candidate);
        return true;
      });
      const leader = store.view().get('leader', leaderId);
      return taken && leader?.nodeId === nodeId ? leader.version : undefined;
    } catch (err) {
      if (!(err instanceof SkepError)) throw err;
      log.warn({ err }, 'cannot take office now');
      return undefined;
    }
  }

  async #lead(term: number, signal: AbortSignal): Promise<void> {
    const { store, raft, lead, log } = this.options;
    const over = new AbortController();
    const reconsider = (): void => {
      if (!isInOffice(store.view().get('leader', leaderId), term) || raft.leaderlessMs > leaderlessMsMax)
        over.abort(new DeposedError());
    };
    this.#reconsider = reconsider;
    const unsubscribe = store.subscribe(reconsider);
    reconsider();
    decide(log, 'leader.elected', { term });
    this.options.onTerm?.();
    try {
      await lead(storeInOffice(store, term), AbortSignal.any([signal, over.signal]));
    } finally {
      unsubscribe();
      this.#reconsider = undefined;
      const why = over.signal.aborted
        ? String((over.signal.reason as Error).message)
        : 'this manager stops or fails';
      decide(log, 'leader.lost', { term, why });
    }
  }
}
