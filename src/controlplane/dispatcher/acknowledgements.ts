/**
 * Which revision of the store each node is known to have programmed. A node has reached revision R when everything that it
 * was sent up to a comparison of R, or later, with what it knew is acknowledged; what means nothing for it needs no word of it.
 * In memory only: a new dispatcher learns it anew with the first messages of its sessions.
 */
import type { Readable } from 'node:stream';
import { systemClock } from '../../runtime/clock.js';
import type { Clock } from '../../runtime/clock.js';
import type { NodeId } from '../../model/ids.js';
import type { AcknowledgeRevisionRequest } from '../rpc/messages.js';
import { Waiters } from '../../runtime/waiters.js';
import type { Session } from './sessions.js';

/** Messages of one node told apart while they wait for their acknowledgement; of more, the latest count as one. */
const unacknowledgedMax = 64;

interface Message {
  /** That it brings the node to. */
  readonly revision: number;
  /** Up to which the node knew everything before it. */
  readonly before: number;
  /** When it was sent; the first of those that count as one. */
  readonly sentMs: number;
}

/** How far nodes are behind what they were sent. */
export interface AcknowledgementFigures {
  /** Nodes that have not acknowledged everything yet. */
  readonly unacknowledged: number;
  /** For how long the oldest message that is not acknowledged has been under way; 0: none is. */
  readonly oldestMs: number;
  /** What the node that is furthest behind has reached; Infinity without nodes. */
  readonly leastReached: number;
}

interface Progress {
  readonly session: Session;
  /** Up to which it was compared with what the node was told. */
  compared: number;
  readonly unacknowledged: Message[];
}

export class Acknowledgements {
  readonly #nodes = new Map<NodeId, Progress>();
  readonly #waiters = new Waiters();

  /** @param onAcknowledged is told how long each message took to be acknowledged */
  constructor(
    private readonly clock: Pick<Clock, 'steadyMs'> = systemClock,
    private readonly onAcknowledged: (tookMs: number) => void = () => undefined,
  ) {}

  /** A session's assignments begin: nothing of an earlier one counts. */
  begin(session: Session): void {
    this.#nodes.set(session.nodeId, { session, compared: -1, unacknowledged: [] });
  }

  /** The session is over: nobody knows any more what its node does. */
  end(session: Session): void {
    if (this.#of(session)) this.#nodes.delete(session.nodeId);
  }

  /** At `revision` there was nothing to tell the node. */
  compared(session: Session, revision: number): void {
    const progress = this.#of(session);
    if (!progress) return;
    progress.compared = revision;
    this.#waiters.check();
  }

  /** A message that brings the node to `revision` is about to be sent. */
  sending(session: Session, revision: number): void {
    const progress = this.#of(session);
    if (!progress) return;
    const { unacknowledged } = progress;
    const last = unacknowledged.length < unacknowledgedMax ? undefined : unacknowledged.pop();
    unacknowledged.push({
      revision,
      before: last?.before ?? progress.compared,
      sentMs: last?.sentMs ?? this.clock.steadyMs(),
    });
    progress.compared = revision;
  }

  /** The node says that it has programmed `revision`. */
  acknowledge(session: Session, revision: number): void {
    const { unacknowledged = [] } = this.#of(session) ?? {};
    while (unacknowledged[0] && unacknowledged[0].revision <= revision) {
      this.onAcknowledged(this.clock.steadyMs() - unacknowledged[0].sentMs);
      unacknowledged.shift();
    }
    this.#waiters.check();
  }

  /**
   * Takes what a node acknowledges in one call, until that or the session of its first message ends. Rejects with why the session ended.
   * @param sessionOf throws for who is in no session, or not in the one that it names
   */
  async take(
    requests: Pick<Readable, 'destroy'> & AsyncIterable<AcknowledgeRevisionRequest>,
    sessionOf: (request: AcknowledgeRevisionRequest) => Session,
  ): Promise<void> {
    let first: Session | undefined;
    const end = (): void => void requests.destroy();
    try {
      for await (const request of requests) {
        const session = sessionOf(request);
        if (!first) session.signal.addEventListener('abort', end, { once: true });
        first ??= session;
        this.acknowledge(session, request.revision);
      }
    } finally {
      first?.signal.removeEventListener('abort', end);
      first?.signal.throwIfAborted();
    }
  }

  /** The newest revision that the node is known to have programmed; -1: none. */
  reached(nodeId: NodeId): number {
    const progress = this.#nodes.get(nodeId);
    return progress?.unacknowledged[0]?.before ?? progress?.compared ?? -1;
  }

  figures(): AcknowledgementFigures {
    const figures = { unacknowledged: 0, oldestMs: 0, leastReached: Infinity };
    const nowMs = this.clock.steadyMs();
    for (const [nodeId, { unacknowledged }] of this.#nodes) {
      const [first] = unacknowledged;
      figures.leastReached = Math.min(figures.leastReached, this.reached(nodeId));
      if (!first) continue;
      figures.unacknowledged += 1;
      figures.oldestMs = Math.max(figures.oldestMs, nowMs - first.sentMs);
    }
    return figures;
  }

  /** Whether the node is in a session, so that it may get on. */
  isAtWork(nodeId: NodeId): boolean {
    return this.#nodes.has(nodeId);
  }

  /** Looked at whenever a node gets on, and when {@link check} is called. Rejects with the signal's reason. */
  until(holds: () => boolean, signal: AbortSignal): Promise<void> {
    return this.#waiters.until(holds, signal);
  }

  check(): void {
    this.#waiters.check();
  }

  #of(session: Session): Progress | undefined {
    const progress = this.#nodes.get(session.nodeId);
    return progress?.session === session ? progress : undefined;
  }
}
