/** What a manager does with the cluster's roots when nodes call: who they are, and the certificates they are given. */
import type { Cluster } from '../../model/objects.js';
import type { Clock } from '../../runtime/clock.js';
import { issueNodeCertificate, shownIdentity } from './certificates.js';
import type { NodeCertificateRequest, PeerIdentity } from './certificates.js';
import { peerOf } from './credentials.js';
import type { VerifiedPeer } from './credentials.js';
import { intermediatesOf, signerOf, trustOf } from './root-trust.js';
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

export class ClusterCa {
  readonly #trusted: TrustedCertificates;

  constructor(private readonly options: { readonly clock: Pick<Clock, 'nowMs'> }) {
    this.#trusted = new TrustedCertificates(() => options.clock.nowMs());
  }

  readonly peerOf = (call: Parameters<typeof peerOf>[0]): VerifiedPeer | undefined => peerOf(call);

  readonly isTrusted = (certificate: Buffer, cluster: Cluster): boolean =>
    this.#trusted.has(certificate, cluster);

  readonly shownIdentity = (
    { csrPem, certificatePem }: { readonly csrPem: string; readonly certificatePem: string },
    cluster: Cluster,
  ): Promise<PeerIdentity | undefined> => shownIdentity(csrPem, certificatePem, trustOf(cluster));

  /** The certificate, then what goes with it. */
  readonly issueCertificate = async ({ cluster, ...request }: SigningRequest): Promise<string> => {
    const certificate = await issueNodeCertificate({
      ...request,
      rootCa: signerOf(cluster),
      nowMs: this.options.clock.nowMs(),
      validMs: certificateMs(cluster),
    });
    return [certificate, ...intermediatesOf(cluster)].join('');
  };
}
