/**
 * What a node is in its cluster, kept under `<state>/swarm/certificates` in Swarm's file names. Key and certificate
 * are one file, so that a crash cannot leave a certificate beside another's key; the separate files are for etcd,
 * which wants each in its own, and are written from the one.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { OutsideError } from '../../model/errors.js';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import { identityOfCertificate, verifyIssued } from './certificates.js';
import type { PeerIdentity } from './certificates.js';
import { isSelfSigned } from './chain.js';

export interface NodeIdentity extends PeerIdentity {
  /** The node's certificate, then CA certificates that go with it. */
  readonly certPem: string;
  /** PKCS#8. */
  readonly keyPem: string;
  /** Every root that it trusts. */
  readonly rootPem: string;
}

export interface IdentityFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly rootFile: string;
}

const identityFile = 'swarm-node.pem';

/** Where {@link saveIdentity} puts the parts; for programs that take files. */
export const identityFiles = (directory: string): IdentityFiles => ({
  certFile: join(directory, 'swarm-node.crt'),
  keyFile: join(directory, 'swarm-node.key'),
  rootFile: join(directory, 'swarm-root-ca.crt'),
});

/** `<state>/swarm/certificates`. */
export const certificatesDirectory = (stateDir: string): string => join(stateDir, 'swarm', 'certificates');

/** The identity in PEM: reads from the certificate who it is for, and checks that all three belong together. */
export function identityFromPem(certPem: string, keyPem: string, rootPem: string): NodeIdentity {
  verifyIssued(rootPem, certPem, keyPem);
  const identity = identityOfCertificate(certPem);
  if (!identity) throw new OutsideError('the certificate is not one of a swarm node', false);
  return { ...identity, certPem, keyPem, rootPem };
}

/** Files of 0600 in a directory of 0700, each replaced whole. */
export async function saveIdentity(directory: string, identity: NodeIdentity): Promise<void> {
  const { certPem, keyPem, rootPem } = identity;
  const { certFile, keyFile, rootFile } = identityFiles(directory);
  // The order in which a reader splits them: key, node certificate and what goes with it, roots.
  await writeFileAtomic(join(directory, identityFile), [keyPem, certPem, rootPem].join(''));
  await writeFileAtomic(rootFile, rootPem);
  await writeFileAtomic(keyFile, keyPem);
  await writeFileAtomic(certFile, certPem);
}

/** Undefined if there is none. Throws OutsideError or SkepError for files that are not an identity. */
export async function loadIdentity(directory: string): Promise<NodeIdentity | undefined> {
  let text;
  try {
    text = await readFile(join(directory, identityFile), 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new OutsideError('the node identity cannot be read', false, { cause });
  }
  const [keyPem, ...pems] = text.match(/-----BEGIN [^-]+-----[^-]+-----END [^-]+-----\n/g) ?? [];
  const firstRoot = pems.findIndex((pem) => isSelfSigned(readableCertificate(pem)));
  if (keyPem === undefined || firstRoot < 1) throw damaged();
  return identityFromPem(
    pems.slice(0, firstRoot).join(''),
    readableKey(keyPem),
    pems.slice(firstRoot).join(''),
  );
}

/** Forgets the node's identity: leaving the cluster. */
export async function removeIdentity(directory: string): Promise<void> {
  const { certFile, keyFile, rootFile } = identityFiles(directory);
  for (const file of [join(directory, identityFile), keyFile, certFile, rootFile])
    await rm(file, { force: true });
}

function readableKey(keyPem: string): string {
  try {
    createPrivateKey(keyPem);
  } catch {
    // Without the cause, which could quote the file.
    throw new OutsideError('the node key cannot be read', false);
  }
  return keyPem;
}

function readableCertificate(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw damaged();
  }
}

const damaged = (): OutsideError => new OutsideError('the node identity file is damaged', false);
