/**
 * Sessions of nodes: one per node, the newer wins. A session is what heartbeats, assignments and reports belong to;
 * when it ends (its stream closed, a newer one came, the node is down or removed, the dispatcher stops), all of them
 * end with it, and the agent registers again.
 */
import { cidrsOverlap } from '../../model/addresses.js';
import type { NodeId, RandomSource, SessionId } from '../../model/ids.js';
import { newId } from '../../model/ids.js';
import { subnetsOf } from '../../model/network-subnets.js';
import { SkepError } from '../../model/errors.js';
import { routeText } from '../../model/host-routes.js';
import type { Node } from '../../model/objects.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { Trigger } from '../../runtime/loop.js';
import type { Answers } from '../rpc/handlers.js';
import type { SessionMessage, SessionRequest, WireNodeDescription } from '../rpc/messages.js';
import { trustToTell } from '../ca/root-trust.js';
import type { Change, Store, View } from '../store/store.js';
import type { Caller, IsTrusted } from './caller.js';
import { Registrations } from './registrations.js';

/** Swarm's limit: three registrations of one node in eight seconds. */
const registrationsMax = 3;
const registrationWindowMs = 8_000;

export interface Session {
  readonly id: SessionId;
  readonly nodeId: NodeId;
  /** Aborts with a {@link SkepError} when the session ends. */
  readonly signal: AbortSignal;
}

interface Held {
  readonly session: Session;
  readonly end: AbortController;
  /** Of the connection that it was opened on. */
  readonly certificate: Buffer;
  /** Fired when the session's message may be another one. */
  readonly changed: Trigger;
  /** How often the node was asked for a heartbeat. */
  beatsAsked: number;
}

export interface SessionsOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Log;
  readonly isTrusted: IsTrusted;
}

export class Sessions {
  readonly #sessions = new Map<NodeId, Held>();
  readonly #registrationsMs = new Map<NodeId, number[]>();
  readonly #registrations: Registrations;
  readonly #unsubscribe: () => void;
  #stopped = false;

  constructor(private readonly options: SessionsOptions) {
    this.#registrations = new Registrations(options);
    this.#unsubscribe = options.store.subscribe(({ changes }) => this.#follow(changes));
  }

  /** Ends the sessions of nodes that are gone, and wakes those whose message may be another one: a node's own, or all. */
  #follow(changes: readonly Change[]): void {
    let concernsAll = false;
    for (const { kind, id, previous, current } of changes) {
      if (kind === 'cluster') concernsAll = true;
      if (kind !== 'node') continue;
      if (previous?.managerStatus?.addr !== current?.managerStatus?.addr) concernsAll = true;
      if (current) this.#sessions.get(id)?.changed.fire();
      else {
        this.#registrationsMs.delete(id);
        this.end(id, new SkepError('notFound', 'node not registered'));
      }
    }
    if (concernsAll) for (const { changed } of this.#sessions.values()) changed.fire();
  }

  /** Opens a session and writes what the node says of itself. */
  async register(
    node: Node,
    request: SessionRequest,
    { addr, certificate }: Pick<Caller, 'addr' | 'certificate'>,
  ): Promise<Session> {
    if (this.#stopped) throw stopped();
    const description = required(request.description);
    this.#limitRate(node.id);
    this.end(node.id, new SkepError('invalidArgument', 'session invalid'));
    const end = new AbortController();
    const session: Session = {
      id: newId<SessionId>(this.options.random),
      nodeId: node.id,
      signal: end.signal,
    };
    this.#sessions.set(node.id, { session, end, certificate, changed: new Trigger(), beatsAsked: 0 });
    try {
      await this.#registrations.register(node.id, description, addr, request.dataPathAddr);
    } catch (err) {
      this.#forget(session);
      throw err;
    }
    this.options.log.info({ node: node.id, session: session.id, addr }, 'node registered');
    this.#warnOfOverlaps(node.id);
    return session;
  }

  /** Writes what a node that has a session says of itself now. Throws `invalidArgument` for what is no description. */
  async describe({ nodeId }: Session, description: WireNodeDescription | null): Promise<void> {
    await this.#registrations.describe(nodeId, required(description));
    this.#warnOfOverlaps(nodeId);
  }

  /** A node that came, or got a route, after the network: its tasks start, but cannot reach what lies behind that route. */
  #warnOfOverlaps(nodeId: NodeId): void {
    const view = this.options.store.view();
    for (const { spec, allocation } of view.list('network'))
      for (const route of view.get('node', nodeId)?.description?.routes ?? [])
        for (const { subnet } of allocation ? subnetsOf(allocation) : [])
          if (cidrsOverlap(subnet, route.destination))
            this.options.log.warn(
              { node: nodeId, network: spec.name, subnet, route: routeText(route) },
              'a route of this node overlaps a network: its containers cannot reach what lies behind it',
            );
  }

  /** The node's session, if it is the one the caller means. */
  require(nodeId: NodeId, sessionId: string): Session {
    if (this.#stopped) throw stopped();
    const held = this.#sessions.get(nodeId);
    if (!held) throw new SkepError('notFound', 'node not registered');
    if (held.session.id !== sessionId) throw new SkepError('invalidArgument', 'session invalid');
    return held.session;
  }

  get count(): number {
    return this.#sessions.size;
  }

  has(nodeId: NodeId): boolean {
    return this.#sessions.has(nodeId);
  }

  /** Asks the node for a heartbeat at once, if it is in a session. */
  askForBeat(nodeId: NodeId): void {
    const held = this.#sessions.get(nodeId);
    if (!held) return;
    held.beatsAsked += 1;
    held.changed.fire();
  }

  /** Serves the session's stream: a message now and whenever its content changes. Ends the session with it. */
  async serve(session: Session, { write, signal }: Answers<SessionMessage>): Promise<void> {
    const { store, clock } = this.options;
    const held = this.#sessions.get(session.nodeId);
    if (held?.session !== session) return session.signal.throwIfAborted();
    const { changed, certificate } = held;
    const over = AbortSignal.any([signal, session.signal]);
    const isGood = (): boolean => this.options.isTrusted(certificate, store.view().cluster());
    try {
      for (let sent = ''; !over.aborted;) {
        if (!isGood())
          throw new SkepError('unauthenticated', 'the certificate of this connection is trusted no more');
        const message = sessionMessage(held, store.view());
        const text = JSON.stringify(message);
        if (text !== sent) await write(message);
        sent = text;
        await changed.wait(60_000, clock, over);
      }
      session.signal.throwIfAborted();
    } finally {
      this.#forget(session);
    }
  }

  end(nodeId: NodeId, reason: SkepError): void {
    const held = this.#sessions.get(nodeId);
    if (!held) return;
    this.#sessions.delete(nodeId);
    held.end.abort(reason);
  }

  /** Ends every session; agents turn to another manager or to this one's successor. */
  stop(): void {
    this.#stopped = true;
    this.#unsubscribe();
    for (const nodeId of [...this.#sessions.keys()]) this.end(nodeId, stopped());
  }

  #forget(session: Session): void {
    if (this.#sessions.get(session.nodeId)?.session === session)
      this.end(session.nodeId, new SkepError('invalidArgument', 'session invalid'));
  }

  #limitRate(nodeId: NodeId): void {
    const nowMs = this.options.clock.steadyMs();
    const recent = (this.#registrationsMs.get(nodeId) ?? []).filter(
      (atMs) => atMs > nowMs - registrationWindowMs,
    );
    if (recent.length >= registrationsMax)
      throw new SkepError('unavailable', `node ${nodeId} exceeded rate limit count of registrations`);
    this.#registrationsMs.set(nodeId, [...recent, nowMs]);
  }
}

const managers = new WeakMap<readonly Node[], SessionMessage['managers']>();

/** Looked for once among the same nodes: every session asks after each change of any of them. */
function managersAmong(nodes: readonly Node[]): SessionMessage['managers'] {
  const found =
    managers.get(nodes) ??
    nodes.flatMap(({ id, managerStatus }) =>
      managerStatus ? [{ nodeId: id, addr: managerStatus.addr }] : [],
    );
  managers.set(nodes, found);
  return found;
}

function required(description: WireNodeDescription | null): WireNodeDescription {
  if (!description) throw new SkepError('invalidArgument', 'node description is missing');
  return description;
}

const stopped = (): SkepError => new SkepError('aborted', 'dispatcher is stopped');

const sessionMessage = ({ session: { id, nodeId }, beatsAsked }: Held, view: View): SessionMessage => ({
  sessionId: id,
  beatsAsked,
  managers: managersAmong(view.list('node')),
  rootCaPem: trustToTell(view.cluster()),
  wantedIssuer: view.get('node', nodeId)?.wantedIssuer ?? '',
  role: view.get('node', nodeId)?.role ?? 'worker',
});
