/**
 * What a node is in its cluster: its key, its certificate and the root that it trusts. The files are for etcd alone, which wants
 * each in its own; whom it trusts is in another (node/etcd-trust-file.ts).
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { OutsideError } from '../../model/errors.js';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import { identityOfCertificate, verifyIssued } from './certificates.js';
import type { PeerIdentity } from './certificates.js';

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
}

/** The identity in PEM: reads from the certificate who it is for, and checks that all three belong together. */
export function identityFromPem(certPem: string, keyPem: string, rootPem: string): NodeIdentity {
  verifyIssued(rootPem, certPem, keyPem);
  const identity = identityOfCertificate(certPem);
  if (!identity) throw new OutsideError('the certificate is not one of a swarm node', false);
  return { ...identity, certPem, keyPem, rootPem };
}

/** Files of 0600 in a directory of 0700, in Swarm's names, each replaced whole. */
export async function writeIdentityFiles(directory: string, identity: NodeIdentity): Promise<IdentityFiles> {
  const files: IdentityFiles = {
    certFile: join(directory, 'swarm-node.crt'),
    keyFile: join(directory, 'swarm-node.key'),
  };
  await writeFileAtomic(files.keyFile, identity.keyPem);
  await writeFileAtomic(files.certFile, identity.certPem);
  return files;
}

export const removeIdentityFiles = (directory: string): Promise<void> =>
  rm(directory, { recursive: true, force: true });
