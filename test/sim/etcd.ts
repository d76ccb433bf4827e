/**
 * etcd without processes: one log of revisions that a majority of members has agreed on, members that follow it as fast as their
 * links let them, an election when the leader is lost, leases, learners. What a client is told can be less than what happened:
 * answers get lost after the write, and a write may come through long after its caller has given up.
 */
import { status } from '@grpc/grpc-js';
import { EtcdError } from '../../src/controlplane/etcd/channel.js';
import { CompactedError } from '../../src/controlplane/etcd/client.js';
import type {
  Compare,
  EtcdClient,
  EtcdStatus,
  KeyValue,
  TxnResult,
  WatchEvent,
  WriteOp,
} from '../../src/controlplane/etcd/client.js';
import type { Beat, EtcdLeases, Lease } from '../../src/controlplane/etcd/lease.js';
import type { EtcdMember, EtcdMembers } from '../../src/controlplane/etcd/members.js';
import type { Chance } from './chance.js';
import type { Process, Time } from './time.js';

interface Stored {
  readonly value: Buffer;
  readonly modRevision: number;
  readonly lease: string | undefined;
}

interface Member {
  readonly id: string;
  name: string;
  readonly peerUrl: string;
  isLearner: boolean;
  isUp: boolean;
  /** Revision it has applied. */
  applied: number;
  /** Who leads, as far as it knows; empty: nobody. */
  leaderSeen: string;
  termSeen: number;
  lostSinceMs: number | undefined;
  readonly waiting: Set<{ readonly revision: number; readonly then: () => void }>;
  readonly watchers: Set<Watcher>;
}

interface Watcher {
  next: number;
  readonly process: Process;
  readonly onEvents: (events: readonly WatchEvent[]) => void;
  readonly end: (reason: Error) => void;
  /** When the last delivery takes place: they come in order. */
  lastMs: number;
}

interface GrantedLease {
  readonly ttlMs: number;
  expiresMs: number;
}

/** Told of each write before it counts; throws for one that must not be. */
export interface Commit {
  readonly member: string;
  readonly revision: number;
  readonly compares: readonly Compare[];
  readonly ops: readonly WriteOp[];
}

const tickMs = 100;
const forgetLeaderMs = 1_300;

export class SimEtcd {
  #revision = 1;
  #compacted = 0;
  #leader = '';
  #term = 1;
  #electionAtMs = 0;
  #numbered = 0;
  readonly #kvs = new Map<string, Stored>();
  readonly #log = new Map<number, readonly WatchEvent[]>();
  readonly #members = new Map<string, Member>();
  readonly #leases = new Map<string, GrantedLease>();
  /** A broken part for tests of the laws: what of a write's conditions is looked at. */
  comparesKept: (compare: Compare) => boolean = () => true;
  /** Told of each try to write, when the caller makes it. */
  onTxn: (host: string, ops: readonly WriteOp[]) => void = () => undefined;

  constructor(
    private readonly time: Time,
    private readonly chance: Chance,
    /** Whether two hosts reach each other. */
    private readonly linked: (a: string, b: string) => boolean,
    private readonly onCommit: (commit: Commit) => void,
  ) {
    const tick = (): void => {
      this.#tick();
      time.in(tickMs, tick);
    };
    time.in(tickMs, tick);
  }

  /** The first member of a new cluster. */
  bootstrap(host: string, peerUrl: string): void {
    const first = this.#add(peerUrl, false);
    first.name = host;
    this.start(host);
    this.#lead(first);
  }

  /** A further one, from the beginning. */
  addVoter(host: string, peerUrl: string): void {
    this.#add(peerUrl, false).name = host;
    this.start(host);
  }

  has = (host: string): boolean => this.#of(host) !== undefined;

  /** A member that was added starts for the first time, and says its name. */
  name(peerUrl: string, host: string): void {
    const member = [...this.#members.values()].find((each) => each.peerUrl === peerUrl);
    if (member) member.name = host;
  }

  /** The host's member runs from now on. */
  start(host: string): void {
    const member = this.#of(host);
    if (!member) return;
    member.isUp = true;
    member.lostSinceMs = undefined;
  }

  stop(host: string): void {
    const member = this.#of(host);
    if (!member) return;
    member.isUp = false;
    member.leaderSeen = '';
    for (const watcher of [...member.watchers]) watcher.end(unavailable('watch', 'the member ended'));
  }

  isLeading = (host: string): boolean => this.#members.get(this.#leader)?.name === host;

  /** Raft elects somebody else, or the same one again. */
  elect(): void {
    const able = this.#ableToLead();
    if (able.length > 0) this.#lead(this.chance.pick(able));
  }

  /** Forgets what is older than half of the log. */
  compact(): void {
    const upTo = this.#compacted + Math.floor((this.#revision - this.#compacted) / 2);
    for (let revision = this.#compacted + 1; revision <= upTo; revision++) this.#log.delete(revision);
    this.#compacted = upTo;
  }

  /** Ends all watches at the host's member. */
  breakWatches(host: string): void {
    for (const watcher of [...(this.#of(host)?.watchers ?? [])])
      watcher.end(unavailable('watch', 'the stream ended'));
  }

  /** What the daemon on `host` has of it. */
  clientOf(host: string, process: Process): SimEtcdClient {
    return new SimEtcdClient(this, host, process, this.time, this.chance);
  }

  /** @internal */
  memberOf(host: string): Member | undefined {
    const member = this.#of(host);
    return member?.isUp ? member : undefined;
  }

  /** @internal Whether what is proposed at this member comes through now. */
  canCommit(member: Member): boolean {
    const leader = this.#members.get(this.#leader);
    return leader !== undefined && this.#reaches(leader, member) && this.#hasQuorum(leader);
  }

  /** @internal */
  get revision(): number {
    return this.#revision;
  }

  /** @internal The transaction reaches the log. */
  commit(
    member: Member,
    compares: readonly Compare[],
    ops: readonly WriteOp[],
    readOnFailure?: string,
  ): TxnResult {
    const holds = compares
      .filter(this.comparesKept)
      .every((compare) =>
        'key' in compare
          ? (this.#kvs.get(compare.key)?.modRevision ?? 0) === compare.modRevision
          : [...this.#kvs].every(
              ([key, { modRevision }]) =>
                !key.startsWith(compare.prefix) || modRevision <= compare.unwrittenSince,
            ),
      );
    if (!holds) {
      const read = readOnFailure === undefined ? undefined : this.#read(readOnFailure);
      return { succeeded: false, revision: this.#revision, ...(read && { read }) };
    }
    this.#apply(ops, member.name, compares);
    return { succeeded: true, revision: this.#revision };
  }

  /** @internal */
  readAll(prefix: string): readonly KeyValue[] {
    return [...this.#kvs.keys()]
      .filter((key) => key.startsWith(prefix))
      .sort()
      .map((key) => this.#read(key) as KeyValue);
  }

  /** @internal Once the member has applied this revision. */
  whenApplied(member: Member, revision: number, then: () => void): void {
    if (member.applied >= revision) then();
    else member.waiting.add({ revision, then });
  }

  /** @internal */
  watch(member: Member, watcher: Watcher): void {
    if (watcher.next <= this.#compacted) {
      watcher.end(new CompactedError(this.#compacted));
      return;
    }
    member.watchers.add(watcher);
    this.#feed(member, watcher);
  }

  /** @internal */
  statusOf(member: Member): EtcdStatus {
    return {
      version: '3.5.0',
      revision: member.applied,
      ...{ databaseBytes: 0, usedBytes: 0, alarms: [] },
      hasLeader: member.leaderSeen !== '',
      memberId: member.id,
      isLeader: member.leaderSeen === member.id,
      raftTerm: member.termSeen,
    };
  }

  /** @internal */
  grant(ttlMs: number): string {
    const id = String((this.#numbered += 1));
    this.#leases.set(id, { ttlMs, expiresMs: this.time.nowMs + ttlMs });
    return id;
  }

  /** @internal False: it has expired. */
  renew(id: string): boolean {
    const lease = this.#leases.get(id);
    if (lease) lease.expiresMs = this.time.nowMs + lease.ttlMs;
    return lease !== undefined;
  }

  /** @internal */
  revoke(id: string): void {
    this.#leases.delete(id);
    const ops = [...this.#kvs].flatMap(([key, { lease }]): WriteOp[] =>
      lease === id ? [{ op: 'delete', key }] : [],
    );
    if (ops.length > 0) this.#apply(ops, '', []);
  }

  /** @internal */
  list(): EtcdMember[] {
    return [...this.#members.values()].map(({ id, name, peerUrl, isLearner }) => ({
      ...{ id, name, isLearner },
      peerUrls: [peerUrl],
    }));
  }

  /** @internal */
  addLearner(peerUrl: string): void {
    const all = [...this.#members.values()];
    if (all.some(({ isLearner }) => isLearner))
      throw new EtcdError('member add', status.FAILED_PRECONDITION, 'too many learner members', undefined);
    if (!all.every((member) => member.isUp && this.canCommit(member)))
      throw unavailable('member add', 'unhealthy cluster');
    this.#add(peerUrl, true);
  }

  /** @internal */
  promote(id: string): boolean {
    const member = this.#members.get(id);
    if (!member) throw new EtcdError('member promote', status.NOT_FOUND, 'member not found', undefined);
    if (!member.isUp || member.applied < this.#revision - 50) return false;
    member.isLearner = false;
    return true;
  }

  /** @internal */
  remove(id: string): void {
    const member = this.#members.get(id);
    if (!member) return;
    this.stop(member.name);
    this.#members.delete(id);
    if (this.#leader === id) this.#leader = '';
  }

  /** @internal */
  moveLeader(id: string): void {
    const member = this.#members.get(id);
    if (!member || member.isLearner || !member.isUp) throw unavailable('move leader', 'cannot move');
    this.#lead(member);
  }

  #of(host: string): Member | undefined {
    return [...this.#members.values()].find(({ name }) => name === host);
  }

  #add(peerUrl: string, isLearner: boolean): Member {
    const id = String((this.#numbered += 1) + 1_000);
    const member: Member = {
      ...{ id, name: '', peerUrl, isLearner, isUp: false, applied: 0, leaderSeen: '', termSeen: this.#term },
      lostSinceMs: undefined,
      waiting: new Set(),
      watchers: new Set(),
    };
    this.#members.set(id, member);
    return member;
  }

  #reaches(a: Member, b: Member): boolean {
    return a.isUp && b.isUp && (a === b || this.linked(a.name, b.name));
  }

  #hasQuorum(leader: Member): boolean {
    const voters = [...this.#members.values()].filter(({ isLearner }) => !isLearner);
    const reached = voters.filter((voter) => this.#reaches(leader, voter)).length;
    return !leader.isLearner && leader.isUp && reached > voters.length / 2;
  }

  #ableToLead(): Member[] {
    return [...this.#members.values()].filter((member) => this.#hasQuorum(member));
  }

  #lead(member: Member): void {
    this.#leader = member.id;
    this.#term += 1;
    // A new leader cannot know how long ago each was renewed.
    for (const lease of this.#leases.values()) lease.expiresMs = this.time.nowMs + lease.ttlMs;
  }

  #tick(): void {
    const { nowMs } = this.time;
    const leader = this.#members.get(this.#leader);
    if (leader && this.#hasQuorum(leader)) this.#electionAtMs = nowMs + this.chance.between(1_000, 2_000);
    else if (nowMs >= this.#electionAtMs) this.elect();
    for (const member of this.#members.values()) {
      if (!member.isUp) continue;
      if (this.canCommit(member)) {
        member.leaderSeen = this.#leader;
        member.termSeen = this.#term;
        member.lostSinceMs = undefined;
        if (member.applied < this.#revision) this.#advance(member, this.#revision);
      } else {
        member.lostSinceMs ??= nowMs;
        if (nowMs - member.lostSinceMs > forgetLeaderMs) member.leaderSeen = '';
      }
    }
    const now = this.#members.get(this.#leader);
    if (!now || !this.#hasQuorum(now)) return;
    for (const [id, { expiresMs }] of [...this.#leases]) if (expiresMs <= nowMs) this.revoke(id);
  }

  #read(key: string): KeyValue | undefined {
    const stored = this.#kvs.get(key);
    return stored && { key, value: stored.value, modRevision: stored.modRevision };
  }

  #apply(ops: readonly WriteOp[], member: string, compares: readonly Compare[]): void {
    const revision = this.#revision + 1;
    const events: WatchEvent[] = [];
    for (const op of ops) {
      if (op.op === 'put')
        events.push({ type: 'put', kv: { key: op.key, value: op.value, modRevision: revision } });
      else if (this.#kvs.has(op.key))
        events.push({ type: 'delete', kv: { key: op.key, value: Buffer.alloc(0), modRevision: revision } });
    }
    if (events.length === 0) return;
    this.onCommit({ member, revision, compares, ops });
    this.#revision = revision;
    for (const op of ops)
      if (op.op === 'put') this.#kvs.set(op.key, { value: op.value, modRevision: revision, lease: op.lease });
      else this.#kvs.delete(op.key);
    this.#log.set(revision, events);
    for (const follower of this.#members.values())
      if (this.canCommit(follower)) {
        const delayMs = this.chance.fault(0.01)
          ? this.chance.between(100, 3_000)
          : this.chance.between(0.2, 4);
        this.time.in(delayMs, () => this.#advance(follower, revision));
      }
  }

  #advance(member: Member, revision: number): void {
    if (!member.isUp || revision <= member.applied || !this.canCommit(member)) return;
    member.applied = revision;
    for (const waiter of [...member.waiting])
      if (waiter.revision <= revision) {
        member.waiting.delete(waiter);
        waiter.then();
      }
    for (const watcher of [...member.watchers]) this.#feed(member, watcher);
  }

  #feed(member: Member, watcher: Watcher): void {
    if (watcher.next > member.applied) return;
    const events: WatchEvent[] = [];
    for (; watcher.next <= member.applied; watcher.next++) {
      const ofRevision = this.#log.get(watcher.next);
      if (ofRevision) events.push(...ofRevision);
      else if (watcher.next <= this.#compacted) return watcher.end(new CompactedError(this.#compacted));
    }
    if (events.length === 0) return;
    const atMs = Math.max(watcher.lastMs + 0.01, this.time.nowMs + this.chance.between(0.1, 2));
    watcher.lastMs = atMs;
    watcher.process.in(atMs - this.time.nowMs, () => {
      if (member.watchers.has(watcher)) watcher.onEvents(events);
    });
  }
}

type ClientPart = Pick<EtcdClient, 'readPrefix' | 'txn' | 'watchAll' | 'status' | 'moveLeader'>;
type MembersPart = Pick<EtcdMembers, 'list' | 'addLearner' | 'promote' | 'remove'>;
type LeasesPart = Pick<EtcdLeases, 'grant' | 'revoke' | 'keepAlive'>;

/** A daemon's calls of its own member. */
export class SimEtcdClient implements ClientPart, LeasesPart {
  constructor(
    private readonly etcd: SimEtcd,
    private readonly host: string,
    private readonly process: Process,
    private readonly time: Time,
    private readonly chance: Chance,
  ) {}

  readonly members: MembersPart = {
    list: () => this.#local('member list', () => this.etcd.list()),
    addLearner: (peerUrl) =>
      this.#agreed('member add', 5_000, () => {
        this.etcd.addLearner(peerUrl);
        return this.etcd.list();
      }),
    promote: (id) => this.#agreed('member promote', 5_000, () => this.etcd.promote(id)),
    remove: (id) => this.#agreed('member remove', 5_000, () => this.etcd.remove(id)),
  };

  txn(
    compares: readonly Compare[],
    ops: readonly WriteOp[],
    { readOnFailure, deadlineMs = 5_000 }: { readOnFailure?: string; deadlineMs?: number } = {},
  ): Promise<TxnResult> {
    this.etcd.onTxn(this.host, ops);
    return this.#agreed('txn', deadlineMs, (member) =>
      this.etcd.commit(member, compares, ops, readOnFailure),
    );
  }

  async readPrefix(
    prefix: string,
    onPage: (kvs: readonly KeyValue[]) => void,
    deadlineMs = 5_000,
  ): Promise<{ readonly revision: number }> {
    const { kvs, revision } = await this.#agreed('range', deadlineMs, () => ({
      kvs: this.etcd.readAll(prefix),
      revision: this.etcd.revision,
    }));
    onPage(kvs);
    return { revision };
  }

  watchAll(
    fromRevision: number,
    onEvents: (events: readonly WatchEvent[]) => void,
    signal: AbortSignal,
  ): Promise<never> {
    return new Promise((_, reject) => {
      const { process } = this;
      const member = this.etcd.memberOf(this.host);
      const end = (reason: Error): void => {
        signal.removeEventListener('abort', onAbort);
        if (member?.watchers.delete(watcher) === false && !signal.aborted && isStarted) return;
        process.deliver(() => reject(reason));
      };
      let isStarted = false;
      const onAbort = (): void => end(signal.reason as Error);
      const take = (events: readonly WatchEvent[]): void => {
        try {
          onEvents(events);
        } catch (err) {
          end(err as Error);
        }
      };
      const watcher: Watcher = { next: fromRevision, process, onEvents: take, end, lastMs: 0 };
      if (signal.aborted) return reject(signal.reason as Error);
      signal.addEventListener('abort', onAbort, { once: true });
      process.onEnd(() => member?.watchers.delete(watcher));
      if (!member) {
        process.in(this.chance.latencyMs(), () => reject(unavailable('watch', 'no member runs here')));
        return;
      }
      this.etcd.watch(member, watcher);
      isStarted = true;
    });
  }

  status(): Promise<EtcdStatus> {
    return this.#local('status', (member) => this.etcd.statusOf(member));
  }

  moveLeader(memberId: string): Promise<void> {
    return this.#agreed('move leader', 5_000, () => this.etcd.moveLeader(memberId));
  }

  async grant(ttlS: number): Promise<Lease> {
    const ttlMs = ttlS * 1_000;
    return { id: await this.#agreed('lease grant', 5_000, () => this.etcd.grant(ttlMs)), ttlMs };
  }

  revoke(id: string): Promise<void> {
    return this.#agreed('lease revoke', 2_000, () => this.etcd.revoke(id));
  }

  async keepAlive(
    { id, ttlMs }: Lease,
    signal: AbortSignal,
    onBeat: (beat: Beat) => void = () => undefined,
  ): Promise<never> {
    const { clock } = this.process;
    const nextMs = ttlMs / 4;
    let heardMs = clock.steadyMs();
    for (;;) {
      if (clock.steadyMs() - heardMs > 0.6 * ttlMs)
        throw new EtcdError('lease keep alive', status.DEADLINE_EXCEEDED, 'no answer', undefined);
      const member = this.etcd.memberOf(this.host);
      if (!member) throw unavailable('lease keep alive', 'the stream ended');
      if (this.etcd.canCommit(member) && !this.chance.fault(0.01)) {
        if (!this.etcd.renew(id))
          throw new EtcdError('lease keep alive', status.NOT_FOUND, 'the lease has expired', undefined);
        heardMs = clock.steadyMs();
        onBeat({ raftTerm: member.termSeen, nextMs });
      }
      await clock.sleep(nextMs, signal);
    }
  }

  /** A call that needs no other member. */
  #local<T>(operation: string, work: (member: Member) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.process.in(this.chance.between(0.1, 2), () => {
        const member = this.etcd.memberOf(this.host);
        if (member) resolve(work(member));
        else reject(unavailable(operation, 'no member runs here'));
      });
    });
  }

  /**
   * A call that a majority has to agree on. It waits for one up to its deadline; and now and then what it did, or its answer, comes
   * later than that, or never.
   */
  #agreed<T>(operation: string, deadlineMs: number, work: (member: Member) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const { process, chance, time, etcd } = this;
      let settled = false;
      const settle = (how: () => void): void => {
        if (settled) return;
        settled = true;
        cancelDeadline();
        process.deliver(how);
      };
      const late = (): void =>
        settle(() =>
          reject(new EtcdError(operation, status.DEADLINE_EXCEEDED, 'Deadline exceeded', undefined)),
        );
      const cancelDeadline = time.in(deadlineMs, late);
      const lost = chance.fault(0.01);
      const forgotten = chance.fault(0.01);
      const attempt = (): void => {
        const member = etcd.memberOf(this.host);
        if (!member) return settle(() => reject(unavailable(operation, 'no member runs here')));
        if (!etcd.canCommit(member)) {
          // Raft keeps what was proposed, or forgets it; nobody can tell.
          if (!settled || chance.fault(0.5)) time.in(chance.between(50, 150), attempt);
          return;
        }
        let result: T;
        try {
          result = work(member);
        } catch (err) {
          const refusal = err as EtcdError;
          return settle(() => reject(refusal));
        }
        if (forgotten) return;
        const { revision } = etcd;
        etcd.whenApplied(member, revision, () =>
          time.in(chance.between(0.1, 1), () => settle(() => resolve(result))),
        );
      };
      if (lost) return;
      // Now and then it is on its way for longer than anybody waits.
      time.in(chance.fault(0.005) ? chance.between(1_000, 6_000) : chance.between(0.2, 3), attempt);
    });
  }
}

const unavailable = (operation: string, why: string): EtcdError =>
  new EtcdError(operation, status.UNAVAILABLE, why, undefined);
