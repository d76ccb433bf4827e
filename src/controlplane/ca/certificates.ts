/**
 * Certificates as Swarm makes them (semantics 5): ECDSA P-256, a root of 20 years, node certificates that say
 * cluster (O), role (OU) and node (CN), usable as server and client. Signs and reads; keeps nothing.
 */
import 'reflect-metadata'; // First: @peculiar/x509 needs it when it is loaded.
import { createPrivateKey, createPublicKey, webcrypto } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { SkepError } from '../../model/errors.js';
import type { ClusterId, NodeId } from '../../model/ids.js';
import type { Cluster, NodeRole, TlsInfo } from '../../model/objects.js';
import { certificatesOf, issuerAmong, leadsTo } from './chain.js';
import { signerOf } from './root-trust.js';

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

/**
 * The key of a new root, certified by the root before it: with this certificate, what the new root signs is believed by who
 * trusts the old one alone. Valid for as long as both are.
 */
export async function crossSign(before: KeyedCertificate, nextPem: string, nowMs: number): Promise<string> {
  const [old, next] = [new x509.X509Certificate(before.certPem), new x509.X509Certificate(nextPem)];
  const { key, algorithm: signingAlgorithm } = await signingKey(before.keyPem);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    issuer: old.subjectName,
    subject: next.subjectName,
    notBefore: new Date(nowMs - backdateMs),
    notAfter: new Date(Math.min(old.notAfter.getTime(), next.notAfter.getTime())),
    signingAlgorithm,
    publicKey: next.publicKey,
    signingKey: key,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      new x509.SubjectKeyIdentifierExtension(await keyIdentifier(next)),
      new x509.AuthorityKeyIdentifierExtension(await keyIdentifier(old)),
    ],
  });
  return pem(certificate);
}

/** A new key and the request to certify it; the subject is left to the signer. */
export async function createCsr(): Promise<{ readonly csrPem: string; readonly keyPem: string }> {
  const keys = await newKeys();
  return { csrPem: await csrOf(keys), keyPem: await privateKeyPem(keys.privateKey) };
}

/** A request for a key that a node has already: to prove that it has it. */
export async function csrForKey(keyPem: string): Promise<string> {
  const der = createPrivateKey(keyPem).export({ type: 'pkcs8', format: 'der' });
  const spki = createPublicKey(keyPem).export({ type: 'spki', format: 'der' });
  const { subtle } = webcrypto;
  return csrOf({
    privateKey: await subtle.importKey('pkcs8', der, algorithm, false, ['sign']),
    publicKey: await subtle.importKey('spki', spki, algorithm, true, ['verify']),
  });
}

/** A request for a certificate of a root's own key and name, for an external CA to cross-sign. */
export async function csrOfRoot({ certPem, keyPem }: KeyedCertificate): Promise<string> {
  const root = new x509.X509Certificate(certPem);
  const { key: privateKey, algorithm: signingAlgorithm } = await signingKey(keyPem);
  const spki = createPublicKey(keyPem).export({ type: 'spki', format: 'der' });
  const publicKey = await webcrypto.subtle.importKey('spki', spki, signingAlgorithm, true, ['verify']);
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: root.subjectName.toString(),
    keys: { privateKey, publicKey },
    signingAlgorithm,
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  return `${csr.toString('pem')}\n`;
}

async function csrOf(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: subject([['CN', 'swarm-node']]),
    keys,
    signingAlgorithm: algorithm,
  });
  return `${csr.toString('pem')}\n`;
}

/**
 * Who asks with a request for the key of the first certificate in `chainPem`, which one of the roots signed once: expired ones
 * count. Undefined where anything of that does not hold.
 */
export async function shownIdentity(
  csrPem: string,
  chainPem: string,
  rootsPem: string,
): Promise<PeerIdentity | undefined> {
  try {
    const chain = certificatesOf(chainPem);
    const [leaf] = chain;
    if (!leaf || !leadsTo(chain, certificatesOf(rootsPem))) return undefined;
    await verifiedKey(csrPem);
    const asked = Buffer.from(new x509.Pkcs10CertificateRequest(csrPem).publicKey.rawData);
    if (!asked.equals(leaf.publicKey.export({ type: 'spki', format: 'der' }))) return undefined;
    return identityOfCertificate(leaf.toString());
  } catch {
    return undefined;
  }
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
  const { key, algorithm: signingAlgorithm } = await signingKey(rootCa.keyPem);
  const unit = unitOf(role);
  const names = namesOf(request);
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
    signingAlgorithm,
    publicKey,
    signingKey: key,
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
      new x509.AuthorityKeyIdentifierExtension(await keyIdentifier(root)),
    ],
  });
  return pem(certificate);
}

/** Of the subject. */
export const unitOf = (role: NodeRole): string => `swarm-${role}`;

/** The names that a node is called by. */
export const namesOf = ({ role, nodeId }: Pick<PeerIdentity, 'role' | 'nodeId'>): readonly string[] => [
  unitOf(role),
  nodeId,
  ...(role === 'manager' ? [caName] : []),
];

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

/**
 * Throws `unknown` unless the first certificate leads to one of the roots and is for this key.
 * @param chainPem the node's certificate, then what goes with it
 */
export function verifyIssued(rootsPem: string, chainPem: string, keyPem: string): void {
  const chain = certificatesOf(chainPem);
  const [certificate] = chain;
  if (!certificate || !leadsTo(chain, certificatesOf(rootsPem)))
    throw new SkepError('unknown', 'the certificate was not issued by the root CA of the cluster');
  if (!certificate.checkPrivateKey(createPrivateKey(keyPem)))
    throw new SkepError('unknown', 'the certificate was issued for another key');
}

/** A node's trust and the CA that signed its certificate, as it describes itself; the latter is empty where it is not known. */
export function tlsInfoOf({
  certPem,
  rootPem,
}: {
  readonly certPem: string;
  readonly rootPem: string;
}): TlsInfo {
  const [leaf, ...intermediates] = certificatesOf(certPem);
  const issuer = leaf && issuerAmong(leaf, [...certificatesOf(rootPem), ...intermediates]);
  return { trustRoot: rootPem, ...(issuer ? issuerInfo(issuer.toString()) : noIssuer) };
}

const noIssuer = { certIssuerSubject: '', certIssuerPublicKey: '' };

/** A CA as nodes and `docker swarm inspect` name it. */
export function issuerInfo(caPem: string): Omit<TlsInfo, 'trustRoot'> {
  const spki = createPublicKey(caPem).export({ type: 'spki', format: 'der' });
  return {
    certIssuerSubject: Buffer.from(new x509.X509Certificate(caPem).subjectName.toArrayBuffer()).toString(
      'base64',
    ),
    certIssuerPublicKey: spki.toString('base64'),
  };
}

/** The same of a cluster: whom its nodes trust, and whose certificates they are to have. */
export const clusterTlsInfo = (cluster: Pick<Cluster, 'rootCa' | 'rootRotation'>): TlsInfo => ({
  trustRoot: cluster.rootCa.certPem,
  ...issuerInfo(signerOf(cluster).certPem),
});

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

/** A root's key, which may be a user's own: ECDSA of the two usual curves, or RSA. */
async function signingKey(
  keyPem: string,
): Promise<{ readonly key: webcrypto.CryptoKey; readonly algorithm: SigningAlgorithm }> {
  const privateKey = createPrivateKey(keyPem);
  const signing = signingAlgorithmOf(privateKey);
  if (!signing) throw new SkepError('invalidArgument', 'the key of the root CA is neither ECDSA nor RSA');
  const der = privateKey.export({ type: 'pkcs8', format: 'der' });
  const key = await webcrypto.subtle.importKey('pkcs8', der, signing, false, ['sign']);
  return { key, algorithm: signing };
}

interface SigningAlgorithm {
  readonly name: string;
  readonly hash: string;
  readonly namedCurve?: string;
}

/** How many CAs may stand between this CA and a node's certificate; undefined: any number (RFC 5280, 4.2.1.9). */
export const pathLengthOf = (certPem: string): number | undefined =>
  new x509.X509Certificate(certPem).getExtension(x509.BasicConstraintsExtension)?.pathLength;

/** Undefined for a key that no root here has. */
export function signingAlgorithmOf({
  asymmetricKeyType,
  asymmetricKeyDetails,
}: KeyObject): SigningAlgorithm | undefined {
  if (asymmetricKeyType === 'rsa') return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  switch (asymmetricKeyDetails?.namedCurve) {
    case 'prime256v1':
      return algorithm;
    case 'secp384r1':
      return { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' };
    default:
      return undefined;
  }
}

/** As the certificate names its key; a user's own root may do it in its own way, or not at all. */
async function keyIdentifier(certificate: x509.X509Certificate): Promise<string> {
  const named = certificate.getExtension(x509.SubjectKeyIdentifierExtension);
  return named?.keyId ?? (await x509.SubjectKeyIdentifierExtension.create(certificate.publicKey)).keyId;
}

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
