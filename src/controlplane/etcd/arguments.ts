/**
 * etcd's command line. Every flag is here because its default is wrong for Skep; written for etcd 3.4 and later.
 * No secret is among them: keys are files.
 */
import { join } from 'node:path';
import { etcdSettingsDefaults } from './settings.js';
import type { EtcdSettings } from './settings.js';

export interface EtcdTls {
  /** The member's own certificate and what goes with it; etcd reads both anew at every handshake. */
  readonly certFile: string;
  readonly keyFile: string;
  /** Roots to trust, for as long as it runs. */
  readonly rootFile: string;
}

export interface EtcdConfig {
  /** Absolute; etcd makes it. */
  readonly dataDir: string;
  /** Where the client socket is made: a short path (a socket's is at most 107 bytes), 0700. */
  readonly socketDir: string;
  /** This member's name: the node id. */
  readonly name: string;
  /** Where other members reach this one: `https://host:port`. */
  readonly peerUrl: string;
  /** Where to listen for them; default {@link peerUrl}. */
  readonly listenPeerUrl?: string;
  /** `name=peerUrl,…` of all members; default this one alone. Only read when the data directory is empty. */
  readonly initialCluster?: string;
  /** Guards members of different clusters from one another: the cluster id. */
  readonly clusterToken: string;
  /** The node's certificate for peers; without it peers speak plain HTTP, for tests only. */
  readonly peerTls?: EtcdTls;
  /** Default: Swarm's defaults. */
  readonly settings?: EtcdSettings;
  /** Of the database; default {@link quotaBytesDefault}. */
  readonly quotaBytes?: number;
}

/** How the data directory comes to be: see etcd's `--initial-cluster-state` and `--force-new-cluster`. */
export type StartMode = 'new' | 'existing' | 'forceNew';

/**
 * 3.4 takes `unix://NAME:PORT` only, without a path, and makes a socket of that very name in its working directory;
 * hence the supervisor starts it in {@link EtcdConfig.socketDir}.
 */
const socketName = 'etcd:0';
export const socketPath = ({ socketDir }: Pick<EtcdConfig, 'socketDir'>): string =>
  join(socketDir, socketName);
/** The client's gRPC target. */
export const clientAddress = (config: Pick<EtcdConfig, 'socketDir'>): string =>
  `unix://${socketPath(config)}`;

/** A write of 200 objects with large specs; etcd advises against more than 10 MiB. */
const requestBytesMax = 10 * 1024 * 1024;
/** etcd's own default, written down as Skep answers before it is met (upkeep/). */
export const quotaBytesDefault = 2 * 1024 * 1024 * 1024;

/** The whole command line but for the program. */
export function etcdArguments(config: EtcdConfig, mode: StartMode): readonly string[] {
  return [
    ...lastingArguments(config),
    ...(config.peerTls ? [trustFlag + config.peerTls.rootFile] : []),
    ...initialArguments(config, mode),
  ];
}

const trustFlag = '--peer-trusted-ca-file=';

/** The file of roots that a running etcd was started with; it reads it never again. */
export const trustFileOf = (args: readonly string[]): string =>
  args.find((arg) => arg.startsWith(trustFlag))?.slice(trustFlag.length) ?? '';

/**
 * What a running etcd must have been started with to be adopted. Not whom it trusts: it is started again for that in its turn,
 * while other members are well (ca/etcd-trust.ts).
 */
export function lastingArguments(config: EtcdConfig): readonly string[] {
  const { dataDir, name, peerUrl, listenPeerUrl = peerUrl, peerTls } = config;
  const { settings = etcdSettingsDefaults, quotaBytes = quotaBytesDefault } = config;
  return [
    `--data-dir=${dataDir}`,
    `--name=${name}`,
    `--listen-client-urls=unix://${socketName}`,
    `--advertise-client-urls=unix://${socketName}`,
    `--listen-peer-urls=${listenPeerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    // 200 objects, each with the name it takes and the one it gives up, and the reads a write depends on.
    '--max-txn-ops=1024',
    `--max-request-bytes=${requestBytesMax}`,
    `--quota-backend-bytes=${quotaBytes}`,
    // By the leader's upkeep, which bounds history by what it takes and not by time alone.
    '--auto-compaction-retention=0',
    `--snapshot-count=${settings.snapshotCount}`,
    `--max-snapshots=${settings.snapshotsMax}`,
    // A copy that differs from the others' ends at its start, and is taken in again.
    '--experimental-initial-corrupt-check=true',
    // Idle, every beat is most of what a member does: half of etcd's default. An election begins as late as with it, and Raft's
    // leader is missed after five beats, the least that etcd takes.
    '--heartbeat-interval=200',
    '--election-timeout=1000',
    // A member that comes back from a cut link must not depose the leader.
    '--pre-vote=true',
    '--logger=zap',
    '--log-outputs=stderr',
    '--log-level=warn',
    ...(peerTls ? tlsArguments(peerTls) : []),
  ];
}

/**
 * Peers show a certificate of the cluster that names `swarm-manager`, so no worker's will do. 3.4 would also look the
 * certificate's names up in DNS to match the caller's address; they name a role and an id, hence the skip.
 */
const tlsArguments = ({ certFile, keyFile }: EtcdTls): readonly string[] => [
  `--peer-cert-file=${certFile}`,
  `--peer-key-file=${keyFile}`,
  '--peer-client-cert-auth=true',
  '--peer-cert-allowed-hostname=swarm-manager',
  '--experimental-peer-skip-client-san-verification=true',
];

function initialArguments(config: EtcdConfig, mode: StartMode): readonly string[] {
  const { name, peerUrl, initialCluster = `${name}=${peerUrl}`, clusterToken } = config;
  return [
    `--initial-cluster=${initialCluster}`,
    `--initial-cluster-token=${clusterToken}`,
    `--initial-cluster-state=${mode === 'existing' ? 'existing' : 'new'}`,
    ...(mode === 'forceNew' ? ['--force-new-cluster=true'] : []),
  ];
}
