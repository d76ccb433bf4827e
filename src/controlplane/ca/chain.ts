/**
 * Chains of certificates: which root a certificate leads to. TLS checks what a peer shows when it connects; this is for all that
 * lies between: certificates at rest, those that have expired, and connections that have lasted longer than what they were
 * trusted for. Reads only.
 */
import { X509Certificate } from 'node:crypto';

/** Longer chains than a node certificate, two CA certificates and a root are nobody's here. */
const pathMax = 4;

/** The certificates of a PEM text in their order; throws for a damaged one. */
export const certificatesOf = (pem: string): readonly X509Certificate[] =>
  (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map(
    (block) => new X509Certificate(block),
  );

/** Whether there is what claims to be one, readable or not. */
export const hasCertificate = (pem: string): boolean => pem.includes('-----BEGIN CERTIFICATE-----');

/** As everybody writes them, each once: so that equal certificates are equal texts. */
export const normalizedPem = (...pems: readonly string[]): string =>
  [...new Set(pems.flatMap(certificatesOf).map(String))].join('');

/** The same, and the text as it is where it is not one of certificates. */
export function normalizedOrAsIs(pem: string): string {
  try {
    return normalizedPem(pem) || pem;
  } catch {
    return pem;
  }
}

export const isSelfSigned = (certificate: X509Certificate): boolean =>
  certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey);

/** The one of these that signed the certificate. */
export const issuerAmong = (
  certificate: X509Certificate,
  issuers: readonly X509Certificate[],
): X509Certificate | undefined =>
  issuers.find(
    (issuer) => issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey),
  );

/**
 * True when the first certificate leads to one of the roots, by way of those that come with it.
 * @param chain the certificate, then CA certificates that go with it
 * @param atMs when all of them but the root must be valid; absent: whenever
 */
export function leadsTo(
  [leaf, ...intermediates]: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  atMs?: number,
): boolean {
  for (let current = leaf, length = 1; current && length < pathMax; length++) {
    if (atMs !== undefined && !isValidAt(current, atMs)) return false;
    if (issuerAmong(current, roots)) return true;
    current = issuerAmong(current, intermediates);
  }
  return false;
}

export const isValidAt = (certificate: X509Certificate, atMs: number): boolean =>
  Date.parse(certificate.validFrom) <= atMs && atMs <= Date.parse(certificate.validTo);
