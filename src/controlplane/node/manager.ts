/**
 * A manager's half of a node: etcd as a child, the store on it, the server on :2377, and while it leads the dispatcher and the
 * loops. Order matters: etcd answers before the store opens, the store holds its first snapshot before anything reads it, and
 * whoever may lead is asked last. Closing detaches from etcd: it goes on and is adopted by the next start.
 */
import { AssertionError } from 'node:assert';
import { join } from 'node:path';
import type { ServerCredentials } from '@grpc/grpc-js';
import { addressAndPort } from '../../model/addresses.js';
import { OutsideError } from '../../model/errors.js';
import { leaderId } from '../../model/ids.js';
import type { RandomSource } from '../../model/ids.js';
import { etcdPeerPort } from '../../model/swarm-ports.js';
import { allOrNone } from '../../runtime/all-or-none.js';
import { CleanupStack } from '../../runtime/cleanup-stack.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { SwarmEvents } from '../api/swarm-events.js';
import type { ReadLogs } from '../task-logs.js';
import { nodeLost } from '../tunnels.js';
import type { OpenTunnel } from '../tunnels.js';
import type { DispatcherFigures, ManagerSecurity } from '../dispatcher/manager-services.js';
import type { ClientSecurity } from '../ca/credentials.js';
import { quotaBytesDefault } from '../etcd/arguments.js';
import type { StartMode } from '../etcd/arguments.js';
import { EtcdClient } from '../etcd/client.js';
import { EtcdLeases } from '../etcd/lease.js';
import { EtcdMembers } from '../etcd/members.js';
import { DamagedStoreError } from '../etcd/ended.js';
import { readEtcdSettings, writeEtcdSettings } from '../etcd/settings.js';
import { EtcdSupervisor } from '../etcd/supervisor.js';
import { noLeaderError } from '../leadership/office.js';
import { acrossLeaders } from '../managers/across-leaders.js';
import { logsRequest, readLogReplies } from '../managers/managers-service.js';
import { ManagersClient, rpcTimeoutMs } from '../rpc/clients.js';
import { createRpcServer, listen } from '../rpc/server.js';
import { fromServiceError } from '../rpc/status.js';
import { firstTunnelMessage, tunnelMessage, TunnelStream } from '../rpc/tunnel-stream.js';
import { EtcdStore } from '../store/etcd.js';
import { Sealer } from '../store/seal.js';
import type { Store } from '../store/store.js';
import { Upkeep } from '../upkeep/upkeep-loop.js';
import { createManagerCore } from './manager-core.js';
import type { ManagerObserver } from './manager-core.js';
import { keepCaCopy } from './ca-copy.js';
import { EtcdTrust } from './etcd-trust-file.js';
import { runLockLoop } from './lock-loop.js';
import type { MembershipFile } from './membership-file.js';
import { listenFailure } from './node-addresses.js';
import type { NodeKeys } from './node-keys.js';
import type { RunningManager } from './node-parts.js';
import { StoreDirectory } from './store-directory.js';

/** A manager that serves, as the node's other parts see it. */
export interface ServingManager extends RunningManager {
  /** Wherever the tasks' nodes have their sessions. */
  readonly readLogs: ReadLogs;
  readonly openTunnel: OpenTunnel;
  /** Of its dispatcher; undefined while it does not lead. */
  dispatcher(): DispatcherFigures | undefined;
}

export interface ManagerOptions {
  readonly membership: MembershipFile;
  readonly mode: StartMode;
  /** Ends the wait for etcd, which may have to wait for other members; absent: it is waited for. */
  readonly signal?: AbortSignal;
  readonly swarmDir: string;
  /** For sockets: a short path. */
  readonly runDir: string;
  readonly certificateFiles: { readonly certFile: string; readonly keyFile: string };
  /** PEM of the roots that the node trusts, as of now. */
  readonly trusted: () => string;
  /** Of etcd, see EtcdConfig; absent: this manager alone, or what its data says. */
  readonly initialCluster?: string;
  /** Has the data key, and is sealed as the cluster says. */
  readonly keys: Pick<NodeKeys, 'dataKey' | 'follow'>;
  readonly serverCredentials: ServerCredentials;
  /** For calls of other managers. */
  readonly clientSecurity: () => ClientSecurity;
  readonly security: ManagerSecurity;
  /** Of a new etcd, where it is not to be the cluster's id: tells it from others that had the same members. */
  readonly clusterToken?: string;
  /** Fills a new etcd before a store is opened on it. */
  readonly onEtcd?: (client: EtcdClient, sealer: Sealer) => Promise<void>;
  /** Writes the first objects of a new cluster, before anything reads them. */
  readonly onStore: (store: Store) => Promise<void>;
  /** Is told of what changes in the store. */
  readonly swarmEvents: SwarmEvents;
  readonly observer?: ManagerObserver;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Log;
}

/** The leader waits for the node as long, and is waited for. */
const openMsMax = 10_000 + rpcTimeoutMs;

/** Where this manager's etcd is reached by others'. */
export const peerUrlOf = ({ addresses }: Pick<MembershipFile, 'addresses'>): string =>
  `https://${addressAndPort(addresses.advertiseHost, etcdPeerPort)}`;

/** Starts everything or, when a step fails, nothing. Its etcd goes on either way, unless it is that of a new cluster. */
export async function startManager(options: ManagerOptions): Promise<ServingManager> {
  const { membership, swarmDir, runDir, clock, random, log, keys } = options;
  const { dataKey } = keys;
  const { addresses, nodeId } = membership;
  const dataDir = new StoreDirectory(swarmDir).path;
  await using undo = new CleanupStack();
  const trust = new EtcdTrust(swarmDir, options.trusted);
  const etcd = new EtcdSupervisor({
    config: {
      dataDir,
      settings: await readEtcdSettings(swarmDir),
      socketDir: join(runDir, 'etcd'),
      name: nodeId,
      peerUrl: peerUrlOf(membership),
      ...(options.initialCluster !== undefined && { initialCluster: options.initialCluster }),
      clusterToken: options.clusterToken ?? membership.clusterId,
      peerTls: {
        ...options.certificateFiles,
        rootFile: await trust.write(),
      },
    },
    logFile: join(swarmDir, 'etcd.log'),
    log,
    clock,
  });
  await etcd.start(options.mode, options.signal);
  let isFounding = options.mode === 'new';
  undo.defer(() => (isFounding ? etcd.stop() : etcd.detach()));
  const client = new EtcdClient(etcd.address, undefined, options.observer?.onEtcdCall);
  undo.defer(() => client.close());
  const leases = new EtcdLeases(etcd.address);
  undo.defer(() => leases.close());
  const members = new EtcdMembers(etcd.address);
  undo.defer(() => members.close());
  const sealer = new Sealer(dataKey);
  await options.onEtcd?.(client, sealer);
  const store = await EtcdStore.open({ client, sealer, log, clock }).catch(async (err: unknown) => {
    if (!(err instanceof AssertionError)) throw err;
    await etcd.stop();
    throw new DamagedStoreError(err.message, { cause: err });
  });
  undo.defer(() => store.close());
  await options.onStore(store);
  undo.defer(options.swarmEvents.follow(store));
  undo.defer(keepCaCopy(swarmDir, store, sealer, log));

  const addr = addressAndPort(addresses.advertiseHost, addresses.advertisePort);
  const core = createManagerCore({
    ...{ store, client, leases, members, sealer, dataKey, nodeId, addr, clock, random, log },
    security: options.security,
    ...(options.observer && { observer: options.observer }),
    etcdTrust: () => trust.of(etcd),
  });
  const server = createRpcServer(core.services.services, log);
  const listenAddress = addressAndPort(addresses.listenHost, addresses.listenPort);
  await listen(server, listenAddress, options.serverCredentials).catch((cause: Error) => {
    throw new OutsideError(`${listenFailure}: ${cause.message}`, false, { cause });
  });
  undo.defer(() => server.forceShutdown());

  const stop = new AbortController();
  const upkeep = new Upkeep({
    ...{ store, client, members, leases, nodeId, dataDir, clock, log },
    quotaBytes: quotaBytesDefault,
    settings: () => etcd.settings,
    trust: () => ({ ofEtcd: trust.of(etcd), ofNode: options.trusted() }),
    restart: async (settings) => {
      await writeEtcdSettings(swarmDir, settings);
      await etcd.restart(settings, await trust.write());
      await trust.removeOthers(etcd);
    },
  });
  const running = allOrNone(stop.signal, [
    (over) => core.run(over),
    (over) => upkeep.run(over),
    (over) => runLockLoop({ store, keys, clock, log }, over),
  ]);
  // A bug ends the process: it restarts and starts from the store.
  running.catch((err: unknown) =>
    setImmediate(() => {
      throw err;
    }),
  );
  undo.defer(async () => {
    stop.abort(new Error('the manager is closing'));
    await running.catch(() => undefined);
  });

  const readLogs = acrossLeaders(
    (...request) => core.services.readLogs()?.(...request) ?? askLeader(request),
    clock,
  );
  async function* askLeader([subject, wanted, signal]: Parameters<ReadLogs>): ReturnType<ReadLogs> {
    const asked = leaderClient();
    try {
      yield* readLogReplies(asked.readLogs(logsRequest(subject, wanted), signal));
    } finally {
      asked.close();
    }
  }
  const openTunnel: OpenTunnel = (...request) =>
    core.services.openTunnel()?.(...request) ?? openByLeader(...request);
  async function openByLeader(...[nodeId, signal]: Parameters<OpenTunnel>): ReturnType<OpenTunnel> {
    const asked = leaderClient();
    const call = asked.openTunnel(stop.signal);
    call.once('close', () => asked.close());
    try {
      call.write(tunnelMessage({ nodeId }));
      await firstTunnelMessage(call, AbortSignal.any([signal, AbortSignal.timeout(openMsMax)]));
    } catch (err) {
      call.cancel();
      signal.throwIfAborted();
      throw fromServiceError(err);
    }
    const node = store.view().get('node', nodeId) ?? { id: nodeId };
    return new TunnelStream(call, () => nodeLost(node));
  }
  function leaderClient(): ManagersClient {
    const leader = store.view().get('leader', leaderId);
    const found = leader && store.view().get('manager', leader.nodeId);
    if (!found) throw noLeaderError();
    const { credentials, options: channelOptions } = options.clientSecurity();
    return new ManagersClient(found.addr, credentials, channelOptions);
  }

  const steps = undo.move();
  isFounding = false;
  return {
    store,
    readLogs,
    openTunnel,
    dispatcher: () => core.services.figures(),
    leaderlessMs: () => core.leaderlessMs(),
    storeState: () => upkeep.state,
    error: () => etcd.error,
    lost: etcd.lost,
    close: () => steps[Symbol.asyncDispose](),
  };
}
