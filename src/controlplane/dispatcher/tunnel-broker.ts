/**
 * Connections to the engines of nodes. A node can dial a manager, a manager cannot dial a node: so a node that has a session is
 * told of each connection that is wanted, and brings it. From then on it belongs to nobody's session and to no term of office:
 * a terminal goes on while the node registers anew or another manager leads. It ends with either of its ends, and when the
 * node is down or removed. Bounded: so many to one node, and each node has so long to bring one; what it was not told before
 * its session ended it is told in the next.
 */
import type { Duplex } from 'node:stream';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { SkepError } from '../../model/errors.js';
import type { NodeId, RandomSource } from '../../model/ids.js';
import { newId } from '../../model/ids.js';
import type { Node } from '../../model/objects.js';
import type { Clock } from '../../runtime/clock.js';
import { Deadline } from '../../runtime/deadline.js';
import { Trigger } from '../../runtime/loop.js';
import { orAbort } from '../../runtime/or-abort.js';
import type { Answers } from '../rpc/handlers.js';
import type { TunnelMessage, TunnelOffer } from '../rpc/messages.js';
import { TunnelStream } from '../rpc/tunnel-stream.js';
import type { Store } from '../store/store.js';
import type { OpenTunnel } from '../tunnels.js';
import { nodeLost } from '../tunnels.js';
import type { Session } from './sessions.js';

/** Terminals, followed logs and copies that all users together have on one node. */
export const tunnelsOfNodeMax = 64;
/** A node registers anew where its session or its leader was lost, opens a connection to its manager, with TLS, and calls. */
const bringMsMax = 10_000;
const waitMsMax = 60_000;

interface Offer {
  readonly node: Node;
  readonly take: (tunnel: TunnelStream) => void;
}

export interface TunnelBrokerOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: RandomSource;
}

export class TunnelBroker {
  /** The streams on which nodes are told of offers. */
  readonly #listeners = new Map<NodeId, Trigger>();
  /** By id, oldest first. */
  readonly #offers = new Map<string, Offer>();
  /** By node, offered ones included. */
  readonly #counts = new Map<NodeId, number>();
  readonly #tunnels = new Map<TunnelStream, Node>();
  #unsubscribe: (() => void) | undefined;

  constructor(private readonly options: TunnelBrokerOptions) {}

  /** See {@link OpenTunnel}. */
  readonly open: OpenTunnel = async (nodeId, signal): Promise<Duplex> => {
    const { store, clock, random } = this.options;
    const node = store.view().get('node', nodeId);
    if (!node) throw new SkepError('notFound', `node ${nodeId} not found`);
    if (node.status.state === 'down') throw unavailable(node, 'is down');
    const count = this.#counts.get(nodeId) ?? 0;
    if (count >= tunnelsOfNodeMax)
      throw unavailable(
        node,
        `has ${tunnelsOfNodeMax} connections to its containers open, and takes no more`,
      );
    this.#counts.set(nodeId, count + 1);
    const id = newId(random);
    const brought = new Promise<TunnelStream>((take) => this.#offers.set(id, { node, take }));
    let tunnel: TunnelStream | undefined;
    try {
      using deadline = new Deadline(clock, bringMsMax);
      this.#listeners.get(nodeId)?.fire();
      tunnel = await orAbort(brought, AbortSignal.any([signal, deadline.signal])).catch((cause: unknown) => {
        signal.throwIfAborted();
        if (!deadline.hasPassed) throw cause;
        throw unavailable(node, this.#listeners.has(nodeId) ? 'does not answer' : 'is not available');
      });
      this.#hold(tunnel, node);
      return tunnel;
    } finally {
      this.#offers.delete(id);
      if (!tunnel) {
        this.#release(nodeId);
        void brought.then((late) => late.destroy());
      }
    }
  };

  #hold(tunnel: TunnelStream, node: Node): void {
    this.#tunnels.set(tunnel, node);
    this.#unsubscribe ??= this.options.store.subscribe(({ changes }) => {
      const lost = new Set<NodeId>();
      for (const { kind, id, current } of changes)
        if (kind === 'node' && (!current || current.status.state === 'down')) lost.add(id);
      for (const [held, to] of this.#tunnels) if (lost.has(to.id)) held.destroy(nodeLost(to));
    });
    tunnel.on('error', () => undefined);
    const closed = (): void => {
      if (!this.#tunnels.delete(tunnel)) return;
      this.#release(node.id);
      if (this.#tunnels.size > 0) return;
      this.#unsubscribe?.();
      this.#unsubscribe = undefined;
    };
    tunnel.once('close', closed);
    if (tunnel.closed) closed();
  }

  #release(nodeId: NodeId): void {
    const count = (this.#counts.get(nodeId) ?? 0) - 1;
    if (count > 0) this.#counts.set(nodeId, count);
    else this.#counts.delete(nodeId);
  }

  /** Serves a node's ListenTunnels stream. */
  async listen(session: Session, { write, signal }: Answers<TunnelOffer>): Promise<void> {
    const { nodeId } = session;
    const over = AbortSignal.any([signal, session.signal]);
    const wake = new Trigger();
    const told = new Set<string>();
    this.#listeners.set(nodeId, wake);
    try {
      while (!over.aborted) {
        for (const [id, { node }] of this.#offers) {
          if (node.id !== nodeId || told.has(id)) continue;
          told.add(id);
          await write({ id });
        }
        for (const id of told) if (!this.#offers.has(id)) told.delete(id);
        await wake.wait(waitMsMax, this.options.clock, over);
      }
      session.signal.throwIfAborted();
    } finally {
      // A newer session's stream may have taken over already.
      if (this.#listeners.get(nodeId) === wake) this.#listeners.delete(nodeId);
    }
  }

  /** Takes a connection that a node brings. @param first its first message */
  bring(
    nodeId: NodeId,
    { offerId }: TunnelMessage,
    call: ServerDuplexStream<TunnelMessage, TunnelMessage>,
  ): void {
    const offer = this.#offers.get(offerId);
    if (!offer) throw new SkepError('notFound', 'nobody waits for this connection');
    if (offer.node.id !== nodeId)
      throw new SkepError('permissionDenied', 'cannot bring a connection that another node was asked for');
    this.#offers.delete(offerId);
    offer.take(new TunnelStream(call, () => nodeLost(offer.node)));
  }
}

const unavailable = (node: Node, why: string): SkepError =>
  new SkepError('unavailable', `node ${node.description?.hostname ?? node.id} ${why}`);
