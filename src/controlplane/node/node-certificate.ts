/**
 * The node's certificate that is in use: what its own server and its calls show. A renewed one is kept on disk before it is used.
 * One change at a time; whoever has to do something about one is told of it.
 */
import { OutsideError } from '../../model/errors.js';
import type { TlsInfo } from '../../model/objects.js';
import { tlsInfoOf } from '../ca/certificates.js';
import { NodeServerCredentials, nodeClientSecurity } from '../ca/credentials.js';
import type { ClientSecurity } from '../ca/credentials.js';
import { identityFromPem } from '../ca/node-identity.js';
import type { NodeIdentity } from '../ca/node-identity.js';
import type { SessionMessage } from '../rpc/messages.js';
import { requestRenewal } from './certificate-request.js';
import type { RemoteManager } from './membership-file.js';
import type { NodeKeys } from './node-keys.js';

export class NodeCertificate {
  #identity: NodeIdentity | undefined;
  #client: ClientSecurity | undefined;
  #server: NodeServerCredentials | undefined;
  /** The newest change, after those before it. */
  #changing: Promise<unknown> = Promise.resolve();
  readonly #listeners = new Set<() => void>();

  constructor(private readonly keys: Pick<NodeKeys, 'identity' | 'saveIdentity'>) {}

  /** As it was put last; that of the disk after a start. Throws OutsideError on a node that has none. */
  async identity(): Promise<NodeIdentity> {
    this.#identity ??= await this.keys.identity();
    return this.known();
  }

  /** The same, once {@link identity} was asked for. */
  known(): NodeIdentity {
    if (!this.#identity) throw new OutsideError("the node's certificate is missing", false);
    return this.#identity;
  }

  tlsInfo(): TlsInfo {
    return tlsInfoOf(this.known());
  }

  /** From the next call, and the next connection to this node, on. */
  async put(identity: NodeIdentity): Promise<void> {
    await this.keys.saveIdentity(identity);
    this.#identity = identity;
    this.#client = undefined;
    this.#server?.renew(identity);
    for (const listener of this.#listeners) listener();
  }

  /** Calls `listener` after each change, until the result is called. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** For calls to managers. Only once {@link identity} was asked for. */
  clientSecurity(): ClientSecurity {
    return (this.#client ??= nodeClientSecurity(this.known()));
  }

  /** For one server of this manager, which follows what is put from now on. As {@link clientSecurity}. */
  serverCredentials(): NodeServerCredentials {
    return (this.#server = new NodeServerCredentials(this.known()));
  }

  /** Gets a new one from a manager, for the role that the node has now, and puts it. */
  renew(managers: readonly RemoteManager[], address: string): Promise<NodeIdentity> {
    return this.#inTurn(() => this.#renew(managers, address));
  }

  /**
   * Takes over what a manager says of roots: trusts those alone that the cluster does, and gets a certificate of the CA that it is
   * to be of.
   */
  follow(
    { rootCaPem, wantedIssuer }: Pick<SessionMessage, 'rootCaPem' | 'wantedIssuer'>,
    managers: readonly RemoteManager[],
    address: string,
  ): Promise<void> {
    return this.#inTurn(async () => {
      if (wantedIssuer !== '' && this.tlsInfo().certIssuerPublicKey !== wantedIssuer)
        await this.#renew(managers, address);
      const { certPem, keyPem, rootPem } = this.known();
      // Throws where the certificate is of none of them.
      if (rootCaPem !== '' && rootCaPem !== rootPem)
        await this.put(identityFromPem(certPem, keyPem, rootCaPem));
    });
  }

  async #renew(managers: readonly RemoteManager[], address: string): Promise<NodeIdentity> {
    const addresses = managers.map(({ addr }) => addr);
    const renewed = await requestRenewal(await this.identity(), addresses, address);
    await this.put(renewed);
    return renewed;
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const turn = this.#changing.then(change);
    this.#changing = turn.catch(() => undefined);
    return turn;
  }

  /** The node leaves its cluster. */
  forget(): void {
    this.#identity = undefined;
    this.#client = undefined;
    this.#server = undefined;
  }
}
