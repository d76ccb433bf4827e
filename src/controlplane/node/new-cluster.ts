/** What a new cluster begins with: root, tokens, data key, and the node that founds it. Nothing is written here. */
import { addressAndPort } from '../../model/addresses.js';
import { newId } from '../../model/ids.js';
import type { ClusterId, NetworkId, NodeId, RandomSource } from '../../model/ids.js';
import { createCsr, createRootCa, issueNodeCertificate } from '../ca/certificates.js';
import { certificateMs } from '../ca/cluster-ca.js';
import { newJoinToken } from '../ca/join-token.js';
import { identityFromPem } from '../ca/node-identity.js';
import type { NodeIdentity } from '../ca/node-identity.js';
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

/** @param request as checked */
export async function newCluster(
  request: InitRequest,
  addresses: NodeAddresses,
  { nowMs, random }: { readonly nowMs: number; readonly random: RandomSource },
): Promise<NewCluster> {
  const rootCa = await createRootCa(nowMs);
  const clusterId = newId<ClusterId>(random);
  const nodeId = newId<NodeId>(random);
  const { csrPem, keyPem } = await createCsr();
  const certPem = await issueNodeCertificate({
    ...{ rootCa, csrPem, nodeId, clusterId, nowMs },
    role: 'manager',
    address: addresses.advertiseHost,
    validMs: certificateMs(request),
  });
  return {
    identity: identityFromPem(certPem, keyPem, rootCa.certPem),
    dataKey: newDataKey(),
    membership: {
      clusterId,
      nodeId,
      role: 'manager',
      addresses,
      managers: [{ nodeId, addr: addressAndPort(addresses.advertiseHost, addresses.advertisePort) }],
    },
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
