/**
 * Which certificates are still good, asked on every call: a connection may outlast the certificate it was made with, and the root
 * that signed it. Signatures are checked once a certificate (about 0.1 ms); what they came to is remembered until the roots change.
 */
import { X509Certificate } from 'node:crypto';
import type { Cluster } from '../../model/objects.js';
import { certificatesOf, isValidAt, issuerAmong } from './chain.js';
import { trustOf } from './root-trust.js';

/** More nodes than a cluster has; beyond, all are checked anew. */
const rememberedMax = 10_000;

export class TrustedCertificates {
  /** By certificate; undefined: no root of the cluster signed it. */
  readonly #checked = new Map<string, X509Certificate | undefined>();
  #trust = '';

  constructor(private readonly nowMs: () => number) {}

  /** @param der of a certificate whose key its owner has shown to have */
  has(der: Buffer, cluster: Cluster): boolean {
    const trust = trustOf(cluster);
    if (trust !== this.#trust || this.#checked.size >= rememberedMax) this.#checked.clear();
    this.#trust = trust;
    const key = der.toString('latin1');
    if (!this.#checked.has(key)) {
      const certificate = new X509Certificate(der);
      this.#checked.set(key, issuerAmong(certificate, certificatesOf(trust)) && certificate);
    }
    const certificate = this.#checked.get(key);
    return certificate !== undefined && isValidAt(certificate, this.nowMs());
  }
}
