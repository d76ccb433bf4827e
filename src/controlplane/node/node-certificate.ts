/**
 * The node's certificate that is in use: what its own server, its calls and its etcd show. A renewed one is kept on disk before
 * it is used. etcd takes its key from a file: that lies where memory is, never on a disk, and is written anew at each start.
 * One change at a time; whoever has to do something about one is told of it.
 */
import { OutsideError } from '../../model/errors.js';
import type { TlsInfo } from '../../model/objects.js';
import { tlsInfoOf } from '../ca/certificates.js';
import { NodeServerCredentials, nodeClientSecurity } from '../ca/credentials.js';
import type { ClientSecurity } from '../ca/credentials.js';
import { identityFromPem, removeIdentityFiles, writeIdentityFiles } from '../ca/node-identity.js';
import type { IdentityFiles, NodeIdentity } from '../ca/node-identity.js';
import type { SessionMessage } from '../rpc/messages.js';
import { TurnQueue } from '../store/turn-queue.js';
import { requestRenewal } from './certificate-request.js';
import type { Lock } from './keyring.js';
import type { RemoteManager } from './membership-file.js';
import type { NodeKeys } from './node-keys.js';

export class NodeCertificate {
  #client: ClientSecurity | undefined;
  #server: NodeServerCredentials | undefined;
  #hasFiles = false;
  readonly #turns = new TurnQueue();
  readonly #listeners = new Set<() => void>();

  /** @param filesDir for etcd, on a tmpfs */
  constructor(
    private readonly keys: Pick<NodeKeys, 'identity' | 'saveIdentity'>,
    private readonly filesDir: string,
  ) {}

  /** As it was put last. Throws OutsideError on a node that has none, or is locked. */
  known(): NodeIdentity {
    const { identity } = this.keys;
    if (!identity) throw new OutsideError("the node's certificate is missing", false);
    return identity;
  }

  tlsInfo(): TlsInfo {
    return tlsInfoOf(this.known());
  }

  /** From the next call, and the next connection to this node, on. @param lock see NodeKeys */
  async put(identity: NodeIdentity, lock?: Lock): Promise<void> {
    await this.keys.saveIdentity(identity, lock);
    this.#client = undefined;
    this.#server?.renew(identity);
    if (this.#hasFiles) await writeIdentityFiles(this.filesDir, identity);
    for (const listener of this.#listeners) listener();
  }

  /** Calls `listener` after each change, until the result is called. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** For calls to managers. */
  clientSecurity(): ClientSecurity {
    return (this.#client ??= nodeClientSecurity(this.known()));
  }

  /** For one server of this manager, which follows what is put from now on. */
  serverCredentials(): NodeServerCredentials {
    return (this.#server = new NodeServerCredentials(this.known()));
  }

  /** For this manager's etcd; they follow what is put, until {@link removeFiles}. */
  async files(): Promise<IdentityFiles> {
    this.#hasFiles = true;
    return writeIdentityFiles(this.filesDir, this.known());
  }

  async removeFiles(): Promise<void> {
    this.#hasFiles = false;
    await removeIdentityFiles(this.filesDir);
  }

  /** Gets a new one from a manager, for the role that the node has now, and puts it. */
  renew(managers: readonly RemoteManager[], address: string): Promise<NodeIdentity> {
    return this.#turns.run(() => this.#renew(managers, address));
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
    return this.#turns.run(async () => {
      if (wantedIssuer !== '' && this.tlsInfo().certIssuerPublicKey !== wantedIssuer)
        await this.#renew(managers, address);
      const { certPem, keyPem, rootPem } = this.known();
      // Throws where the certificate is of none of them.
      if (rootCaPem !== '' && rootCaPem !== rootPem)
        await this.put(identityFromPem(certPem, keyPem, rootCaPem));
    });
  }

  /** The node leaves its cluster. */
  async forget(): Promise<void> {
    this.#client = undefined;
    this.#server = undefined;
    await this.removeFiles();
  }

  async #renew(managers: readonly RemoteManager[], address: string): Promise<NodeIdentity> {
    const addresses = managers.map(({ addr }) => addr);
    const { identity, lock } = await requestRenewal(this.known(), addresses, address);
    await this.put(identity, lock);
    return identity;
  }
}
