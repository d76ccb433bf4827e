/**
 * This host's own membership: not part of a swarm, becoming part of one, part of one as a worker or as its manager.
 * Owns the order in which the parts of a node start and stop; what the parts do is theirs (parts.ts).
 *
 * Must stay true: nothing is on disk before everything was checked; a step that fails takes back those before it; one
 * change of membership at a time; a restart comes back to the same membership without a word from any manager.
 */
import type { Ip } from '../../model/addresses.js';
import { addressAndPort } from '../../model/addresses.js';
import { SkepError } from '../../model/errors.js';
import type { HostRoute } from '../../model/host-routes.js';
import type { NodeId } from '../../model/ids.js';
import type { NodeDescription } from '../../model/objects.js';
import { backoffMs } from '../../runtime/backoff.js';
import type { Clock } from '../../runtime/clock.js';
import { CleanupStack } from '../../runtime/cleanup-stack.js';
import type { Log } from '../../runtime/log.js';
import type {
  InitRequest,
  JoinRequest,
  LocalNodeState,
  Membership,
  SwarmControl,
} from '../api/swarm-control.js';
import type { AttachControl } from '../attach-control.js';
import type { Store } from '../store/store.js';
import { checkInitRequest, checkPoolsAgainst } from './initial-cluster.js';
import type { MembershipFile, RemoteManager } from './membership-file.js';
import type { InterfaceAddress, NodeAddresses } from './node-addresses.js';
import { defaultManagerPort, resolveAddresses, splitHostPort } from './node-addresses.js';

/** A manager's half of a node: etcd, store, loops, dispatcher. */
export interface RunningManager {
  readonly store: Store;
  close(): Promise<void>;
}

/** An agent's half. */
export interface RunningAgent {
  /** Resolves when a manager has registered the node for the first time; rejects when it never will (removed node). */
  readonly ready: Promise<void>;
  /** Managers as the last session message named them. */
  managers(): readonly RemoteManager[];
  readonly attachments: AttachControl;
  /** Stops talking to managers. Tasks and network stay as they are. */
  close(): Promise<void>;
  /** Closes, then removes this node's containers and local networks. */
  removeAll(): Promise<void>;
}

/** What the state machine needs done for real. */
export interface NodeParts {
  interfaces(): readonly InterfaceAddress[];
  /** The address that this host uses towards another; undefined: it has no way there. */
  addressTowards(host: string, port: number): Promise<Ip | undefined>;
  /** Where this host has routes to. */
  routes(): Promise<readonly HostRoute[]>;
  describe(): Promise<NodeDescription>;
  readMembership(): Promise<MembershipFile | undefined>;
  writeMembership(membership: MembershipFile): Promise<void>;
  /** Makes keys, certificates and etcd's first objects; gives the running manager. Undoes itself when it fails. */
  foundCluster(
    request: InitRequest,
    addresses: NodeAddresses,
  ): Promise<{ membership: MembershipFile; manager: RunningManager }>;
  /** Gets a certificate with the token. Temporary failures are OutsideErrors marked retryable. */
  obtainCertificate(
    request: JoinRequest,
    addresses: NodeAddresses,
    signal: AbortSignal,
  ): Promise<MembershipFile>;
  startManager(membership: MembershipFile): Promise<RunningManager>;
  startAgent(membership: MembershipFile): Promise<RunningAgent>;
  /** Ends etcd, clears the node's network from the kernel and empties the swarm directory. */
  wipe(): Promise<void>;
}

export interface SwarmNodeOptions {
  readonly parts: NodeParts;
  readonly clock: Clock;
  readonly log: Log;
}

/** How long the API waits for a join; Swarm's 20 s. */
const joinWaitMs = 20_000;
const retryMsMax = 30_000;

const texts = {
  alreadyMember:
    'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.',
  notMember: 'This node is not part of a swarm',
  joinTimeout:
    'Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the "docker info" command to see the current swarm status of your node.',
  lastManager:
    'You are attempting to leave the swarm on a node that is participating as a manager. Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ',
};

const unavailable = (text: string): SkepError => new SkepError('unavailable', text);

export class SwarmNode implements SwarmControl {
  #state: LocalNodeState = 'inactive';
  #error = '';
  #membership: MembershipFile | undefined;
  /** While a join is under way: what it was asked for. */
  #joining: { advertise: string; remotes: readonly string[]; stop: AbortController } | undefined;
  #manager: RunningManager | undefined;
  #agent: RunningAgent | undefined;
  #changing = false;

  constructor(private readonly options: SwarmNodeOptions) {}

  membership(): Membership {
    const held = this.#membership;
    const remotes = this.#agent?.managers() ?? [];
    return {
      localNodeState: this.#state,
      nodeId: held?.nodeId ?? '',
      nodeAddr: held?.addresses.advertiseHost ?? this.#joining?.advertise ?? '',
      error: this.#error,
      remoteManagers: held
        ? remotes.length > 0
          ? remotes
          : held.managers
        : (this.#joining?.remotes.map((addr) => ({ nodeId: '', addr })) ?? null),
      ...(this.#manager && { store: this.#manager.store }),
    };
  }

  attachments(): AttachControl | undefined {
    return this.#agent?.attachments;
  }

  describe(): Promise<NodeDescription> {
    return this.options.parts.describe();
  }

  /** Comes back to what the disk says. Keeps trying while etcd or the engine is not there yet; a node without a swarm does nothing. */
  async restore(signal: AbortSignal): Promise<void> {
    const { parts, clock, log } = this.options;
    this.#membership = await parts.readMembership();
    if (!this.#membership) return;
    this.#state = 'pending';
    for (let failures = 1; !signal.aborted && this.#membership; failures++) {
      try {
        await this.#start(this.#membership);
        return;
      } catch (err) {
        this.#error = (err as Error).message;
        this.#state = 'error';
        log.error({ err, failures }, 'cannot start this node of the swarm, will retry');
        await clock.sleep(backoffMs(failures, retryMsMax), signal).catch(() => undefined);
      }
    }
  }

  async init(request: InitRequest): Promise<NodeId> {
    return this.#change(async () => {
      this.#refuseMember();
      const { parts } = this.options;
      checkInitRequest(request);
      const addresses = resolveAddresses(request, parts.interfaces());
      checkPoolsAgainst(request, await parts.routes());
      await using undo = new CleanupStack();
      undo.defer(() => this.#forget());
      undo.defer(() => parts.wipe());
      const { membership, manager } = await parts.foundCluster(request, addresses);
      undo.defer(() => this.#stopParts());
      this.#manager = manager;
      await parts.writeMembership(membership);
      this.#membership = membership;
      this.#agent = await parts.startAgent(membership);
      await this.#agent.ready;
      this.#state = 'active';
      undo.move();
      return membership.nodeId;
    });
  }

  async join(request: JoinRequest): Promise<void> {
    const stop = new AbortController();
    const attempt = this.#change(async () => {
      this.#refuseMember();
      const { parts } = this.options;
      if (request.remoteAddrs.length === 0)
        throw new SkepError('invalidArgument', 'at least 1 RemoteAddr is required to join');
      const managers = request.remoteAddrs.map((text) => splitHostPort(text, defaultManagerPort));
      const [first] = managers;
      const towards = first && (await parts.addressTowards(first.host, first.port));
      const addresses = resolveAddresses(request, parts.interfaces(), towards);
      const remotes = managers.map(({ host, port }) => addressAndPort(host, port));
      this.#joining = { advertise: addresses.advertiseHost, remotes, stop };
      this.#state = 'pending';
      await using undo = new CleanupStack();
      undo.defer(() => this.#forget());
      undo.defer(() => parts.wipe());
      const membership = await this.#obtainCertificate(
        { ...request, remoteAddrs: remotes },
        addresses,
        stop.signal,
      );
      await parts.writeMembership(membership);
      this.#membership = membership;
      this.#agent = await parts.startAgent(membership);
      undo.defer(() => this.#stopParts());
      await orAbort(this.#agent.ready, stop.signal);
      this.#joining = undefined;
      this.#state = 'active';
      undo.move();
    });
    const timeout = new AbortController();
    const waited = this.options.clock.sleep(joinWaitMs, timeout.signal).then(
      () => 'timeout' as const,
      () => 'stopped' as const,
    );
    try {
      if ((await Promise.race([attempt, waited])) === 'timeout') {
        attempt.catch((err: unknown) => {
          this.#error = (err as Error).message;
          this.options.log.error({ err }, 'joining in the background failed');
        });
        throw unavailable(texts.joinTimeout);
      }
    } finally {
      timeout.abort(new Error('join ended'));
    }
  }

  async leave(force: boolean): Promise<void> {
    if (this.#joining) {
      const { stop } = this.#joining;
      stop.abort(new SkepError('unavailable', texts.notMember));
      return;
    }
    return this.#change(async () => {
      if (!this.#membership) throw unavailable(texts.notMember);
      if (this.#membership.role === 'manager' && !force) throw unavailable(texts.lastManager);
      await this.#agent?.removeAll();
      await this.#stopParts();
      await this.options.parts.wipe();
      this.#forget();
    });
  }

  /** Ends what talks to others; tasks, network and etcd's data stay for the next start. */
  async close(): Promise<void> {
    this.#joining?.stop.abort(new Error('closing'));
    await this.#stopParts();
  }

  async #start(membership: MembershipFile): Promise<void> {
    const { parts } = this.options;
    await using undo = new CleanupStack();
    undo.defer(() => this.#stopParts());
    if (membership.role === 'manager') this.#manager = await parts.startManager(membership);
    this.#agent = await parts.startAgent(membership);
    undo.move();
    // A worker is part of its swarm whether or not a manager answers: its tasks and its network run on.
    this.#state = 'active';
    this.#error = '';
  }

  /** Tries until it succeeds or is told no. Only what may pass is tried again. */
  async #obtainCertificate(
    request: JoinRequest,
    addresses: NodeAddresses,
    signal: AbortSignal,
  ): Promise<MembershipFile> {
    const { parts, clock, log } = this.options;
    for (let failures = 1; ; failures++) {
      try {
        return await parts.obtainCertificate(request, addresses, signal);
      } catch (err) {
        if (signal.aborted) throw signal.reason;
        if (!(err as { retryable?: boolean }).retryable) throw err;
        log.warn({ err, failures }, 'cannot reach a manager to join, will retry');
        await clock.sleep(backoffMs(failures + 3, retryMsMax), signal);
      }
    }
  }

  #refuseMember(): void {
    if (this.#membership) throw unavailable(texts.alreadyMember);
  }

  #forget(): void {
    this.#membership = undefined;
    this.#joining = undefined;
    this.#state = 'inactive';
    this.#error = '';
  }

  async #stopParts(): Promise<void> {
    const [agent, manager] = [this.#agent, this.#manager];
    this.#agent = undefined;
    this.#manager = undefined;
    await agent?.close();
    await manager?.close();
  }

  async #change<T>(body: () => Promise<T>): Promise<T> {
    if (this.#changing) throw unavailable(texts.alreadyMember);
    this.#changing = true;
    try {
      return await body();
    } finally {
      this.#changing = false;
    }
  }
}

function orAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
