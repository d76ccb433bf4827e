/**
 * How a host gets a certificate: the first with a join token, later ones with the certificate it has, expired or not. The root comes
 * from a stranger and is believed only after the token's digest proved it; the token is sent only after that.
 */
import { OutsideError } from '../../model/errors.js';
import { caName, createCsr, csrForKey, validityOf } from '../ca/certificates.js';
import { joiningClientSecurity, nodeClientSecurity, unverifiedClientSecurity } from '../ca/credentials.js';
import type { ClientSecurity } from '../ca/credentials.js';
import { parseJoinToken, verifyRootDigest } from '../ca/join-token.js';
import { identityFromPem } from '../ca/node-identity.js';
import type { NodeIdentity } from '../ca/node-identity.js';
import { NodeCaClient } from '../rpc/clients.js';
import { lockOf } from './keyring.js';
import type { Lock } from './keyring.js';
import { firstThatAnswers } from './ask-managers.js';

export interface FirstCertificateRequest {
  /** Managers to ask, `host:port`. */
  readonly remotes: readonly string[];
  readonly joinToken: string;
  readonly availability: string;
  /** Where others reach this host, without port. */
  readonly address: string;
}

/** What a manager certified, and for a manager the lock of the cluster. */
export interface Certified {
  readonly identity: NodeIdentity;
  readonly lock: Lock | undefined;
}

/**
 * A new node's identity, and the manager that gave it. Refusals are the manager's; when none answers, a retryable
 * OutsideError.
 */
export async function requestFirstCertificate(
  request: FirstCertificateRequest,
): Promise<Certified & { readonly remote: string }> {
  const token = parseJoinToken(request.joinToken);
  return firstThatAnswers(request.remotes, async (remote) => {
    const { certificatePem: rootPem } = await withCa(remote, unverifiedClientSecurity(), (ca) =>
      ca.getRootCaCertificate(),
    );
    verifyRootDigest(token, rootPem);
    const { csrPem, keyPem } = await createCsr();
    const reply = await withCa(remote, joiningClientSecurity(rootPem), (ca) =>
      ca.issueNodeCertificate({
        csrPem,
        token: request.joinToken,
        availability: request.availability,
        address: request.address,
        certificatePem: '',
      }),
    );
    const identity = identityFromPem(reply.certificatePem, keyPem, reply.trustPem);
    if (identity.nodeId !== reply.nodeId || identity.role !== reply.role)
      throw new OutsideError('the manager issued a certificate for another node', false);
    return { identity, lock: lockOf(reply.lock), remote };
  });
}

/**
 * A new certificate and key for the same node; refusals and failures as above. With one that has expired, which TLS would take
 * for none, the node asks for another one of the same key first.
 */
export async function requestRenewal(
  present: NodeIdentity,
  managers: readonly string[],
  address: string,
): Promise<Certified> {
  const ask = async (
    security: ClientSecurity,
    { csrPem, keyPem }: { readonly csrPem: string; readonly keyPem: string },
    certificatePem = '',
  ): Promise<Certified> => {
    const request = { csrPem, certificatePem, address, token: '', availability: '' };
    const reply = await firstThatAnswers(managers, (addr) =>
      withCa(addr, security, (ca) => ca.issueNodeCertificate(request)),
    );
    const identity = identityFromPem(reply.certificatePem, keyPem, reply.trustPem);
    return { identity, lock: lockOf(reply.lock) };
  };
  const { certPem, keyPem, rootPem } = present;
  const valid =
    validityOf(certPem).notAfterMs > Date.now()
      ? present
      : (await ask(joiningClientSecurity(rootPem), { csrPem: await csrForKey(keyPem), keyPem }, certPem))
          .identity;
  return ask(nodeClientSecurity(valid, caName), await createCsr());
}

async function withCa<T>(
  address: string,
  { credentials, options }: ClientSecurity,
  ask: (ca: NodeCaClient) => Promise<T>,
): Promise<T> {
  const ca = new NodeCaClient(address, credentials, options);
  try {
    return await ask(ca);
  } finally {
    ca.close();
  }
}
