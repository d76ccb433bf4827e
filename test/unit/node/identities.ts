/** Identities of nodes of one cluster, made once. */
import { createCsr, createRootCa, issueNodeCertificate } from '../../../src/controlplane/ca/certificates.js';
import { identityFromPem } from '../../../src/controlplane/ca/node-identity.js';
import type { NodeIdentity } from '../../../src/controlplane/ca/node-identity.js';
import type { ClusterId, NodeId } from '../../../src/model/ids.js';
import type { NodeRole } from '../../../src/model/objects.js';

const nowMs = Date.now();
const rootCa = await createRootCa(nowMs);

/** A new key, certified for the role. */
export async function newIdentity(role: NodeRole): Promise<NodeIdentity> {
  const { csrPem, keyPem } = await createCsr();
  const certPem = await issueNodeCertificate({
    ...{ rootCa, csrPem, role, nowMs },
    nodeId: 'n'.repeat(25) as NodeId,
    clusterId: 'c'.repeat(25) as ClusterId,
    validMs: 3_600_000,
  });
  return identityFromPem(certPem, keyPem, rootCa.certPem);
}
