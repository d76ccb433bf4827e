/**
 * gRPC's view of certificates. Both sides trust the cluster's root alone, TLS 1.2 and up. A manager asks every caller
 * for its certificate and requires none, since a node that joins has none yet; who a call comes from is said by
 * {@link peerOf}, which knows verified callers only.
 *
 * On "ask, do not require" in grpc-js 1.14: `createSsl(…, false)` does not ask, so nobody would have a name;
 * `createSsl(…, true)` refuses whoever brings none. The base class takes Node's own TLS options, where the two are
 * separate, and swaps the certificate of a listening server, which renewal needs. A certificate that does not verify
 * (another cluster's, expired) then counts as none: grpc-js gives a certificate to handlers only if Node's TLS found
 * it authorized. Swarm ends such a connection; here every method but the open ones refuses it. A node whose certificate has
 * expired therefore proves who it is in what it asks for (node-ca.ts).
 */
import { constants } from 'node:crypto';
import type { SecureContextOptions } from 'node:tls';
import { createSecureContext } from 'node:tls';
import { ServerCredentials, credentials } from '@grpc/grpc-js';
import type { ChannelCredentials, ChannelOptions } from '@grpc/grpc-js';
import { caName, identityOfSubject, managerName } from './certificates.js';
import type { PeerIdentity } from './certificates.js';
import type { NodeIdentity } from './node-identity.js';

type Keys = Pick<NodeIdentity, 'certPem' | 'keyPem' | 'rootPem'>;

const minVersion = 'TLSv1.2';
/** Whoever takes longer is not going to. */
const handshakeMsMaxDefault = 10_000;

/** A manager's server side. One object for one `Server`; {@link renew} is for when the node's certificate changed. */
export class NodeServerCredentials extends ServerCredentials {
  /** @param handshakeMsMax for whoever connects */
  constructor(identity: Keys, handshakeMsMax = handshakeMsMaxDefault) {
    super(
      { requestCert: true, rejectUnauthorized: false, minVersion, handshakeTimeout: handshakeMsMax },
      contextOptions(identity),
    );
  }

  /** From the next connection on. */
  renew(identity: Keys): void {
    this.updateSecureContextOptions(contextOptions(identity));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

/** What a call to a manager needs: pass `options` to the client together with `credentials`. */
export interface ClientSecurity {
  readonly credentials: ChannelCredentials;
  readonly options: ChannelOptions;
}

/**
 * A node's client side. Managers are found by address and named by role, so the name to expect is not the address:
 * `swarm-manager` for the dispatcher, `swarm-ca` for the CA.
 */
export function nodeClientSecurity(
  identity: Keys,
  server: typeof managerName | typeof caName = managerName,
): ClientSecurity {
  const { certPem, keyPem, rootPem } = identity;
  const context = createSecureContext({ ca: rootPem, cert: certPem, key: keyPem, minVersion });
  return {
    credentials: credentials.createFromSecureContext(context),
    options: { 'grpc.ssl_target_name_override': server },
  };
}

/** For a node that has checked the root against its token and has no certificate yet. */
export const joiningClientSecurity = (rootPem: string): ClientSecurity => ({
  credentials: credentials.createFromSecureContext(createSecureContext({ ca: rootPem, minVersion })),
  options: { 'grpc.ssl_target_name_override': caName },
});

/**
 * Trusts anybody. Only for fetching the root certificate, whose digest the join token then proves; nothing secret may
 * be sent over it.
 */
export const unverifiedClientSecurity = (): ClientSecurity => ({
  credentials: credentials.createFromSecureContext(createSecureContext({ minVersion }), {
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
  }),
  options: { 'grpc.ssl_target_name_override': caName },
});

/** A caller by the certificate (DER) that it showed when it connected. */
export interface VerifiedPeer extends PeerIdentity {
  readonly certificate: Buffer;
}

/** The verified caller, or undefined if it showed no certificate or one that this cluster's root did not sign. */
export function peerOf(call: {
  getAuthContext(): { readonly sslPeerCertificate?: { readonly subject: object; readonly raw: Buffer } };
}): VerifiedPeer | undefined {
  const certificate = call.getAuthContext().sslPeerCertificate;
  const identity = certificate && identityOfSubject(certificate.subject);
  return identity && { ...identity, certificate: certificate.raw };
}

const contextOptions = ({ certPem, keyPem, rootPem }: Keys): SecureContextOptions => ({
  ca: rootPem,
  cert: certPem,
  key: keyPem,
  minVersion,
  // A resumed session would carry over a verdict made with the trust of then.
  secureOptions: constants.SSL_OP_NO_TICKET,
});
