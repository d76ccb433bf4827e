/**
 * The real parts of a node: certificates and etcd under the swarm directory, a manager, an agent. Each does one thing and
 * undoes itself when it fails; the order among them is swarm-node.ts'.
 */
import { readFile, rm } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { OutsideError } from '../../model/errors.js';
import { newId } from '../../model/ids.js';
import type { NodeId, RandomSource } from '../../model/ids.js';
import { someResources } from '../../model/generic-resources.js';
import type { HostAllowance } from '../../model/host-access.js';
import type { HostRoute } from '../../model/host-routes.js';
import type { NodeDescription } from '../../model/objects.js';
import { CleanupStack } from '../../runtime/cleanup-stack.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { DataplaneClient } from '../../dataplane/rpc/client.js';
import { removeFromEngine, startAgent } from '../agent/agent.js';
import { readHostRoutes } from '../agent/host-routes.js';
import type { DataplaneFacts } from '../agent/node-description.js';
import { describeNode } from '../agent/node-description.js';
import { tlsInfoOf } from '../ca/certificates.js';
import { ClusterCa } from '../ca/cluster-ca.js';
import type { NodeIdentity } from '../ca/node-identity.js';
import { certificatesExpired } from '../api/swarm-control.js';
import type { JoinRequest } from '../api/swarm-control.js';
import type { SwarmEvents } from '../api/swarm-events.js';
import type { Backup } from '../backup/backup-content.js';
import { planRestore } from '../backup/restore-plan.js';
import type { Engine } from '../dockerd/client.js';
import type { StartMode } from '../etcd/arguments.js';
import { DamagedStoreError, EtcdEndedError } from '../etcd/ended.js';
import { fillStore } from '../store/fill.js';
import { endEtcd } from '../etcd/running-etcd.js';
import { Sealer } from '../store/seal.js';
import { addressTowards } from './address-towards.js';
import { initialObjects } from './initial-cluster.js';
import type { CheckedInitRequest } from './initial-cluster.js';
import { lockOf } from './keyring.js';
import { peerUrlOf, startManager } from './manager.js';
import type { ManagerOptions, ServingManager } from './manager.js';
import { readMembership, writeMembership } from './membership-file.js';
import type { MembershipFile } from './membership-file.js';
import { newCluster, restoredCluster } from './new-cluster.js';
import { NodeCertificate } from './node-certificate.js';
import { NodeKeys } from './node-keys.js';
import { StoreDirectory } from './store-directory.js';
import { requestFirstCertificate } from './certificate-request.js';
import { requestJoin } from './join-request.js';
import { RootFollower } from './root-follower.js';
import { runCertificateRenewal } from './certificate-renewal.js';
import { hasExpired, issueOwn, readCaCopy, removeCaCopy } from './ca-copy.js';
import type { ManagerObserver } from './manager-core.js';
import type { NodeAddresses } from './node-addresses.js';
import type { NodeParts, RunningAgent, Told } from './node-parts.js';

export interface PartsOptions {
  /** Everything of the swarm lies here and goes with it. */
  readonly swarmDir: string;
  readonly runDir: string;
  readonly engine: Engine;
  readonly dataplane: DataplaneClient;
  /** What the dataplane says of this host; undefined: not known (yet). */
  readonly facts: () => Promise<DataplaneFacts | undefined>;
  /** What of this host its administrator lets services have. */
  readonly allowance: HostAllowance;
  /** Images that this host has are taken as they are, whatever their tags name by now. */
  readonly preferOfflineImages?: boolean;
  readonly swarmEvents: SwarmEvents;
  /** Of the managers that this node has been since the daemon began. */
  readonly observer?: ManagerObserver;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Log;
}

export class HostParts implements NodeParts {
  readonly #keys: NodeKeys;
  readonly #certificate: NodeCertificate;
  readonly #directory: StoreDirectory;
  /** What this host does with the cluster's roots while it is a manager. */
  readonly ca: ClusterCa;
  #manager: ServingManager | undefined;
  /** How often in a row etcd has ended on its data. */
  #ends = 0;

  constructor(private readonly options: PartsOptions) {
    this.#directory = new StoreDirectory(options.swarmDir);
    this.#keys = new NodeKeys(options.swarmDir);
    this.#certificate = new NodeCertificate(this.#keys, join(options.runDir, 'etcd-tls'));
    this.ca = new ClusterCa({ clock: options.clock, identity: () => this.#certificate.known() });
  }

  /** What this node shows others; undefined: it is in no cluster, or locked. */
  get identity(): NodeIdentity | undefined {
    return this.#keys.identity;
  }

  /** The manager that serves now, for logs. */
  get manager(): ServingManager | undefined {
    return this.#manager;
  }

  interfaces(): ReturnType<NodeParts['interfaces']> {
    return Object.entries(networkInterfaces()).flatMap(([name, entries]) =>
      (entries ?? []).map(({ address, internal }) => ({ name, address, internal })),
    );
  }

  addressTowards(host: string, port: number): ReturnType<NodeParts['addressTowards']> {
    return addressTowards(host, port);
  }

  routes(): ReturnType<NodeParts['routes']> {
    return readHostRoutes();
  }

  async describe(): Promise<NodeDescription> {
    const { engine, facts, allowance } = this.options;
    const { hostname, architecture, os, ...rest } = describeNode(
      await engine.info(),
      await readHostRoutes(),
      await facts(),
      allowance,
    );
    const { identity } = this.#keys;
    return {
      hostname,
      platform: { architecture, os },
      resources: {
        nanoCpus: Number(rest.nanoCpus),
        memoryBytes: Number(rest.memoryBytes),
        ...someResources(rest.genericResources),
      },
      engine: { engineVersion: rest.engineVersion, labels: rest.engineLabels, plugins: rest.plugins },
      tlsInfo: identity
        ? tlsInfoOf(identity)
        : { trustRoot: '', certIssuerSubject: '', certIssuerPublicKey: '' },
      routes: rest.routes as readonly HostRoute[],
    };
  }

  readMembership(): Promise<MembershipFile | undefined> {
    return readMembership(this.options.swarmDir);
  }

  writeMembership(membership: MembershipFile): Promise<void> {
    return writeMembership(this.options.swarmDir, membership);
  }

  openKeys(): Promise<boolean> {
    return this.#keys.open();
  }

  unlock(key: Uint8Array): void {
    this.#keys.unlock(key);
  }

  async foundCluster(
    request: CheckedInitRequest,
    addresses: NodeAddresses,
  ): Promise<{ membership: MembershipFile; manager: ServingManager }> {
    const { random, clock } = this.options;
    // What an earlier life left behind must not leak into a new cluster.
    await this.#empty();
    const { membership, identity, dataKey, cluster } = await newCluster(request, addresses, {
      nowMs: clock.nowMs(),
      random,
    });
    await this.#keys.found(identity, dataKey, lockOf(cluster.managersLock));
    const objects = initialObjects(request, cluster, addresses, await this.describe());
    const manager = await this.#startManager(membership, 'new', (store) =>
      store.update((tx) => {
        tx.create('cluster', objects.cluster);
        tx.create('node', objects.node);
        tx.create('network', objects.ingress);
      }),
    );
    return { membership, manager };
  }

  async restoreCluster(
    backup: Backup,
    addresses: NodeAddresses,
    former: MembershipFile | undefined,
  ): Promise<{ membership: MembershipFile; manager: ServingManager }> {
    const { random, clock } = this.options;
    const { membership, identity, dataKey } = await restoredCluster(
      backup.cluster,
      addresses,
      former?.nodeId,
      { nowMs: clock.nowMs(), random },
    );
    await using undo = new CleanupStack();
    const lock = lockOf(backup.cluster.managersLock);
    if (former) {
      await this.#endEtcd();
      await this.#directory.beginRestore();
      undo.defer(() => this.#directory.undoRestore());
      const { identity: formerIdentity, hasDataKey } = this.#keys;
      if (formerIdentity) undo.defer(() => this.#certificate.put(formerIdentity));
      await this.#certificate.put(identity, lock);
      // It stays with what was there before, should that be wanted again.
      if (!hasDataKey) await this.#keys.saveDataKey(dataKey);
    } else {
      await this.#empty();
      await this.#directory.beginRestore();
      await this.#keys.found(identity, dataKey, lock);
    }
    const { nodeId } = membership;
    const self = { nodeId, addresses, description: await this.describe() };
    const plan = planRestore(backup, self, clock.nowMs());
    const manager = await this.#startManager(membership, 'new', async () => undefined, undefined, {
      // Members of the former etcd may come back with the same names and addresses: they must not be taken for this one's.
      clusterToken: `${membership.clusterId}.${newId(random)}`,
      onEtcd: (client, sealer) => fillStore(client, sealer, plan),
    });
    await this.#directory.endRestore();
    undo.move();
    return { membership, manager };
  }

  async obtainCertificate(request: JoinRequest, addresses: NodeAddresses): Promise<MembershipFile> {
    const { remoteAddrs: remotes, joinToken, availability } = request;
    const { identity, lock, remote } = await requestFirstCertificate({
      ...{ remotes, joinToken, availability },
      address: addresses.advertiseHost,
    });
    await this.#certificate.put(identity, lock);
    const { clusterId, nodeId, role } = identity;
    return { clusterId, nodeId, role, addresses, managers: [{ nodeId: '', addr: remote }] };
  }

  async startManager(
    membership: MembershipFile,
    alone: boolean,
    signal: AbortSignal,
  ): Promise<ServingManager> {
    const start = (mode: StartMode, initialCluster?: string): Promise<ServingManager> =>
      this.#startManager(membership, mode, async () => undefined, initialCluster, { signal });
    await this.#directory.undoRestore();
    await this.#renewExpired(membership);
    if (alone) return start('forceNew');
    // Nobody can read what an interrupted demotion has left.
    if (!this.#keys.hasDataKey) await this.removeManager();
    if (!(await this.#directory.hasStore())) {
      const initialCluster = await this.#join(membership).catch((cause: unknown) => {
        throw notTakenIn('the store of this manager is gone', cause);
      });
      await this.#directory.setAside();
      return this.#settled(await start('existing', initialCluster));
    }
    try {
      return this.#settled(await start('existing'));
    } catch (err) {
      if (!this.#isLost(err)) throw err;
      // The others have a quorum, or they could not take it in; what they have is what is true.
      const initialCluster = await this.#join(membership).catch((cause: unknown) => {
        throw notTakenIn(err.message, cause);
      });
      this.options.log.warn({ err }, 'the store of this manager is lost, those of the others are taken');
      await this.#directory.setAside();
      return this.#settled(await start('existing', initialCluster));
    }
  }

  /** What the others have is here. */
  async #settled(manager: ServingManager): Promise<ServingManager> {
    this.#ends = 0;
    await this.#directory.forget();
    return manager;
  }

  /** Whether the data can be given up. Never because of the host, and for an end without a word only when it comes again. */
  #isLost(err: unknown): err is Error {
    if (err instanceof DamagedStoreError) return true;
    if (!(err instanceof EtcdEndedError) || err.reason === 'host') return false;
    this.#ends += 1;
    return err.reason !== 'unknown' || this.#ends >= endsMax;
  }

  /**
   * etcd's members do not believe one whose certificate has expired: it is renewed first, by a manager that answers, and where
   * all have been off for as long, by this one itself.
   */
  async #renewExpired({ nodeId, managers, addresses }: MembershipFile): Promise<void> {
    const { swarmDir, clock, log } = this.options;
    const identity = this.#certificate.known();
    if (identity.role !== 'manager' || !hasExpired(identity, clock.nowMs())) return;
    const others = managers.filter((manager) => manager.nodeId !== nodeId);
    try {
      await this.#certificate.renew(others, addresses.advertiseHost);
    } catch (err) {
      if (!(err instanceof OutsideError)) throw err;
      const copy = await readCaCopy(swarmDir, new Sealer(this.#keys.dataKey));
      if (!copy) throw new OutsideError(certificatesExpired, true, { cause: err });
      log.warn({ err }, 'the certificate has expired and nobody renews it: this manager does so itself');
      await this.#certificate.put(await issueOwn(identity, addresses.advertiseHost, copy, this.ca));
    }
  }

  /** The other managers take this one in, and hand over the data key. @returns etcd's members then */
  async #join({ nodeId, managers, addresses }: MembershipFile): Promise<string> {
    const identity = this.#certificate.known();
    const others = managers.filter((manager) => manager.nodeId !== nodeId).map(({ addr }) => addr);
    const { members, dataKey } = await requestJoin(identity, others, peerUrlOf({ addresses }));
    await this.#keys.saveDataKey(dataKey);
    return members.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',');
  }

  async removeManager(): Promise<void> {
    await this.#endEtcd();
    await this.#directory.remove();
    await removeCaCopy(this.options.swarmDir);
  }

  async #startManager(
    membership: MembershipFile,
    mode: StartMode,
    onStore: Parameters<typeof startManager>[0]['onStore'],
    initialCluster?: string,
    more: Pick<ManagerOptions, 'clusterToken' | 'onEtcd' | 'signal'> = {},
  ): Promise<ServingManager> {
    const { swarmDir, runDir, swarmEvents, observer, clock, random, log } = this.options;
    this.#manager = await startManager({
      membership,
      mode,
      ...(initialCluster !== undefined && { initialCluster }),
      ...more,
      swarmDir,
      runDir,
      certificateFiles: await this.#certificate.files(),
      trusted: () => this.#certificate.known().rootPem,
      keys: this.#keys,
      serverCredentials: this.#certificate.serverCredentials(),
      clientSecurity: () => this.#certificate.clientSecurity(),
      security: this.ca,
      onStore,
      swarmEvents,
      ...(observer && { observer }),
      clock,
      random,
      log,
    });
    return this.#manager;
  }

  async startAgent(membership: MembershipFile, onTold: (told: Told) => void): Promise<RunningAgent> {
    const { engine, dataplane, facts, allowance, preferOfflineImages, clock, random, log } = this.options;
    const certificate = this.#certificate;
    const { advertiseHost } = membership.addresses;
    const renew = (): Promise<NodeIdentity> => certificate.renew(agent.managers(), advertiseHost);
    const roots = new RootFollower((told) => certificate.follow(told, agent.managers(), advertiseHost));
    const agent = startAgent({
      nodeId: membership.nodeId,
      engine,
      dataplane,
      facts,
      allowance,
      ...(preferOfflineImages === undefined ? {} : { preferOfflineImages }),
      // Sessions that are open go on with the old one; the next takes the new.
      credentials: () => certificate.clientSecurity().credentials,
      channelOptions: certificate.clientSecurity().options,
      certificate,
      managers: membership.managers,
      onMessage: (message) => {
        const { role, managers } = message;
        onTold({ role: role === 'manager' ? 'manager' : 'worker', managers });
        roots.tell(message);
      },
      dataPathAddr: membership.addresses.dataPathHost,
      swarmDir: this.options.swarmDir,
      tasksDir: this.#tasksDir,
      sealer: new Sealer({ id: 1, key: this.#keys.localKey }),
      bootId: await readBootId(),
      clock,
      random,
      log,
    });
    const stop = new AbortController();
    const renewing = Promise.all([
      runCertificateRenewal({ certificate, renew, clock, draw: Math.random, log }, stop.signal),
      roots.run(clock, log, stop.signal),
    ]);
    const end = async (): Promise<void> => {
      stop.abort(new Error('the agent is closing'));
      await renewing;
    };
    return {
      ready: agent.ready,
      managers: () => agent.managers(),
      attachments: agent.attachments,
      renew: async () => (await renew()).role,
      close: async () => {
        await end();
        await agent.close();
      },
    };
  }

  removeTasks(nodeId: NodeId): Promise<void> {
    const { engine, log } = this.options;
    return removeFromEngine({ nodeId, engine, tasksDir: this.#tasksDir, log });
  }

  /** A tmpfs, as all of the run directory. */
  get #tasksDir(): string {
    return join(this.options.runDir, 'tasks');
  }

  async wipe(): Promise<void> {
    await this.#endEtcd();
    await this.options.dataplane.clearState();
    await this.#empty();
  }

  /** Also one that an earlier daemon has left running. */
  async #endEtcd(): Promise<void> {
    await endEtcd(this.#directory.path, { clock: this.options.clock });
    this.#manager = undefined;
    await this.#certificate.removeFiles();
  }

  async #empty(): Promise<void> {
    await rm(this.options.swarmDir, { recursive: true, force: true });
    this.#keys.forget();
    await this.#certificate.forget();
  }
}

/** An etcd that ends without a word may have been killed; so often in a row it was not. */
const endsMax = 3;

const notTakenIn = (why: string, cause: unknown): OutsideError =>
  new OutsideError(
    `${why}; no other manager takes this one in: if there is none any more, "skep restore FILE" brings the swarm back ` +
      `from a backup (${(cause as Error).message})`,
    true,
    { cause },
  );

/** The kernel's number of this boot. */
const readBootId = async (): Promise<string> =>
  (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
