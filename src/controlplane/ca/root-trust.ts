/** What a cluster's roots come to: whom its nodes trust, and who signs their certificates. Pure. */
import type { Cluster, ExternalCa, RootKeys } from '../../model/objects.js';

type Roots = Pick<Cluster, 'rootCa' | 'rootRotation'>;

/** PEM of all roots that nodes trust: one, and during a rotation those that certificates may be of. */
export function trustOf({ rootCa, rootRotation }: Roots): string {
  const next = rootRotation ? [rootRotation.certPem, ...rootRotation.abandoned] : [];
  return [...new Set([rootCa.certPem, ...next])].join('');
}

/**
 * PEM of the roots that nodes are told to trust from now on; empty: as before. During a rotation they learn that with their new
 * certificates, one by one.
 */
export const trustToTell = (roots: Roots): string => (roots.rootRotation ? '' : trustOf(roots));

/** Whom new certificates are signed by. */
export const signerOf = ({ rootCa, rootRotation }: Roots): RootKeys => rootRotation ?? rootCa;

/** Who signs in place of the cluster's own key for that root. */
export const externalCasOf = (cluster: Roots & Pick<Cluster, 'spec'>): readonly ExternalCa[] => {
  const { certPem } = signerOf(cluster);
  return (cluster.spec.externalCas ?? []).filter(
    ({ caCert }) => (caCert === '' ? cluster.rootCa.certPem : caCert) === certPem,
  );
};

/** CA certificates that go with each of them, so that whoever trusts a root before believes it, too. */
export const intermediatesOf = ({ rootCa, rootRotation }: Roots): readonly string[] => [
  ...(rootRotation?.crossSigned === undefined ? [] : [rootRotation.crossSigned]),
  ...(rootCa.intermediates ?? []),
];

/** Also while managers' etcd still trust the root before. */
export const isRotating = ({ rootCa, rootRotation }: Roots): boolean =>
  rootRotation !== undefined || rootCa.intermediates !== undefined;
