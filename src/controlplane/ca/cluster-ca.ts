/** What a manager does with the cluster's roots: who calls it, the certificates that nodes are given, and how roots change. */
import { isDeepStrictEqual } from 'node:util';
import { OutsideError, SkepError } from '../../model/errors.js';
import type { Cluster, ExternalCa, RootKeys } from '../../model/objects.js';
import type { Clock } from '../../runtime/clock.js';
import {
  csrOfRoot,
  identityOfCertificate,
  issueNodeCertificate,
  namesOf,
  shownIdentity,
  unitOf,
} from './certificates.js';
import type { NodeCertificateRequest, PeerIdentity } from './certificates.js';
import { certificatesOf, issuerAmong, normalizedPem } from './chain.js';
import { peerOf } from './credentials.js';
import type { VerifiedPeer } from './credentials.js';
import { crossSignProfile, isReachable, signExternally } from './external-ca.js';
import type { NodeIdentity } from './node-identity.js';
import { changeRoots } from './root-change.js';
import type { RootRequest } from './root-change.js';
import { externalCasOf, intermediatesOf, signerOf, trustOf } from './root-trust.js';
import { TrustedCertificates } from './trusted-certificates.js';

/** Swarm's: 90 days. */
export const nodeCertExpiryNsDefault = 90 * 24 * 3600 * 1e9;
const nsPerMs = 1e6;

/** How long certificates are valid; 0 in the spec means the default. */
export const certificateMs = ({ spec }: { readonly spec: Partial<Cluster['spec']> }): number =>
  (spec.nodeCertExpiryNs || nodeCertExpiryNsDefault) / nsPerMs;

export type SigningRequest = Omit<NodeCertificateRequest, 'rootCa' | 'nowMs' | 'validMs'> & {
  readonly cluster: Pick<Cluster, 'rootCa' | 'rootRotation' | 'spec'>;
};

export interface ClusterCaOptions {
  readonly clock: Pick<Clock, 'nowMs'>;
  /** With which external CAs are called; absent: there are none. */
  readonly identity?: () => NodeIdentity;
}

export class ClusterCa {
  readonly #trusted: TrustedCertificates;

  constructor(private readonly options: ClusterCaOptions) {
    this.#trusted = new TrustedCertificates(() => options.clock.nowMs());
  }

  readonly peerOf = (call: Parameters<typeof peerOf>[0]): VerifiedPeer | undefined => peerOf(call);

  readonly isTrusted = (certificate: Buffer, cluster: Cluster): boolean =>
    this.#trusted.has(certificate, cluster);

  readonly shownIdentity = (
    { csrPem, certificatePem }: { readonly csrPem: string; readonly certificatePem: string },
    cluster: Cluster,
  ): Promise<PeerIdentity | undefined> => shownIdentity(csrPem, certificatePem, trustOf(cluster));

  /** The certificate, then what goes with it. External CAs go before the cluster's own key, as in Swarm. */
  readonly issueCertificate = async ({ cluster, ...request }: SigningRequest): Promise<string> => {
    const external = externalCasOf(cluster);
    const rootCa = signerOf(cluster);
    if (external.length === 0 && rootCa.keyPem === '')
      throw new SkepError('unavailable', 'the root CA has no key here, and there is no external CA');
    const certificate =
      external.length > 0
        ? await this.#askExternal(external, rootCa, request)
        : await issueNodeCertificate({
            ...request,
            rootCa,
            nowMs: this.options.clock.nowMs(),
            validMs: certificateMs(cluster),
          });
    return [certificate, ...intermediatesOf(cluster)].join('');
  };

  /** What an update makes of the roots; see root-change.ts. */
  readonly changeRoots = (
    cluster: Pick<Cluster, 'rootCa' | 'rootRotation' | 'spec'>,
    wanted: RootRequest,
  ): Promise<Pick<Cluster, 'rootCa' | 'rootRotation'>> =>
    changeRoots(cluster, wanted, {
      external: {
        isReachable: (ca) => isReachable(ca, this.#keys()),
        crossSign: (ca, root) => this.#crossSignExternally(ca, cluster.rootCa.certPem, root),
      },
      nowMs: this.options.clock.nowMs(),
    });

  #keys(): NodeIdentity {
    const identity = this.options.identity?.();
    if (!identity)
      throw new OutsideError('external CAs are called with a certificate, and there is none', false);
    return identity;
  }

  /** The first that answers. What it signed must be what was asked for, of the root. */
  async #askExternal(
    external: readonly ExternalCa[],
    { certPem }: RootKeys,
    { csrPem, nodeId, role, clusterId, address }: Omit<SigningRequest, 'cluster'>,
  ): Promise<string> {
    const who: PeerIdentity = { nodeId, role, clusterId };
    const order = {
      certificate_request: csrPem,
      hosts: [...namesOf(who), ...(role === 'manager' && address !== undefined ? [address] : [])],
      subject: { CN: nodeId, names: [{ O: clusterId, OU: unitOf(role) }] },
    };
    let failure: unknown;
    for (const ca of external) {
      try {
        const signed = await signExternally(ca, order, this.#keys());
        const [leaf] = certificatesOf(signed);
        if (!leaf || !issuerAmong(leaf, certificatesOf(certPem)))
          throw new SkepError('unavailable', `external CA ${ca.url}: its certificate is not of the root CA`);
        const certificate = leaf.toString();
        const isSameKey = await shownIdentity(csrPem, certificate, certPem);
        if (!isSameKey || !isDeepStrictEqual(identityOfCertificate(certificate), who))
          throw new SkepError(
            'unavailable',
            `external CA ${ca.url}: its certificate is not the one asked for`,
          );
        return certificate;
      } catch (err) {
        failure = err;
      }
    }
    throw failure;
  }

  async #crossSignExternally(ca: ExternalCa, currentPem: string, root: RootKeys): Promise<string> {
    const order = { certificate_request: await csrOfRoot(root), profile: crossSignProfile };
    const signed = normalizedPem(await signExternally(ca, order, this.#keys()));
    const [certificate] = certificatesOf(signed);
    const [next] = certificatesOf(root.certPem);
    const spki = { type: 'spki', format: 'der' } as const;
    const isIt =
      certificate?.ca === true &&
      issuerAmong(certificate, certificatesOf(currentPem)) !== undefined &&
      certificate.subject === next?.subject &&
      certificate.publicKey.export(spki).equals(next.publicKey.export(spki));
    if (!isIt) throw new SkepError('unavailable', `external CA ${ca.url}: it did not cross-sign the root`);
    return signed;
  }
}
