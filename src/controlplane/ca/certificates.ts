/**
 * Certificates as Swarm makes them (semantics 5): ECDSA P-256, a root of 20 years, node certificates that say
 * cluster (O), role (OU) and node (CN), usable as server and client. Signs and reads; keeps nothing.
 */
import 'reflect-metadata'; // First: @peculiar/x509 needs it when it is loaded.
import { X509Certificate, createPrivateKey, createPublicKey, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { SkepError } from '../../model/errors.js';
import type { ClusterId, NodeId } from '../../model/ids.js';
import type { NodeRole, TlsInfo } from '../../model/objects.js';

x509.cryptoProvider.set(webcrypto);

/** Keys are PKCS#8 PEM, certificates PEM; both end with a newline. */
export interface KeyedCertificate {
  readonly certPem: string;
  readonly keyPem: string;
}

/** Who a node's certificate says it is. */
export interface PeerIdentity {
  readonly nodeId: NodeId;
  readonly role: NodeRole;
  readonly clusterId: ClusterId;
}

export interface Validity {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Name in the root's subject, and the name join and renewal clients expect of a manager. */
export const caName = 'swarm-ca';
/** Names that TLS clients expect: a manager's dispatcher, and its CA. */
export const managerName = 'swarm-manager';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const hourMs = 3_600_000;
const rootValidityMs = 20 * 365 * 24 * hourMs;
/** Clocks of nodes may differ by as much. */
const backdateMs = hourMs;

/** A new root, valid from an hour ago for 20 years. */
export async function createRootCa(nowMs: number): Promise<KeyedCertificate> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: subject([['CN', caName]]),
    notBefore: new Date(nowMs - backdateMs),
    notAfter: new Date(nowMs + rootValidityMs),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certPem: pem(certificate), keyPem: await privateKeyPem(keys.privateKey) };
}

/** A new key and the request to certify it; the subject is left to the signer. */
export async function createCsr(): Promise<{ readonly csrPem: string; readonly keyPem: string }> {
  const keys = await newKeys();
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: subject([['CN', 'swarm-node']]),
    keys,
    signingAlgorithm: algorithm,
  });
  return { csrPem: `${csr.toString('pem')}\n`, keyPem: await privateKeyPem(keys.privateKey) };
}

export interface NodeCertificateRequest extends PeerIdentity {
  readonly rootCa: KeyedCertificate;
  readonly csrPem: string;
  readonly nowMs: number;
  /** From now on; the cluster's nodeCertExpiry. */
  readonly validMs: number;
  /** An address that a manager is reached at: etcd's members look for it in each other's certificate. */
  readonly address?: string;
}

/**
 * Certifies the key of a request, whose subject and extensions are ignored. Throws `invalidArgument` if the request
 * is malformed, not signed by its key, or its key is not ECDSA P-256.
 */
export async function issueNodeCertificate(request: NodeCertificateRequest): Promise<string> {
  const { rootCa, nodeId, role, clusterId, nowMs, validMs, address } = request;
  const publicKey = await verifiedKey(request.csrPem);
  const root = new x509.X509Certificate(rootCa.certPem);
  const unit = `swarm-${role}`;
  const names = [unit, nodeId, ...(role === 'manager' ? [caName] : [])];
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    issuer: root.subjectName,
    subject: subject([
      ['O', clusterId],
      ['OU', unit],
      ['CN', nodeId],
    ]),
    notBefore: new Date(nowMs - backdateMs),
    notAfter: new Date(nowMs + validMs),
    signingAlgorithm: algorithm,
    publicKey,
    signingKey: await signingKey(rootCa.keyPem),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment,
        true,
      ),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      new x509.SubjectAlternativeNameExtension([
        ...names.map((value) => ({ type: 'dns' as const, value })),
        ...(role === 'manager' && address !== undefined ? [{ type: 'ip' as const, value: address }] : []),
      ]),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(root),
    ],
  });
  return pem(certificate);
}

/** Reads who a certificate is for; undefined for one that no Swarm CA made. Says nothing of its being genuine. */
export function identityOfSubject(name: {
  readonly O?: string | string[] | undefined;
  readonly OU?: string | string[] | undefined;
  readonly CN?: string | string[] | undefined;
}): PeerIdentity | undefined {
  const { O, OU, CN } = name;
  if (typeof O !== 'string' || typeof CN !== 'string') return undefined;
  if (OU !== 'swarm-worker' && OU !== 'swarm-manager') return undefined;
  return {
    nodeId: CN as NodeId,
    role: OU === 'swarm-manager' ? 'manager' : 'worker',
    clusterId: O as ClusterId,
  };
}

/** As {@link identityOfSubject}, from PEM. */
export function identityOfCertificate(certPem: string): PeerIdentity | undefined {
  const { subjectName } = new x509.X509Certificate(certPem);
  const field = (name: string): string | string[] | undefined => {
    const values = subjectName.getField(name);
    return values.length === 1 ? values[0] : values;
  };
  return identityOfSubject({ O: field('O'), OU: field('OU'), CN: field('CN') });
}

export function validityOf(certPem: string): Validity {
  const { notBefore, notAfter } = new x509.X509Certificate(certPem);
  return { notBeforeMs: notBefore.getTime(), notAfterMs: notAfter.getTime() };
}

/** When to renew: at a moment drawn between 50 and 80 % of the validity. `draw` gives numbers from 0 up to 1. */
export function renewAtMs({ notBeforeMs, notAfterMs }: Validity, draw: () => number): number {
  return notBeforeMs + (notAfterMs - notBeforeMs) * (0.5 + 0.3 * draw());
}

/** Throws `unknown` unless the root signed the certificate and the certificate is for this key. */
export function verifyIssued(rootPem: string, certPem: string, keyPem: string): void {
  const certificate = new X509Certificate(certPem);
  const root = new X509Certificate(rootPem);
  if (!certificate.checkIssued(root) || !certificate.verify(root.publicKey))
    throw new SkepError('unknown', 'the certificate was not issued by the root CA of the cluster');
  if (!certificate.checkPrivateKey(createPrivateKey(keyPem)))
    throw new SkepError('unknown', 'the certificate was issued for another key');
}

/** The root as node descriptions and `docker swarm inspect` show it. */
export function tlsInfo(rootPem: string): TlsInfo {
  const root = new x509.X509Certificate(rootPem);
  const spki = createPublicKey(rootPem).export({ type: 'spki', format: 'der' });
  return {
    trustRoot: rootPem,
    certIssuerSubject: Buffer.from(root.subjectName.toArrayBuffer()).toString('base64'),
    certIssuerPublicKey: spki.toString('base64'),
  };
}

async function verifiedKey(csrPem: string): Promise<webcrypto.CryptoKey> {
  const malformed = (cause?: unknown): SkepError =>
    new SkepError('invalidArgument', 'the certificate request is not valid', { cause });
  let csr;
  try {
    csr = new x509.Pkcs10CertificateRequest(csrPem);
    // The key is P-256 or this import fails.
    const key = (await csr.publicKey.export(algorithm, ['verify'])) as webcrypto.CryptoKey;
    if (!(await csr.verify())) throw malformed();
    return key;
  } catch (err) {
    throw err instanceof SkepError ? err : malformed(err);
  }
}

const newKeys = (): Promise<webcrypto.CryptoKeyPair> =>
  webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);

const signingKey = (keyPem: string): Promise<webcrypto.CryptoKey> =>
  webcrypto.subtle.importKey(
    'pkcs8',
    createPrivateKey(keyPem).export({ type: 'pkcs8', format: 'der' }),
    algorithm,
    false,
    ['sign'],
  );

const privateKeyPem = async (key: webcrypto.CryptoKey): Promise<string> => {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  return createPrivateKey({ key: der, type: 'pkcs8', format: 'der' })
    .export({ type: 'pkcs8', format: 'pem' })
    .toString();
};

const pem = (certificate: x509.X509Certificate): string => `${certificate.toString('pem')}\n`;

const subject = (parts: ReadonlyArray<readonly [name: string, value: string]>): x509.Name =>
  new x509.Name(parts.map(([name, value]) => ({ [name]: [value] })));

/** 127 random bits: positive, as RFC 5280 asks, and never used twice. */
function serialNumber(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString('hex');
}
