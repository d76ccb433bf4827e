/**
 * This host's own membership: not part of a swarm, becoming part of one, part of one as a worker or as its manager.
 * Owns the order in which the parts of a node start and stop; what the parts do is theirs (parts.ts).
 *
 * Must stay true: nothing is on disk before everything was checked; a step that fails takes back those before it; one
 * change of membership at a time; a restart comes back to the same membership without a word from any manager.
 */
import { isDeepStrictEqual } from 'node:util';
import { SkepError } from '../../model/errors.js';
import type { NodeId } from '../../model/ids.js';
import type { NodeDescription } from '../../model/objects.js';
import { backoffMs } from '../../runtime/backoff.js';
import type { Clock } from '../../runtime/clock.js';
import { CleanupStack } from '../../runtime/cleanup-stack.js';
import { late, within } from '../../runtime/deadline.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import { orAbort } from '../../runtime/or-abort.js';
import type {
  InitRequest,
  JoinRequest,
  LocalNodeState,
  Membership,
  RestoreRequest,
  SwarmControl,
} from '../api/swarm-control.js';
import { swarmLocked, workerNode } from '../api/swarm-control.js';
import type { AttachControl } from '../attach-control.js';
import type { Backup } from '../backup/backup-content.js';
import { checkPoolsAgainst, checkedInitRequest, requireDefaultName } from './initial-cluster.js';
import { availabilityOf } from './availability.js';
import { awaitJoin, obtainCertificate, resolveJoin } from './joining.js';
import { leaveRefusal, lockedLeaveRefusal } from './leave-refusal.js';
import { ManagerHalf } from './manager-half.js';
import type { NodeParts, RunningAgent, RunningManager, Told } from './node-parts.js';
import type { MembershipFile } from './membership-file.js';
import { requireListenAddress, resolveAddresses } from './node-addresses.js';

export interface SwarmNodeOptions {
  readonly parts: NodeParts;
  readonly clock: Clock;
  readonly log: Log;
}

const retryMsMax = 30_000;
/** Until a manager that is to go on alone has to answer. */
const aloneWaitMs = 60_000;
/** After a start the manager of this host is up first, if it can: the agent then finds it there. */
const managerFirstMs = 2_000;
/** The same for whoever unlocks a manager, and asks it for something next. */
const unlockWaitMs = 10_000;

const texts = {
  alreadyMember:
    'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.',
  notMember: 'This node is not part of a swarm',
  notAlone: 'this manager does not come back alone yet, and goes on trying: ',
};

const unavailable = (text: string): SkepError => new SkepError('unavailable', text);

type Start = (membership: MembershipFile, signal: AbortSignal) => Promise<void>;

export class SwarmNode implements SwarmControl {
  #state: LocalNodeState = 'inactive';
  #error = '';
  #membership: MembershipFile | undefined;
  /** While a join is under way: what it was asked for. */
  #joining: { advertise: string; remotes: readonly string[]; stop: AbortController } | undefined;
  readonly #manager: ManagerHalf;
  readonly #closing = new AbortController();
  #agent: RunningAgent | undefined;
  #changing = false;
  /** While what this node was before is brought up again: what ends that, and when it is over. */
  #comingUp: { readonly stop: AbortController; readonly over: Promise<void> } | undefined;

  /** Of the newest word on this node, after those before it. */
  #following: Promise<void> = Promise.resolve();

  constructor(private readonly options: SwarmNodeOptions) {
    this.#manager = new ManagerHalf(options);
  }

  membership(): Membership {
    const held = this.#membership;
    if (held && this.#state === 'locked')
      return {
        localNodeState: 'locked',
        isManager: true,
        nodeId: '',
        nodeAddr: held.addresses.advertiseHost,
        error: swarmLocked,
        remoteManagers: null,
      };
    const manager = this.#manager.running;
    const isPreparing = this.#state === 'active' && held?.role === 'manager' && !manager;
    const remotes = this.#agent?.managers() ?? [];
    return {
      localNodeState: isPreparing ? 'pending' : this.#state,
      isManager: held?.role === 'manager',
      nodeId: held?.nodeId ?? '',
      nodeAddr: held?.addresses.advertiseHost ?? this.#joining?.advertise ?? '',
      error: this.#error || this.#manager.error,
      remoteManagers: held
        ? remotes.length > 0
          ? remotes
          : held.managers
        : (this.#joining?.remotes.map((addr) => ({ nodeId: '', addr })) ?? null),
      ...(manager && servingNow(manager)),
    };
  }

  attachments(): AttachControl | undefined {
    return this.#agent?.attachments;
  }

  describe(): Promise<NodeDescription> {
    return this.options.parts.describe();
  }

  /** Reads what this host is part of. Before anybody may ask: whoever is first must not be told that it is part of nothing. */
  async load(): Promise<void> {
    this.#membership = await this.options.parts.readMembership();
    if (this.#membership) this.#state = 'pending';
  }

  /**
   * Comes back to what was loaded. Keeps trying while etcd or the engine is not there yet; a node without a swarm does nothing,
   * and one that is locked waits for {@link unlock}.
   */
  async restore(signal: AbortSignal): Promise<void> {
    const { parts, log } = this.options;
    await this.#bringUp(async (membership, signal) => {
      if (await parts.openKeys()) return this.#start(membership, managerFirstMs, signal);
      log.info('this manager is locked: neither its store nor its tasks are driven until it is unlocked');
      this.#state = 'locked';
    }, signal);
  }

  async unlock(key: Uint8Array): Promise<void> {
    return this.#change(async () => {
      if (this.#state !== 'locked') throw new SkepError('alreadyExists', 'swarm is not locked');
      this.options.parts.unlock(key);
      this.options.log.info('this manager is unlocked');
      this.#state = 'pending';
      const up = this.#bringUp(
        (membership, signal) => this.#start(membership, unlockWaitMs, signal),
        this.#closing.signal,
      );
      // Should something of it fail, it is tried on, and the node says what.
      await within(this.options.clock, 2 * unlockWaitMs, up);
    });
  }

  /** Resolves when it is up, or the signal aborts, or this host leaves meanwhile. */
  async #bringUp(start: Start, signal: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const over = this.#untilUp(start, AbortSignal.any([signal, stop.signal]));
    this.#comingUp = { stop, over };
    await over.finally(() => (this.#comingUp = undefined));
  }

  /** What it has begun to start would outlive this membership, or be started twice. */
  async #endComingUp(): Promise<void> {
    if (!this.#comingUp) return;
    const { stop, over } = this.#comingUp;
    stop.abort(new Error('this node becomes something else'));
    // It waits for its manager.
    await this.#stopParts();
    await over;
  }

  async #untilUp(start: Start, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.options;
    for (let failures = 1; !signal.aborted && this.#membership; failures++) {
      try {
        await start(this.#membership, signal);
        return;
      } catch (err) {
        if (signal.aborted) return;
        this.#error = (err as Error).message;
        this.#state = 'error';
        log.error({ err, failures }, 'cannot start this node of the swarm, will retry');
        await clock.sleep(backoffMs(failures, retryMsMax), signal).catch(() => undefined);
      }
    }
  }

  async init(request: InitRequest): Promise<NodeId> {
    return this.#change(async () => {
      if (request.forceNewCluster && this.#membership) return this.#goOnAlone(this.#membership);
      this.#refuseMember();
      const { parts } = this.options;
      requireListenAddress(request.listenAddr);
      requireDefaultName(request.spec);
      const addresses = resolveAddresses(request, parts.interfaces());
      const checked = checkedInitRequest(request);
      checkPoolsAgainst(checked, await parts.routes());
      await using undo = new CleanupStack();
      undo.defer(() => this.#forget());
      undo.defer(() => parts.wipe());
      const { membership, manager } = await parts.foundCluster(checked, addresses);
      undo.defer(() => this.#stopParts());
      this.#manager.adopt(membership, manager);
      await parts.writeMembership(membership);
      this.#membership = membership;
      this.#agent = await parts.startAgent(membership, this.#onTold);
      await this.#agent.ready;
      this.#state = 'active';
      undo.move();
      return membership.nodeId;
    });
  }

  /** The cluster goes on with this manager alone, from its own copy of all that was. */
  async #goOnAlone(membership: MembershipFile): Promise<NodeId> {
    // Swarm's words for both.
    if (membership.role !== 'manager' || this.#state === 'locked') throw unavailable(workerNode);
    this.options.log.warn('goes on as the only manager of the swarm');
    await this.#manager.close();
    const started = this.#manager.start(membership, true);
    if ((await within(this.options.clock, aloneWaitMs, started)) === late)
      throw unavailable(texts.notAlone + this.#manager.error);
    return membership.nodeId;
  }

  async join(request: JoinRequest): Promise<void> {
    const stop = new AbortController();
    const attempt = this.#change(async () => {
      this.#refuseMember();
      const { parts } = this.options;
      const addresses = await resolveJoin(request, parts);
      const checked = { ...request, availability: availabilityOf(request.availability) };
      this.#joining = { advertise: addresses.own.advertiseHost, remotes: addresses.remotes, stop };
      this.#state = 'pending';
      await using undo = new CleanupStack();
      undo.defer(() => this.#forget());
      undo.defer(() => parts.wipe());
      const membership = await obtainCertificate(this.options, checked, addresses, stop.signal);
      await parts.writeMembership(membership);
      this.#membership = membership;
      this.#agent = await parts.startAgent(membership, this.#onTold);
      undo.defer(() => this.#stopParts());
      await orAbort(this.#agent.ready, stop.signal);
      if (membership.role === 'manager') await orAbort(this.#manager.start(membership), stop.signal);
      this.#joining = undefined;
      this.#state = 'active';
      undo.move();
    });
    await awaitJoin(this.options.clock, attempt, (err) => {
      this.#error = (err as Error).message;
      this.options.log.error({ err }, 'joining in the background failed');
    });
  }

  async restoreSwarm(backup: Backup, request: RestoreRequest): Promise<NodeId> {
    return this.#change(async () => {
      const { parts } = this.options;
      const former = this.#membership;
      if (former) this.#refuseUnlessLost(former, backup);
      const asked = Object.values(request).some((text) => text !== '');
      const addresses =
        former && !asked
          ? former.addresses
          : resolveAddresses({ ...request, listenAddr: request.listenAddr || '0.0.0.0' }, parts.interfaces());
      await using undo = new CleanupStack();
      if (former) {
        const isUp = !this.#comingUp;
        await this.#endComingUp();
        await this.#manager.close();
        undo.defer(() => void (isUp ? this.#startManager(former) : this.restore(this.#closing.signal)));
      } else {
        undo.defer(() => this.#forget());
        undo.defer(() => parts.wipe());
      }
      const { membership, manager } = await parts.restoreCluster(backup, addresses, former);
      undo.defer(() => manager.close());
      await parts.writeMembership(membership);
      this.#membership = membership;
      this.#manager.adopt(membership, manager);
      this.#agent ??= await parts.startAgent(membership, this.#onTold);
      this.#state = 'active';
      this.#error = '';
      undo.move();
      return membership.nodeId;
    });
  }

  /** A manager of the very swarm whose store is lost may have it brought back in place. */
  #refuseUnlessLost({ role, clusterId }: MembershipFile, { head }: Backup): void {
    if (this.#state === 'locked') throw unavailable(swarmLocked);
    if (role === 'manager' && !this.#manager.running && clusterId === head.clusterId) return;
    throw unavailable(texts.alreadyMember);
  }

  async leave(force: boolean): Promise<void> {
    if (this.#joining) {
      const { stop } = this.#joining;
      stop.abort(new SkepError('unavailable', texts.notMember));
      return;
    }
    return this.#change(async () => {
      const { parts } = this.options;
      if (!this.#membership) throw unavailable(texts.notMember);
      const { nodeId, role } = this.#membership;
      if (this.#state === 'locked' && !force) throw unavailable(lockedLeaveRefusal);
      if (role === 'manager' && !force) throw unavailable(leaveRefusal(this.#manager.running?.store.view()));
      await this.#endComingUp();
      await this.#stopParts();
      await parts.removeTasks(nodeId);
      await parts.wipe();
      this.#forget();
    });
  }

  /** Ends what talks to others; tasks, network and etcd's data stay for the next start. */
  async close(): Promise<void> {
    this.#closing.abort(new Error('closing'));
    this.#joining?.stop.abort(new Error('closing'));
    await this.#stopParts();
  }

  /**
   * All of it, or nothing: also when the signal aborts meanwhile.
   * @param managerMs how long this host's manager may take before it is no longer waited for
   */
  async #start(membership: MembershipFile, managerMs: number, signal: AbortSignal): Promise<void> {
    const { parts } = this.options;
    await using undo = new CleanupStack();
    undo.defer(() => this.#stopParts());
    if (membership.role === 'manager') {
      const started = this.#startManager(membership);
      await within(this.options.clock, managerMs, started);
      signal.throwIfAborted();
    }
    this.#agent = await parts.startAgent(membership, this.#onTold);
    signal.throwIfAborted();
    undo.move();
    // A node is part of its swarm whether or not a manager answers: its tasks and its network run on.
    this.#state = 'active';
    this.#error = '';
  }

  /** Resolves when it runs, is told to stop, or is refused. */
  #startManager(membership: MembershipFile): Promise<void> {
    return this.#manager
      .start(membership)
      .catch((err: unknown) => this.options.log.error({ err }, 'this manager is refused by the others'));
  }

  /** What a manager says of this node is remembered, and a role that it does not have yet is taken on. */
  readonly #onTold = (told: Told): void => {
    this.#following = this.#following
      .then(() => this.#follow(told))
      .catch((err: unknown) =>
        this.options.log.error({ err, role: told.role }, 'cannot follow what managers say'),
      );
  };

  async #follow({ role, managers }: Told): Promise<void> {
    const { parts, log } = this.options;
    const held = this.#membership;
    const agent = this.#agent;
    // While it joins it takes on its first role.
    if (!held || !agent || this.#joining) return;
    const next: MembershipFile = { ...held, role, managers: managers.length > 0 ? managers : held.managers };
    if (isDeepStrictEqual(next, held)) return;
    if (role !== held.role) {
      decide(log, 'role.changed', { role });
      const certified = await agent.renew();
      // Told something newer meanwhile: that word comes next.
      if (certified !== role) return;
    }
    await parts.writeMembership(next);
    this.#membership = next;
    if (role === held.role) return;
    if (role === 'worker') return this.#manager.remove();
    void this.#startManager(next);
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
    const agent = this.#agent;
    this.#agent = undefined;
    await agent?.close();
    await this.#manager.close();
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

/** What is known of a cluster where a manager serves it. */
function servingNow(manager: RunningManager): Pick<Membership, 'store' | 'leaderlessMs' | 'storeState'> {
  const storeState = manager.storeState();
  return { store: manager.store, leaderlessMs: manager.leaderlessMs(), ...(storeState && { storeState }) };
}
