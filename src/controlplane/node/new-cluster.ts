/** What a new cluster begins with: root, tokens, data key, and the node that founds it. Nothing is written here. */
import { addressAndPort } from '../../model/addresses.js';
import { SkepError } from '../../model/errors.js';
import { newId } from '../../model/ids.js';
import type { ClusterId, NetworkId, NodeId, RandomSource } from '../../model/ids.js';
import { createCsr, createRootCa, issueNodeCertificate } from '../ca/certificates.js';
import { certificateMs } from '../ca/cluster-ca.js';
import { newJoinToken } from '../ca/join-token.js';
import { identityFromPem } from '../ca/node-identity.js';
import type { NodeIdentity } from '../ca/node-identity.js';
import { intermediatesOf, signerOf, trustOf } from '../ca/root-trust.js';
import type { Cluster } from '../../model/objects.js';
import type { InitRequest } from '../api/swarm-control.js';
import { nextLock } from '../../model/unlock-key.js';
import { newDataKey } from '../store/seal.js';
import type { DataKey } from '../store/seal.js';
import { isAutolocked } from './initial-cluster.js';
import type { ClusterIdentity } from './initial-cluster.js';
import type { MembershipFile } from './membership-file.js';
import type { NodeAddresses } from './node-addresses.js';

export interface NewCluster {
  readonly membership: MembershipFile;
  readonly identity: NodeIdentity;
  readonly dataKey: DataKey;
  /** For the first objects (initial-cluster.ts). */
  readonly cluster: ClusterIdentity;
}

/** A manager's identity and membership, by whoever holds the root's key. */
async function firstManager(
  addresses: NodeAddresses,
  who: {
    readonly roots: Pick<Cluster, 'rootCa' | 'rootRotation'>;
    readonly clusterId: ClusterId;
    readonly nodeId: NodeId;
    readonly validMs: number;
  },
  nowMs: number,
): Promise<Pick<NewCluster, 'identity' | 'membership'>> {
  const { roots, clusterId, nodeId, validMs } = who;
  const { csrPem, keyPem } = await createCsr();
  const certPem = await issueNodeCertificate({
    ...{ rootCa: signerOf(roots), csrPem, nodeId, clusterId, nowMs, validMs },
    role: 'manager',
    address: addresses.advertiseHost,
  });
  return {
    identity: identityFromPem([certPem, ...intermediatesOf(roots)].join(''), keyPem, trustOf(roots)),
    membership: {
      clusterId,
      nodeId,
      role: 'manager',
      addresses,
      managers: [{ nodeId, addr: addressAndPort(addresses.advertiseHost, addresses.advertisePort) }],
    },
  };
}

/**
 * What the manager of a restored cluster begins with: root and cluster are the former ones, its key and the data key are new.
 * @param formerId of this node, if it was one of the cluster's
 */
export async function restoredCluster(
  cluster: Cluster,
  addresses: NodeAddresses,
  formerId: NodeId | undefined,
  { nowMs, random }: { readonly nowMs: number; readonly random: RandomSource },
): Promise<Omit<NewCluster, 'cluster'>> {
  if (signerOf(cluster).keyPem === '')
    throw new SkepError(
      'failedPrecondition',
      'the backup holds no key of the root CA: an external CA issues the certificates of this swarm, and answers only managers that have one',
    );
  const nodeId = formerId ?? newId<NodeId>(random);
  const who = { roots: cluster, clusterId: cluster.id, nodeId, validMs: certificateMs(cluster) };
  return { ...(await firstManager(addresses, who, nowMs)), dataKey: newDataKey() };
}

/** @param request as checked */
export async function newCluster(
  request: InitRequest,
  addresses: NodeAddresses,
  { nowMs, random }: { readonly nowMs: number; readonly random: RandomSource },
): Promise<NewCluster> {
  const rootCa = await createRootCa(nowMs);
  const clusterId = newId<ClusterId>(random);
  const nodeId = newId<NodeId>(random);
  const who = { roots: { rootCa }, clusterId, nodeId, validMs: certificateMs(request) };
  return {
    ...(await firstManager(addresses, who, nowMs)),
    dataKey: newDataKey(),
    cluster: {
      clusterId,
      nodeId,
      ingressId: newId<NetworkId>(random),
      rootCa,
      managersLock: nextLock(undefined, { isOn: isAutolocked(request), rotate: false }, random),
      joinTokens: {
        worker: newJoinToken(rootCa.certPem, random),
        manager: newJoinToken(rootCa.certPem, random),
      },
    },
  };
}
