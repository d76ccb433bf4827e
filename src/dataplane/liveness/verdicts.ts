/**
 * Who is silent, from who answered in which round. Pure: told of rounds, gives verdicts.
 *
 * A peer is silent once it has answered none of the last {@link missedMax} rounds, and is back with its first answer. A round counts
 * only if this daemon was awake all through it and has read its sockets since: a stall of ours, a SIGSTOP or a pause of the machine
 * must not make anybody silent. Only who has ever answered can fall silent, an earlier daemon of this node counting: a peer whose
 * firewall swallows what it is asked is never judged, and one that was dead before this daemon began is.
 */
import type { NodeId } from '../../model/ids.js';

/** Somebody is asked this often. */
export const turnMs = 250;
/** Of all peers so many at a turn: a thousand questions a second at most, in bursts that no queue on the way drops. */
export const peersPerTurn = 250;
/** For as long answers must be missing. */
const silentAfterMs = 1_000;
/** Single packets get lost. */
const missedMin = 3;
/** A round that ends later than this after its time was not one of a daemon that was awake. */
const stallMsMax = 250;

/** After how many unanswered rounds of that length a peer is silent. */
export const missedMax = (lengthMs: number): number =>
  Math.max(missedMin, Math.ceil(silentAfterMs / lengthMs));

/** One round that is over. */
export interface Round {
  /** Those who were asked. */
  readonly asked: ReadonlySet<NodeId>;
  /** Those who answered while it lasted. */
  readonly heard: ReadonlySet<NodeId>;
  /** How long it was to last, and how long it has lasted. */
  readonly lengthMs: number;
  readonly tookMs: number;
}

export class Verdicts {
  /** Rounds without an answer since the last one, of those who have ever answered. */
  readonly #missed = new Map<NodeId, number>();
  #silent: ReadonlySet<NodeId> = new Set();

  /** @param known who has answered an earlier daemon of this node */
  constructor(known: Iterable<NodeId> = []) {
    for (const nodeId of known) this.#missed.set(nodeId, 0);
  }

  /** The same set until somebody falls silent or is back. */
  get silent(): ReadonlySet<NodeId> {
    return this.#silent;
  }

  /** Who has ever answered, in no order. */
  get known(): NodeId[] {
    return [...this.#missed.keys()];
  }

  /** Whether the peer has ever answered. */
  knows(nodeId: NodeId): boolean {
    return this.#missed.has(nodeId);
  }

  /** Forgets all but these peers; true when somebody was forgotten. */
  keep(peers: ReadonlySet<NodeId>): boolean {
    const gone = this.known.filter((nodeId) => !peers.has(nodeId));
    for (const nodeId of gone) this.#missed.delete(nodeId);
    if (gone.some((nodeId) => this.#silent.has(nodeId)))
      this.#silent = new Set([...this.#silent].filter((nodeId) => peers.has(nodeId)));
    return gone.length > 0;
  }

  /** An answer. True when the peer was silent until now. */
  hear(nodeId: NodeId): boolean {
    this.#missed.set(nodeId, 0);
    if (!this.#silent.has(nodeId)) return false;
    this.#silent = new Set([...this.#silent].filter((one) => one !== nodeId));
    return true;
  }

  /** Takes a round that is over; gives those that are silent from now on. */
  judge({ asked, heard, lengthMs, tookMs }: Round): readonly NodeId[] {
    if (tookMs > lengthMs + stallMsMax) return [];
    const fallen: NodeId[] = [];
    for (const nodeId of asked) {
      const missed = this.#missed.get(nodeId);
      if (missed === undefined || heard.has(nodeId)) continue;
      this.#missed.set(nodeId, missed + 1);
      if (missed + 1 >= missedMax(lengthMs) && !this.#silent.has(nodeId)) fallen.push(nodeId);
    }
    if (fallen.length > 0) this.#silent = new Set([...this.#silent, ...fallen]);
    return fallen;
  }
}
