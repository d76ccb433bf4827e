/**
 * Which nodes are lost, by the word of those that do not hear them (docs/adr/0043). Pure: told of heartbeats, gives questions and
 * verdicts.
 *
 * A node whom two others call silent is asked for a sign of life. It is lost once nobody has heard it for a whole period: everybody
 * who has a say calls it silent all that time, and it owes the sign of life. A say has whoever shares a network with it, can judge, and
 * is heard itself: its heartbeat is not overdue, and it owes no sign of life. So must stay true: whoever answers its manager is never
 * lost, and neither is anybody while fewer than two others are heard.
 */
import type { NetworkId, NodeId } from '../../model/ids.js';
import type { Node } from '../../model/objects.js';
import { rpcTimeoutMs, sessionRetryMsMax } from '../rpc/clients.js';

/** One alone may be the one that is cut off. */
const witnessesMin = 2;
/** Whoever calls a node silent has not heard it for so long already (dataplane/liveness/verdicts.ts). */
const unheardMs = 1_000;
/** Who is asked has this long to answer, or a period if that is shorter: the question has a way to go, and the answer. */
const answerMsMin = 2_000;
/** A heartbeat may be so late, and its sender still has a say. */
const lateMsMax = 1_000;
/** A look that comes later than this after its time is one of a manager that slept: what it was told lies unread. */
const stallMsMax = 1_000;
/**
 * Nobody can ask a node without session: whether it reboots or looks for a manager, it comes by itself, at the latest when its agent
 * has waited for as long as it may, and made its call.
 */
const sessionlessFactor = 2;
const sessionlessMsMin = sessionRetryMsMax + rpcTimeoutMs;

/** What a node's last heartbeat says. */
interface Word {
  /** When anything was last heard of the node. */
  readonly signMs: number;
  /** When the next heartbeat is due. */
  readonly dueMs: number;
  /** Whom it does not hear; null: it cannot tell. */
  readonly silent: ReadonlySet<NodeId> | null;
}

interface Doubt {
  readonly askedMs: number;
  /** Since when everybody who has a say calls it silent, and it owes a sign of life. */
  agreedMs: number | undefined;
}

export interface Look {
  /** Those that are not down. */
  readonly nodes: readonly Pick<Node, 'id' | 'attachments'>[];
  readonly isInSession: (nodeId: NodeId) => boolean;
  /** Of heartbeats, as configured. */
  readonly periodMs: number;
  readonly nowMs: number;
}

export interface Verdict {
  /** To be asked for a sign of life now. */
  readonly ask: readonly NodeId[];
  readonly lost: readonly NodeId[];
  /** When time alone can change something; Infinity: never. */
  readonly nextMs: number;
}

export class Witnesses {
  readonly #words = new Map<NodeId, Word>();
  readonly #doubts = new Map<NodeId, Doubt>();
  #nextMs = Infinity;

  /**
   * A heartbeat, after which the next one is due in `periodMs`. True when it is worth a look.
   * @param silent whom the node does not hear; null: it cannot tell
   */
  beat(nodeId: NodeId, silent: ReadonlySet<NodeId> | null, periodMs: number, nowMs: number): boolean {
    const before = this.#words.get(nodeId)?.silent ?? null;
    this.#words.set(nodeId, { signMs: nowMs, dueMs: nowMs + periodMs, silent });
    return !isSame(before, silent) || this.#doubts.has(nodeId);
  }

  /** Any other sign of life. */
  hear(nodeId: NodeId, nowMs: number): void {
    const word = this.#words.get(nodeId);
    if (word) this.#words.set(nodeId, { ...word, signMs: nowMs });
  }

  forget(nodeId: NodeId): void {
    this.#words.delete(nodeId);
    this.#doubts.delete(nodeId);
  }

  /** Whether the node was asked for a sign of life and has given none since. */
  owesSign(nodeId: NodeId): boolean {
    const doubt = this.#doubts.get(nodeId);
    return doubt !== undefined && this.#signMs(nodeId) <= doubt.askedMs;
  }

  judge({ nodes, isInSession, periodMs, nowMs }: Look): Verdict {
    if (nowMs > this.#nextMs + stallMsMax) this.#doubts.clear();
    const fresh = nodes.filter(({ id }) => this.#isFresh(id, nowMs));
    const accusers = this.#accusers(fresh);
    const ask = this.#question(nodes, accusers, periodMs, nowMs);
    const heard =
      this.#doubts.size === 0 ? new Map() : byNetwork(fresh.filter(({ id }) => !this.owesSign(id)));
    const lost: NodeId[] = [];
    let nextMs = Infinity;
    for (const { id, attachments } of this.#doubts.size === 0 ? [] : nodes) {
      const doubt = this.#doubts.get(id);
      if (!doubt) continue;
      const owes = this.owesSign(id);
      if (!owes) nextMs = Math.min(nextMs, doubt.askedMs + periodMs);
      if (!owes || !agree(id, attachments, heard, accusers.get(id))) {
        doubt.agreedMs = undefined;
        continue;
      }
      doubt.agreedMs ??= nowMs;
      const lostMs = isInSession(id)
        ? Math.max(doubt.agreedMs + answerMs(periodMs), this.#signMs(id) + periodMs)
        : doubt.agreedMs + sessionlessMs(periodMs);
      if (lostMs <= nowMs) lost.push(id);
      else nextMs = Math.min(nextMs, lostMs);
    }
    // Who has a say loses it by being late.
    if (this.#doubts.size > 0)
      for (const { id } of fresh) nextMs = Math.min(nextMs, (this.#words.get(id)?.dueMs ?? 0) + lateMsMax);
    this.#nextMs = nextMs;
    return { ask, lost, nextMs };
  }

  /** When anything was last heard of the node; long ago if never. */
  #signMs(nodeId: NodeId): number {
    return this.#words.get(nodeId)?.signMs ?? -Infinity;
  }

  /** Can judge, and is heard itself. */
  #isFresh(nodeId: NodeId, nowMs: number): boolean {
    const word = this.#words.get(nodeId);
    return word !== undefined && word.silent !== null && nowMs < word.dueMs + lateMsMax;
  }

  #accusers(fresh: readonly { readonly id: NodeId }[]): ReadonlyMap<NodeId, ReadonlySet<NodeId>> {
    const accusers = new Map<NodeId, Set<NodeId>>();
    for (const { id } of fresh)
      for (const accused of this.#words.get(id)?.silent ?? []) {
        const set = accusers.get(accused) ?? new Set();
        accusers.set(accused, set.add(id));
      }
    return accusers;
  }

  /** Keeps up who is in doubt; gives those that are to be asked: once, and again each period while they are accused and answer. */
  #question(
    nodes: Look['nodes'],
    accusers: ReadonlyMap<NodeId, ReadonlySet<NodeId>>,
    periodMs: number,
    nowMs: number,
  ): NodeId[] {
    const isAccused = (id: NodeId): boolean => (accusers.get(id)?.size ?? 0) >= witnessesMin;
    for (const id of this.#doubts.keys()) if (!isAccused(id)) this.#doubts.delete(id);
    if (accusers.size === 0) return [];
    const ask = nodes
      .map(({ id }) => id)
      .filter((id) => {
        const { askedMs = -Infinity } = this.#doubts.get(id) ?? {};
        return isAccused(id) && !this.owesSign(id) && nowMs >= askedMs + periodMs;
      });
    for (const id of ask) this.#doubts.set(id, { askedMs: nowMs, agreedMs: undefined });
    return ask;
  }
}

/** From the time at which all call a node silent until nobody has heard it for a period. */
const answerMs = (periodMs: number): number =>
  Math.max(periodMs - unheardMs, Math.min(periodMs, answerMsMin));

const sessionlessMs = (periodMs: number): number => Math.max(sessionlessFactor * periodMs, sessionlessMsMin);

type Heard = ReadonlyMap<NetworkId, readonly NodeId[]>;

function byNetwork(nodes: Look['nodes']): Heard {
  const found = new Map<NetworkId, NodeId[]>();
  for (const { id, attachments } of nodes)
    for (const { networkId } of attachments) {
      const there = found.get(networkId) ?? [];
      found.set(networkId, there);
      there.push(id);
    }
  return found;
}

/** Whether all who have a say on the node call it silent, and are enough. */
function agree(
  nodeId: NodeId,
  attachments: Node['attachments'],
  heard: Heard,
  accusers: ReadonlySet<NodeId> | undefined,
): boolean {
  const witnesses = new Set<NodeId>();
  for (const { networkId } of attachments)
    for (const witness of heard.get(networkId) ?? []) {
      if (witness === nodeId) continue;
      if (!accusers?.has(witness)) return false;
      witnesses.add(witness);
    }
  return witnesses.size >= witnessesMin;
}

const isSame = (a: ReadonlySet<NodeId> | null, b: ReadonlySet<NodeId> | null): boolean =>
  a === b || (a !== null && b !== null && a.size === b.size && [...a].every((id) => b.has(id)));
