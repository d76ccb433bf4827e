/** Looks at this manager's etcd every few seconds and does what {@link planUpkeep} says. */
import { stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { NodeId } from '../../model/ids.js';
import type { Clock } from '../../runtime/clock.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import { runLoop, Trigger } from '../../runtime/loop.js';
import { everyEtcdTrusts, isTrustOutdated } from '../ca/etcd-trust.js';
import type { EtcdClient } from '../etcd/client.js';
import type { EtcdLeases } from '../etcd/lease.js';
import type { EtcdMember, EtcdMembers } from '../etcd/members.js';
import type { EtcdSettings } from '../etcd/settings.js';
import { etcdSettings } from '../etcd/settings.js';
import { inTurn } from '../etcd/turn.js';
import { upkeepTurnKey } from '../store/keys.js';
import type { Store, View } from '../store/store.js';
import type { StoreState } from './store-state.js';
import { storeWarnings } from './store-state.js';
import type { UpkeepMemory, UpkeepOp, UpkeepState } from './upkeep-plan.js';
import { isPressed, noMemory, planUpkeep } from './upkeep-plan.js';

export interface UpkeepOptions {
  readonly store: Store;
  readonly client: Pick<EtcdClient, 'status' | 'compact' | 'defragment' | 'disarm' | 'moveLeader' | 'txn'>;
  readonly members: Pick<EtcdMembers, 'list'>;
  readonly leases: Pick<EtcdLeases, 'grant' | 'revoke'>;
  readonly nodeId: NodeId;
  readonly dataDir: string;
  readonly quotaBytes: number;
  /** What etcd runs with. */
  readonly settings: () => EtcdSettings;
  /** The roots that etcd trusts, by their name, and those that its node does (PEM); absent: it speaks without TLS. */
  readonly trust?: () => { readonly ofEtcd: string; readonly ofNode: string };
  /** Starts etcd anew with others, and with the roots of now; resolves when it answers. */
  readonly restart: (settings: EtcdSettings) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

const lookMs = 10_000;
/** A store that fills up quickly. */
const pressedLookMs = 1_000;
const retryMsMax = 10_000;

export class Upkeep {
  readonly #trigger = new Trigger();
  #state: StoreState | undefined;
  #memory: UpkeepMemory = noMemory;
  #warned: readonly string[] = [];

  constructor(private readonly options: UpkeepOptions) {}

  /** As of the last look; undefined before the first. */
  get state(): StoreState | undefined {
    return this.#state;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { store, clock, log } = this.options;
    const unsubscribe = store.subscribe(({ changes }) => {
      // The latter says how far other managers are.
      if (changes.some(({ kind }) => kind === 'cluster' || kind === 'manager' || kind === 'leader'))
        this.#trigger.fire();
    });
    try {
      await runLoop(
        { name: 'upkeep', trigger: this.#trigger, clock, log, resyncMs: lookMs, gapMs: 500, retryMsMax },
        () => this.#pass(),
        signal,
      );
    } finally {
      unsubscribe();
    }
  }

  async #pass(): Promise<number> {
    const { log } = this.options;
    const { state, memberId } = await this.#observe();
    this.#state = state;
    const warnings = storeWarnings(state);
    for (const text of warnings) if (!this.#warned.includes(text)) log.warn(text);
    this.#warned = warnings;
    const { ops, memory } = planUpkeep(state, this.#memory);
    this.#memory = memory;
    for (const op of ops) await this.#apply(op, memberId);
    return isPressed(state) ? pressedLookMs : lookMs;
  }

  async #observe(): Promise<{ state: UpkeepState; memberId: string }> {
    const { store, client, members, nodeId, dataDir, quotaBytes, clock, settings, trust } = this.options;
    const status = await client.status();
    const present = await members.list();
    const [disk, directory] = await Promise.all([
      statfs(dataDir).catch(() => undefined),
      stat(join(dataDir, 'member')).catch(() => undefined),
    ]);
    const view = store.view();
    const successor = present.find((member) => member.id !== status.memberId && isAlive(view, member));
    const hasOtherSettings = !isDeepStrictEqual(settings(), wantedSettings(view));
    const hasOtherTrust = trust !== undefined && isTrustOutdated(view, trust());
    return {
      memberId: status.memberId,
      state: {
        nowMs: clock.steadyMs(),
        revision: status.revision,
        databaseBytes: status.databaseBytes,
        usedBytes: status.usedBytes,
        quotaBytes,
        diskFreeBytes: disk ? disk.bavail * disk.bsize : Infinity,
        isFull: status.alarms.includes('noSpace'),
        isCorrupt: status.alarms.includes('corrupt'),
        hasDirectory: directory !== undefined,
        leadsRaft: status.isLeader,
        ...(successor && { successor: successor.id }),
        allWell: status.hasLeader && present.every((member) => isAlive(view, member)),
        isOutdated: hasOtherSettings || hasOtherTrust,
        othersAreDone: !hasOtherSettings && everyEtcdTrusts(view, view.cluster().rootCa.certPem, nodeId),
      },
    };
  }

  async #apply(op: UpkeepOp, memberId: string): Promise<void> {
    const { client, log } = this.options;
    switch (op.op) {
      case 'compact':
        await client.compact(op.revision);
        log.debug({ revision: op.revision }, 'history of the store forgotten');
        return;
      case 'disarm':
        await client.disarm(memberId);
        log.info('the store has room again and takes changes');
        return;
      case 'handOver':
        log.info(
          { successor: op.successor },
          "hands Raft's leadership over, to be out of the way for a while",
        );
        await client.moveLeader(op.successor);
        return;
      case 'defragment':
      case 'restart': {
        const run = (): Promise<void> => (op.op === 'restart' ? this.#restart() : this.#defragment());
        if (!op.inTurn) return run();
        const { leases, nodeId, clock } = this.options;
        const taken = await inTurn({ client, leases, key: upkeepTurnKey, holder: nodeId, clock, log }, run);
        // Who leads waits until the others have all been.
        if (!taken) this.#memory = { ...this.#memory, waitingSinceMs: clock.steadyMs() };
      }
    }
  }

  async #defragment(): Promise<void> {
    const { client, clock, log } = this.options;
    const before = await client.status();
    const startedMs = clock.steadyMs();
    await client.defragment();
    this.#memory = { ...this.#memory, defragmentedAtMs: clock.steadyMs() };
    const { databaseBytes } = await client.status();
    const tookMs = Math.round(clock.steadyMs() - startedMs);
    decide(log, 'store.defragmented', { fromBytes: before.databaseBytes, toBytes: databaseBytes, tookMs });
  }

  async #restart(): Promise<void> {
    const { store, restart, log } = this.options;
    const settings = wantedSettings(store.view());
    log.info({ ...settings }, 'etcd is started anew with the settings of the swarm');
    await restart(settings);
  }
}

const isAlive = (view: View, { name, isLearner }: EtcdMember): boolean =>
  !isLearner && view.get('manager', name as NodeId) !== undefined;

const wantedSettings = (view: View): EtcdSettings => etcdSettings(view.cluster().spec.raft);
