/**
 * A manager's half of a node: etcd as a child, the store on it, the server on :2377 with the dispatcher, the loops.
 * Order matters: etcd answers before the store opens, the store holds its first snapshot before anything reads it, and
 * the server opens last. Closing detaches from etcd: it goes on and is adopted by the next start.
 */
import { join } from 'node:path';
import { Server, type ServerCredentials } from '@grpc/grpc-js';
import { addressAndPort } from '../../model/addresses.js';
import { OutsideError } from '../../model/errors.js';
import type { RandomSource } from '../../model/ids.js';
import { CleanupStack } from '../../runtime/cleanup-stack.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { ReadLogs } from '../task-logs.js';
import { allocateLeg } from '../allocator/leg.js';
import { createManagerServices } from '../dispatcher/manager-services.js';
import type { ManagerServicesOptions } from '../dispatcher/manager-services.js';
import { EtcdClient } from '../etcd/client.js';
import type { StartMode } from '../etcd/arguments.js';
import { EtcdSupervisor } from '../etcd/supervisor.js';
import { runControlLoops } from '../loops.js';
import { EtcdStore } from '../store/etcd.js';
import { Sealer, type DataKey } from '../store/seal.js';
import type { Store } from '../store/store.js';
import type { MembershipFile } from './membership-file.js';
import type { RunningManager } from './swarm-node.js';

/** A manager that serves, as the node's other parts see it. */
export interface ServingManager extends RunningManager {
  readonly readLogs: ReadLogs;
  /** Ends etcd too: only when the node leaves its cluster. */
  stopEtcd(): Promise<void>;
}

export interface ManagerOptions {
  readonly membership: MembershipFile;
  readonly mode: StartMode;
  readonly swarmDir: string;
  /** For sockets: a short path. */
  readonly runDir: string;
  readonly certificateFiles: {
    readonly certFile: string;
    readonly keyFile: string;
    readonly rootFile: string;
  };
  readonly dataKey: DataKey;
  readonly serverCredentials: ServerCredentials;
  readonly security: Pick<ManagerServicesOptions, 'peerOf' | 'issueCertificate' | 'tlsInfoOf'>;
  /** Writes the first objects of a new cluster, before anything reads them. */
  readonly onStore: (store: Store) => Promise<void>;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Log;
}

/** etcd's peer port, next to its client port of old; only managers reach it (mutual TLS). */
const etcdPeerPort = 2380;
const messageBytesMax = 64 * 1024 * 1024;

/** Starts everything or, when a step fails, nothing. */
export async function startManager(options: ManagerOptions): Promise<ServingManager> {
  const { membership, swarmDir, runDir, clock, random, log } = options;
  const { addresses } = membership;
  await using undo = new CleanupStack();
  const etcd = new EtcdSupervisor({
    config: {
      dataDir: join(swarmDir, 'etcd'),
      socketDir: join(runDir, 'etcd'),
      name: membership.nodeId,
      peerUrl: `https://${addressAndPort(addresses.advertiseHost, etcdPeerPort)}`,
      clusterToken: membership.clusterId,
      peerTls: options.certificateFiles,
    },
    logFile: join(swarmDir, 'etcd.log'),
    log,
    clock,
  });
  await etcd.start(options.mode);
  undo.defer(() => (options.mode === 'new' ? etcd.stop() : etcd.detach()));
  const client = new EtcdClient(etcd.address);
  undo.defer(() => client.close());
  const store = await EtcdStore.open({ client, sealer: new Sealer(options.dataKey), log, clock });
  undo.defer(() => store.close());
  await options.onStore(store);

  const services = createManagerServices({
    ...{ store, clock, random, log, allocateLeg },
    ...options.security,
  });
  undo.defer(() => services.close());
  const server = new Server({ 'grpc.max_receive_message_length': messageBytesMax });
  for (const { definition, implementation } of services.services)
    server.addService(definition, implementation);
  await listen(server, addressAndPort(addresses.listenHost, addresses.listenPort), options.serverCredentials);
  undo.defer(() => server.forceShutdown());

  const stopLoops = new AbortController();
  const loops = runControlLoops({ store, clock, random, log }, stopLoops.signal);
  // A bug in a loop ends the process: it restarts and starts from the store.
  loops.catch((err: unknown) =>
    setImmediate(() => {
      throw err;
    }),
  );
  undo.defer(async () => {
    stopLoops.abort(new Error('the manager is closing'));
    await loops.catch(() => undefined);
  });

  const steps = undo.move();
  return {
    store,
    readLogs: services.readLogs,
    close: () => steps[Symbol.asyncDispose](),
    stopEtcd: () => etcd.stop(),
  };
}

function listen(server: Server, address: string, credentials: ServerCredentials): Promise<void> {
  return new Promise((resolve, reject) =>
    server.bindAsync(address, credentials, (err) =>
      err
        ? reject(new OutsideError(`cannot listen on ${address}: ${err.message}`, true, { cause: err }))
        : resolve(),
    ),
  );
}
