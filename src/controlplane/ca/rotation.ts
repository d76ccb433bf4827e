/**
 * The way from one root to another (ADR 27), as far as nodes go: a few at a time are told to get a certificate of the new root,
 * which the old one has cross-signed; when every node has one, down or not, nodes trust the new root alone and join tokens are
 * new. Then managers' etcd follow (etcd-trust.ts), and when the last one has, the cross-signed certificate is dropped.
 * Pure; the store has all that it depends on, so that a leader that follows goes on where the last one was.
 */
import type { RandomSource } from '../../model/ids.js';
import type { Cluster, Node } from '../../model/objects.js';
import { Draft } from '../plan.js';
import type { Plan } from '../plan.js';
import type { View } from '../store/store.js';
import { issuerInfo } from './certificates.js';
import { everyEtcdTrusts } from './etcd-trust.js';
import { newJoinToken } from './join-token.js';

/** Swarm's: thirty nodes, every three seconds. */
export const toldAtOnceMax = 30;
export const toldEveryMs = 3_000;

export function planRootRotation(view: View, nowMs: number, random: RandomSource): Plan {
  const draft = new Draft(view, nowMs);
  const cluster = view.cluster();
  let next = everyEtcdTrusts(view, cluster.rootCa.certPem) ? withoutIntermediates(cluster) : cluster;
  const { rootCa, rootRotation } = next;
  if (rootRotation) {
    const wanted = issuerInfo(rootRotation.certPem).certIssuerPublicKey;
    const nodes = view.list('node');
    const missing = nodes.filter(({ description }) => !isIssuedBy(description, wanted));
    const untold = missing.filter(({ wantedIssuer }) => wantedIssuer === undefined);
    const dueMs = rootRotation.toldAtMs + toldEveryMs;
    // Certificates of the root after next would have to be believed by an etcd that trusts the one before this.
    if (missing.length === 0 && rootCa.intermediates === undefined) next = finished(next, random);
    if (untold.length > 0 && nowMs >= dueMs)
      next = { ...next, rootRotation: { ...rootRotation, toldAtMs: nowMs } };
    const told = new Set(nowMs >= dueMs ? untold.slice(0, toldAtOnceMax) : []);
    // Who was told of a root that is not to be the next one any more would get certificates without end.
    for (const node of nodes)
      if (told.has(node) || (node.wantedIssuer !== undefined && node.wantedIssuer !== wanted))
        if (draft.fits(2)) draft.update('node', { ...node, wantedIssuer: wanted });
    if (untold.length > told.size) draft.wakeAt(told.size > 0 ? nowMs + toldEveryMs : dueMs);
  }
  if (next !== cluster && draft.fits(1)) draft.update('cluster', next);
  return draft.plan();
}

const isIssuedBy = (description: Node['description'], publicKey: string): boolean =>
  description?.tlsInfo.certIssuerPublicKey === publicKey;

/** Nodes have it all: the next root is the root. Tokens name the root that is to be trusted, so they change with it. */
function finished({ rootRotation, ...cluster }: Cluster, random: RandomSource): Cluster {
  if (!rootRotation) return cluster;
  const { certPem, keyPem, crossSigned } = rootRotation;
  const rootCa = { certPem, keyPem, ...(crossSigned !== undefined && { intermediates: [crossSigned] }) };
  if (certPem === cluster.rootCa.certPem) return { ...cluster, rootCa };
  return {
    ...cluster,
    rootCa,
    joinTokens: { worker: newJoinToken(certPem, random), manager: newJoinToken(certPem, random) },
  };
}

function withoutIntermediates(cluster: Cluster): Cluster {
  const { intermediates, ...rootCa } = cluster.rootCa;
  return intermediates === undefined ? cluster : { ...cluster, rootCa };
}
