/**
 * The real parts of a node: certificates and etcd under the swarm directory, a manager, an agent. Each does one thing and
 * undoes itself when it fails; the order among them is swarm-node.ts'.
 */
import { readFile, rm, stat } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { addressAndPort } from '../../model/addresses.js';
import { OutsideError } from '../../model/errors.js';
import type { ClusterId, NetworkId, NodeId, RandomSource } from '../../model/ids.js';
import { newId } from '../../model/ids.js';
import type { HostRoute } from '../../model/host-routes.js';
import type { Cluster, NodeDescription } from '../../model/objects.js';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { DataplaneClient } from '../../dataplane/rpc/client.js';
import { startAgent } from '../agent/agent.js';
import { readHostRoutes } from '../agent/host-routes.js';
import type { DataplaneFacts } from '../agent/node-description.js';
import { describeNode } from '../agent/node-description.js';
import { createCsr, createRootCa, issueNodeCertificate, tlsInfo } from '../ca/certificates.js';
import { NodeServerCredentials, nodeClientSecurity, peerOf } from '../ca/credentials.js';
import { newJoinToken } from '../ca/join-token.js';
import { identityFiles, identityFromPem, loadIdentity, saveIdentity } from '../ca/node-identity.js';
import type { NodeIdentity } from '../ca/node-identity.js';
import type { InitRequest, JoinRequest } from '../api/swarm-control.js';
import type { Engine } from '../dockerd/client.js';
import type { StartMode } from '../etcd/arguments.js';
import { EtcdEndedError } from '../etcd/supervisor.js';
import { newDataKey, type DataKey } from '../store/seal.js';
import { addressTowards } from './address-towards.js';
import { clusterSpecDefaults, initialObjects } from './initial-cluster.js';
import { etcdDir, peerUrlOf, startManager } from './manager.js';
import type { ServingManager } from './manager.js';
import { readMembership, writeMembership } from './membership-file.js';
import type { MembershipFile, RemoteManager } from './membership-file.js';
import { requestFirstCertificate, requestRenewal } from './certificate-request.js';
import { requestJoin } from './join-request.js';
import { runCertificateRenewal } from './certificate-renewal.js';
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
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Log;
}

const nsPerMs = 1e6;

export class HostParts implements NodeParts {
  readonly #certificates: string;
  #manager: ServingManager | undefined;
  #serverCredentials: NodeServerCredentials | undefined;
  /** As renewed last. */
  #identityNow: NodeIdentity | undefined;

  constructor(private readonly options: PartsOptions) {
    this.#certificates = join(options.swarmDir, 'certificates');
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
    const { engine, facts } = this.options;
    const { hostname, architecture, os, ...rest } = describeNode(
      await engine.info(),
      await readHostRoutes(),
      await facts(),
    );
    const root = await loadIdentity(this.#certificates);
    return {
      hostname,
      platform: { architecture, os },
      resources: { nanoCpus: Number(rest.nanoCpus), memoryBytes: Number(rest.memoryBytes) },
      engine: { engineVersion: rest.engineVersion, labels: rest.engineLabels, plugins: rest.plugins },
      tlsInfo: root
        ? tlsInfo(root.rootPem)
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

  async foundCluster(
    request: InitRequest,
    addresses: NodeAddresses,
  ): Promise<{ membership: MembershipFile; manager: ServingManager }> {
    const { swarmDir, random, clock } = this.options;
    // What an earlier life left behind must not leak into a new cluster.
    await rm(swarmDir, { recursive: true, force: true });
    const rootCa = await createRootCa(clock.nowMs());
    const clusterId = newId<ClusterId>(random);
    const nodeId = newId<NodeId>(random);
    const { csrPem, keyPem } = await createCsr();
    const certPem = await issueNodeCertificate({
      rootCa,
      csrPem,
      nodeId,
      role: 'manager',
      clusterId,
      nowMs: clock.nowMs(),
      address: addresses.advertiseHost,
      validMs: (request.spec.nodeCertExpiryNs || clusterSpecDefaults.nodeCertExpiryNs) / nsPerMs,
    });
    const identity = identityFromPem(certPem, keyPem, rootCa.certPem);
    await saveIdentity(this.#certificates, identity);
    const dataKey = newDataKey();
    await this.#saveDataKey(dataKey);
    const membership: MembershipFile = {
      clusterId,
      nodeId,
      role: 'manager',
      addresses,
      managers: [{ nodeId, addr: addressAndPort(addresses.advertiseHost, addresses.advertisePort) }],
    };
    const objects = initialObjects(
      request,
      {
        clusterId,
        nodeId,
        ingressId: newId<NetworkId>(random),
        rootCa,
        joinTokens: {
          worker: newJoinToken(rootCa.certPem, random),
          manager: newJoinToken(rootCa.certPem, random),
        },
      },
      addresses,
      { ...(await this.describe()), tlsInfo: tlsInfo(rootCa.certPem) },
    );
    const manager = await this.#startManager(membership, identity, dataKey, 'new', (store) =>
      store.update((tx) => {
        tx.create('cluster', objects.cluster);
        tx.create('node', objects.node);
        tx.create('network', objects.ingress);
      }),
    );
    return { membership, manager };
  }

  async obtainCertificate(request: JoinRequest, addresses: NodeAddresses): Promise<MembershipFile> {
    const { remoteAddrs: remotes, joinToken, availability } = request;
    const { identity, remote } = await requestFirstCertificate({
      ...{ remotes, joinToken, availability },
      address: addresses.advertiseHost,
    });
    await saveIdentity(this.#certificates, identity);
    const { clusterId, nodeId, role } = identity;
    return { clusterId, nodeId, role, addresses, managers: [{ nodeId: '', addr: remote }] };
  }

  async startManager(membership: MembershipFile, alone: boolean): Promise<ServingManager> {
    const identity = await this.#identity();
    const start = async (mode: StartMode, initialCluster?: string): Promise<ServingManager> => {
      const dataKey = await this.#loadDataKey();
      return this.#startManager(membership, identity, dataKey, mode, async () => undefined, initialCluster);
    };
    if (alone) return start('forceNew');
    if (!(await this.#hasStore())) return start('existing', await this.#join(membership, identity));
    try {
      return await start('existing');
    } catch (err) {
      if (!(err instanceof EtcdEndedError)) throw err;
      // The others have a quorum, or they could not take it in; what they have is what is true.
      const initialCluster = await this.#join(membership, identity).catch((cause: unknown) => {
        throw new OutsideError(`${err.message}; no other manager takes this one in again`, true, { cause });
      });
      this.options.log.warn({ err }, 'the store of this manager is lost, those of the others are taken');
      await rm(etcdDir(this.options.swarmDir), { recursive: true });
      return start('existing', initialCluster);
    }
  }

  #hasStore(): Promise<boolean> {
    return stat(join(etcdDir(this.options.swarmDir), 'member')).then(
      () => true,
      () => false,
    );
  }

  /** The other managers take this one in, and hand over the data key. @returns etcd's members then */
  async #join({ nodeId, managers, addresses }: MembershipFile, identity: NodeIdentity): Promise<string> {
    const others = managers.filter((manager) => manager.nodeId !== nodeId).map(({ addr }) => addr);
    const { members, dataKey } = await requestJoin(identity, others, peerUrlOf({ addresses }));
    await this.#saveDataKey(dataKey);
    return members.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',');
  }

  async removeManager(): Promise<void> {
    const { swarmDir } = this.options;
    await this.#manager?.stopEtcd();
    this.#manager = undefined;
    this.#serverCredentials = undefined;
    for (const path of [etcdDir(swarmDir), this.#dataKeyFile])
      await rm(path, { recursive: true, force: true });
  }

  async #startManager(
    membership: MembershipFile,
    identity: NodeIdentity,
    dataKey: DataKey,
    mode: StartMode,
    onStore: Parameters<typeof startManager>[0]['onStore'],
    initialCluster?: string,
  ): Promise<ServingManager> {
    this.#identityNow = identity;
    const { swarmDir, runDir, clock, random, log } = this.options;
    this.#serverCredentials = new NodeServerCredentials(identity);
    this.#manager = await startManager({
      membership,
      mode,
      ...(initialCluster !== undefined && { initialCluster }),
      swarmDir,
      runDir,
      certificateFiles: identityFiles(this.#certificates),
      dataKey,
      serverCredentials: this.#serverCredentials,
      clientSecurity: () => nodeClientSecurity(this.#identityNow ?? identity),
      security: {
        peerOf,
        tlsInfoOf: tlsInfo,
        issueCertificate: ({ cluster, ...request }) =>
          issueNodeCertificate({
            ...request,
            rootCa: cluster.rootCa,
            nowMs: clock.nowMs(),
            validMs: certificateMs(cluster),
          }),
      },
      onStore,
      clock,
      random,
      log,
    });
    return this.#manager;
  }

  async startAgent(membership: MembershipFile, onTold: (told: Told) => void): Promise<RunningAgent> {
    const { engine, dataplane, facts, clock, random, log } = this.options;
    const identity = await this.#identity();
    this.#identityNow = identity;
    let security = nodeClientSecurity(identity);
    const renew = async (): Promise<NodeIdentity> => {
      const renewed = await this.#renew(
        this.#identityNow ?? identity,
        agent.managers(),
        membership.addresses.advertiseHost,
      );
      // Sessions that are open go on with the old one; the next takes the new.
      security = nodeClientSecurity(renewed);
      return renewed;
    };
    const agent = startAgent({
      nodeId: membership.nodeId,
      engine,
      dataplane,
      facts,
      credentials: () => security.credentials,
      channelOptions: security.options,
      managers: membership.managers,
      onMessage: ({ role, managers }) =>
        onTold({ role: role === 'manager' ? 'manager' : 'worker', managers }),
      dataPathAddr: membership.addresses.dataPathHost,
      swarmDir: this.options.swarmDir,
      bootId: await readBootId(),
      clock,
      random,
      log,
    });
    const stop = new AbortController();
    const renewing = runCertificateRenewal(
      {
        identity,
        renew,
        clock,
        draw: Math.random,
        log,
      },
      stop.signal,
    );
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
      removeAll: async () => {
        await end();
        await agent.removeAll();
      },
    };
  }

  /** Kept on disk before it is used. */
  async #renew(
    present: NodeIdentity,
    managers: readonly RemoteManager[],
    address: string,
  ): Promise<NodeIdentity> {
    const renewed = await requestRenewal(
      present,
      managers.map(({ addr }) => addr),
      address,
    );
    await saveIdentity(this.#certificates, renewed);
    this.#identityNow = renewed;
    this.#serverCredentials?.renew(renewed);
    return renewed;
  }

  async #identity(): Promise<NodeIdentity> {
    const identity = await loadIdentity(this.#certificates);
    if (!identity)
      throw new OutsideError(`the node's certificate is missing in ${this.#certificates}`, false);
    return identity;
  }

  async wipe(): Promise<void> {
    const { dataplane, swarmDir } = this.options;
    await this.#manager?.stopEtcd();
    this.#manager = undefined;
    await dataplane.clearState();
    await rm(swarmDir, { recursive: true, force: true });
  }

  /** The cluster's data key lies unwrapped: autolock is off. */
  #saveDataKey({ id, key }: DataKey): Promise<void> {
    return writeFileAtomic(
      this.#dataKeyFile,
      JSON.stringify({ id, key: Buffer.from(key).toString('base64') }),
    );
  }

  async #loadDataKey(): Promise<DataKey> {
    const { id, key } = JSON.parse(await readFile(this.#dataKeyFile, 'utf8')) as { id: number; key: string };
    return { id, key: Buffer.from(key, 'base64') };
  }

  get #dataKeyFile(): string {
    return join(this.options.swarmDir, 'data-key.json');
  }
}

/** 0 means the default, as in Swarm's spec. */
const certificateMs = (cluster: Cluster): number =>
  (cluster.spec.nodeCertExpiryNs || clusterSpecDefaults.nodeCertExpiryNs) / nsPerMs;

/** The kernel's number of this boot. */
const readBootId = async (): Promise<string> =>
  (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
