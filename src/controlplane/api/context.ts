/** What every handler is given, and the check that most of them begin with. */
import { SkepError } from '../../model/errors.js';
import type { RandomSource } from '../../model/ids.js';
import type { Cluster, TlsInfo } from '../../model/objects.js';
import type { ClusterCa } from '../ca/cluster-ca.js';
import type { RequestTrace } from '../../model/trace.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { noLeaderError } from '../leadership/office.js';
import type { Store } from '../store/store.js';
import { tracedStore } from '../store/traced-store.js';
import { requireRoom } from '../upkeep/store-state.js';
import type { EngineClient } from './engine-client.js';
import type { ApiRequest } from './request.js';
import { certificatesExpired, swarmLocked, workerNode } from './swarm-control.js';
import type { SwarmControl } from './swarm-control.js';
import type { SwarmEvents } from './swarm-events.js';
import type { ReadLogs } from '../task-logs.js';
import type { OpenTunnel } from '../tunnels.js';

export interface ApiContext {
  readonly control: SwarmControl;
  readonly engine: EngineClient;
  readonly readLogs: ReadLogs;
  /** What happened in the swarms that this daemon has been a manager of. */
  readonly swarmEvents: SwarmEvents;
  readonly openTunnel: OpenTunnel;
  /** Name of the balancer engine; undefined: it cannot be asked. */
  readonly balancer: () => Promise<string | undefined>;
  readonly log: Log;
  readonly clock: Clock;
  readonly random: RandomSource;
  /** What the certificates of nodes are to be like, for clients to compare with what nodes have. */
  readonly tlsInfoOf: (cluster: Cluster) => TlsInfo;
  /** What an update makes of the cluster's roots; refuses what cannot be. */
  readonly changeRoots: ClusterCa['changeRoots'];
  /** A token like `token` with a new secret part. */
  readonly rotateToken: (token: string) => string;
  /** Longest that a request's body may take to come. */
  readonly bodyMsMax: number;
  /** Of the request at hand; absent: it changes nothing. */
  readonly trace?: RequestTrace;
}

export type Handler = (context: ApiContext, request: ApiRequest) => Promise<void>;

export const initOrJoin =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm ' +
  'and try again.';
const preparing =
  'This node is not a swarm manager. Manager is being prepared or has trouble connecting to the cluster. ' +
  'If the other managers are lost for good, run "docker swarm init --force-new-cluster" here.';

/** Why this node cannot answer for the cluster (503). */
export function notManager(control: SwarmControl): SkepError {
  const { localNodeState, isManager, error } = control.membership();
  const unavailable = (message: string): SkepError => new SkepError('unavailable', message);
  if (error === certificatesExpired) return unavailable(error);
  switch (localNodeState) {
    case 'inactive':
      return unavailable(initOrJoin);
    case 'locked':
      return unavailable(swarmLocked);
    case 'error':
      return unavailable(initOrJoin);
    case 'pending':
    case 'active':
      return unavailable(isManager ? preparing : workerNode);
  }
}

/** An election takes a second or two; whoever asks meanwhile waits no longer than a write would. */
const leaderlessMsMax = 3_000;

type Asked = Pick<ApiContext, 'control' | 'trace'>;

/** The cluster's store, for the request; throws `unavailable` on a node that is no serving manager, and Swarm's words where nobody leads. */
export function requireStore({ control, trace }: Asked): Store {
  const { store, leaderlessMs = 0 } = control.membership();
  if (!store) throw notManager(control);
  if (leaderlessMs > leaderlessMsMax) throw noLeaderError();
  return trace ? tracedStore(store, trace.traceId) : store;
}

/** The same for what makes the store larger: refused while it is nearly full. */
export function requireStoreWithRoom(context: Asked): Store {
  const store = requireStore(context);
  requireRoom(context.control.membership().storeState);
  return store;
}
