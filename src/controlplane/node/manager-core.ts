/**
 * What a manager does once it has a store, wherever that is: says that it is alive, watches who leads, and while that is itself
 * runs the dispatcher and the loops. Owns no process and no socket, so that a simulation runs the very same.
 */
import type { NodeId, RandomSource } from '../../model/ids.js';
import { allOrNone } from '../../runtime/all-or-none.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { allocateLeg } from '../allocator/leg.js';
import type { DispatcherObserver } from '../dispatcher/assignment-stream.js';
import { createManagerServices } from '../dispatcher/manager-services.js';
import type { ManagerSecurity, ManagerServices } from '../dispatcher/manager-services.js';
import type { EtcdClient, ObserveCall } from '../etcd/client.js';
import type { EtcdLeases } from '../etcd/lease.js';
import type { EtcdMembers } from '../etcd/members.js';
import { Leadership } from '../leadership/leadership.js';
import { RaftWatch } from '../leadership/raft-watch.js';
import { runControlLoops } from '../loops.js';
import type { LoopObserver } from '../loops.js';
import { ManagersService } from '../managers/managers-service.js';
import { runMembersLoop } from '../managers/members-loop.js';
import { holdPresence } from '../store/presence.js';
import type { DataKey, Sealer } from '../store/seal.js';
import type { Store } from '../store/store.js';

/** Is told what a manager does; outlives it, for what it counts. */
export interface ManagerObserver {
  readonly loops: LoopObserver;
  readonly dispatcher: DispatcherObserver;
  /** This manager begins to lead. */
  readonly onTerm: () => void;
  readonly onEtcdCall: ObserveCall;
}

export interface ManagerCoreOptions {
  readonly store: Store;
  readonly client: Pick<EtcdClient, 'status' | 'txn' | 'moveLeader'>;
  readonly leases: Pick<EtcdLeases, 'grant' | 'revoke' | 'keepAlive'>;
  readonly members: Pick<EtcdMembers, 'list' | 'addLearner' | 'promote' | 'remove'>;
  readonly sealer: Sealer;
  readonly dataKey: DataKey;
  readonly nodeId: NodeId;
  /** Where nodes and other managers reach it, `host:port`. */
  readonly addr: string;
  /** Of its etcd, see ManagerPresence; absent: it trusts nobody. */
  readonly etcdTrust?: () => string;
  readonly security: ManagerSecurity;
  readonly observer?: ManagerObserver;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Log;
}

export interface ManagerCore {
  /** To be put on a server before {@link run}. */
  readonly services: ManagerServices;
  /** For how long there has been nobody to lead Raft, in ms; 0: somebody does. */
  leaderlessMs(): number;
  /** Resolves when the signal has aborted and nothing runs any more. Rejects with a bug. */
  run(signal: AbortSignal): Promise<void>;
}

export function createManagerCore(options: ManagerCoreOptions): ManagerCore {
  const { store, client, leases, members, sealer, dataKey, nodeId, addr, clock, random, log } = options;
  const { observer } = options;
  const trust = options.etcdTrust && { etcdTrust: options.etcdTrust };
  const services = createManagerServices({
    ...{ store, clock, random, log, allocateLeg },
    ...options.security,
    managers: new ManagersService({ store, members, dataKey, log }),
    ...(observer && { observer: observer.dispatcher }),
  });
  const raft = new RaftWatch(client, clock, () => leadership.look());
  const lead = (inOffice: Store, signal: AbortSignal): Promise<void> =>
    allOrNone(signal, [
      (over) => services.lead(inOffice, over),
      (over) =>
        runControlLoops(
          { store: inOffice, clock, random, log, ...(observer && { observer: observer.loops }) },
          over,
        ),
      (over) => runMembersLoop({ store: inOffice, nodeId, members, client, raft, clock, log }, over),
    ]);
  const leadership = new Leadership({
    ...{ store, nodeId, raft, lead, clock, log },
    ...(observer && { onTerm: observer.onTerm }),
  });
  return {
    services,
    leaderlessMs: () => raft.leaderlessMs,
    run: (signal) =>
      allOrNone(signal, [
        (over) => raft.run(over),
        (over) => leadership.run(over),
        (over) =>
          holdPresence(
            { client, leases, sealer, nodeId, addr, ...trust, onBeat: raft.heard, clock, log },
            over,
          ),
      ]),
  };
}
