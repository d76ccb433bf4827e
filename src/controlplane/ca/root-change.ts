/**
 * What an update of the swarm makes of its roots (semantics 12.4): nothing, the beginning of a rotation, another target for one, or
 * the way back. Everything is checked here, before anything is written; nothing is written here.
 */
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { controlApiError } from '../../model/errors.js';
import type { SkepError } from '../../model/errors.js';
import type { Cluster, ExternalCa, RootKeys, RootRotation } from '../../model/objects.js';
import { createRootCa, crossSign, pathLengthOf, signingAlgorithmOf } from './certificates.js';
import { certificatesOf, hasCertificate, isSelfSigned, normalizedPem } from './chain.js';

/** Of the spec that is to be. */
export interface RootRequest {
  /** PEM; empty: not given. */
  readonly signingCaCert: string;
  readonly signingCaKey: string;
  /** Their roots in normal form. */
  readonly externalCas: readonly ExternalCa[];
  readonly forceRotate: number;
}

export interface ExternalCas {
  isReachable(ca: ExternalCa): Promise<boolean>;
  /** The certificate of the root's key that the external CA signs. */
  crossSign(ca: ExternalCa, root: RootKeys): Promise<string>;
}

type Roots = Pick<Cluster, 'rootCa' | 'rootRotation'>;

const yearMs = 365 * 24 * 3_600_000;
/** Roots that may be given up one after another before nodes have left the first. */
const abandonedMax = 8;

const invalid = (message: string, cause?: unknown): SkepError =>
  Object.assign(controlApiError('invalidArgument', message), cause === undefined ? {} : { cause });
const noExternalCa = (which: string): SkepError =>
  invalid(
    `there must be at least one valid, reachable external CA corresponding to the ${which} CA certificate`,
  );

export async function changeRoots(
  cluster: Pick<Cluster, 'rootCa' | 'rootRotation' | 'spec'>,
  wanted: RootRequest,
  { external, nowMs }: { readonly external: ExternalCas; readonly nowMs: number },
): Promise<Roots> {
  const { rootCa, rootRotation } = cluster;
  // Text without a certificate in it counts as none, as in Swarm.
  if (wanted.signingCaKey !== '' && !hasCertificate(wanted.signingCaCert))
    throw invalid('if a signing CA key is provided, the signing CA cert must also be provided');
  const externalOf = (certPem: string): readonly ExternalCa[] =>
    wanted.externalCas.filter(({ caCert }) => (caCert === '' ? rootCa.certPem : caCert) === certPem);
  const requireExternal = async (certPem: string, which: string): Promise<void> => {
    for (const ca of externalOf(certPem)) if (await external.isReachable(ca)) return;
    throw noExternalCa(which);
  };
  if (rootCa.keyPem === '') await requireExternal(rootCa.certPem, 'current');

  if (wanted.signingCaCert === '') {
    if (wanted.forceRotate !== cluster.spec.forceRotate) return begin(await createRootCa(nowMs));
    if (rootRotation?.keyPem === '') await requireExternal(rootRotation.certPem, 'next');
    return roots(cluster);
  }
  const next = checkedRoot(wanted, nowMs);
  if (next.keyPem === '') await requireExternal(next.certPem, 'desired');
  if (next.certPem === rootCa.certPem) {
    const same = { ...rootCa, keyPem: next.keyPem };
    return rootRotation ? { rootCa: same, rootRotation: towards(next) } : { rootCa: same };
  }
  if (next.certPem === rootRotation?.certPem)
    return { rootCa, rootRotation: { ...rootRotation, keyPem: next.keyPem } };
  for (const known of [rootCa, rootRotation])
    if (known && isSameKey(known.certPem, next.certPem))
      throw invalid('Cannot update to a cert with an identical key');
  return begin(next);

  async function begin(root: RootKeys): Promise<Roots> {
    return { rootCa, rootRotation: { ...towards(root), crossSigned: await crossSigned(root) } };
  }

  function towards({ certPem, keyPem }: RootKeys): RootRotation {
    const before = rootRotation ? [...rootRotation.abandoned, rootRotation.certPem] : [];
    const abandoned = [...new Set(before)].filter((pem) => pem !== certPem && pem !== rootCa.certPem);
    if (abandoned.length > abandonedMax)
      throw controlApiError(
        'failedPrecondition',
        'too many root CAs were given up during this rotation: let nodes follow first',
      );
    return { certPem, keyPem, abandoned, toldAtMs: 0 };
  }

  async function crossSigned(root: RootKeys): Promise<string> {
    if (rootCa.keyPem !== '') return crossSign(rootCa, root.certPem, nowMs);
    if (root.keyPem === '')
      throw invalid('rotating from one external CA to a different external CA is not supported');
    const [first] = externalOf(rootCa.certPem);
    if (!first)
      throw invalid(
        'must provide an external CA for the current external root CA to generate a cross-signed certificate',
      );
    return normalizedPem(await external.crossSign(first, root));
  }
}

const roots = ({ rootCa, rootRotation }: Roots): Roots => ({
  rootCa,
  ...(rootRotation && { rootRotation }),
});

/** A user's own root, in the form in which it is trusted. */
function checkedRoot({ signingCaCert, signingCaKey }: RootRequest, nowMs: number): RootKeys {
  let certificates: readonly X509Certificate[];
  try {
    certificates = certificatesOf(signingCaCert);
  } catch (err) {
    throw invalid(`could not parse the desired CA certificate: ${(err as Error).message}`, err);
  }
  const [root, ...more] = certificates;
  if (!root) throw invalid('could not parse the desired CA certificate: no PEM certificate found');
  if (more.length > 0) throw invalid('the desired CA certificate cannot contain multiple certificates');
  if (!root.ca || !isSelfSigned(root))
    throw invalid('the desired CA certificate is not that of a root: a CA that has signed itself');
  if (signingAlgorithmOf(root.publicKey) === undefined)
    throw invalid('the key of the desired CA certificate is neither ECDSA (P-256, P-384) nor RSA');
  // The next rotation puts the CA that follows between this one and the nodes that have not followed yet.
  if (pathLengthOf(root.toString()) === 0)
    throw invalid(
      'the desired CA certificate allows no CA below it (path length 0): it could not be rotated',
    );
  if (Date.parse(root.validTo) < nowMs + yearMs) throw invalid('CA certificate expires too soon');
  return { certPem: root.toString(), keyPem: signingCaKey === '' ? '' : matchingKey(root, signingCaKey) };
}

/** As PKCS#8, whatever it came as. */
function matchingKey(root: X509Certificate, keyPem: string): string {
  let key;
  try {
    key = createPrivateKey(keyPem);
  } catch {
    // Without the cause, which could quote it.
    throw invalid('the signing CA key cannot be read');
  }
  if (!root.checkPrivateKey(key)) throw invalid('certificate key mismatch');
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

const isSameKey = (a: string, b: string): boolean => publicKeyOf(a).equals(publicKeyOf(b));
const publicKeyOf = (pem: string): Buffer =>
  new X509Certificate(pem).publicKey.export({ type: 'spki', format: 'der' });
