/** The node's certificate that is in use: what its own server and its calls show. A renewed one is kept on disk before it is used. */
import { OutsideError } from '../../model/errors.js';
import { NodeServerCredentials, nodeClientSecurity } from '../ca/credentials.js';
import type { ClientSecurity } from '../ca/credentials.js';
import type { NodeIdentity } from '../ca/node-identity.js';
import { requestRenewal } from './certificate-request.js';
import type { RemoteManager } from './membership-file.js';
import type { NodeKeys } from './node-keys.js';

export class NodeCertificate {
  #identity: NodeIdentity | undefined;
  #client: ClientSecurity | undefined;
  #server: NodeServerCredentials | undefined;

  constructor(private readonly keys: Pick<NodeKeys, 'identity' | 'saveIdentity'>) {}

  /** As it was put last; that of the disk after a start. Throws OutsideError on a node that has none. */
  async identity(): Promise<NodeIdentity> {
    this.#identity ??= await this.keys.identity();
    if (!this.#identity) throw new OutsideError("the node's certificate is missing", false);
    return this.#identity;
  }

  /** From the next call, and the next connection to this node, on. */
  async put(identity: NodeIdentity): Promise<void> {
    await this.keys.saveIdentity(identity);
    this.#identity = identity;
    this.#client = undefined;
    this.#server?.renew(identity);
  }

  /** For calls to managers. Only once {@link identity} was asked for. */
  clientSecurity(): ClientSecurity {
    return (this.#client ??= nodeClientSecurity(this.#known()));
  }

  /** For one server of this manager, which follows what is put from now on. As {@link clientSecurity}. */
  serverCredentials(): NodeServerCredentials {
    return (this.#server = new NodeServerCredentials(this.#known()));
  }

  /** Gets a new one from a manager, for the role that the node has now, and puts it. */
  async renew(managers: readonly RemoteManager[], address: string): Promise<NodeIdentity> {
    const addresses = managers.map(({ addr }) => addr);
    const renewed = await requestRenewal(await this.identity(), addresses, address);
    await this.put(renewed);
    return renewed;
  }

  /** The node leaves its cluster. */
  forget(): void {
    this.#identity = undefined;
    this.#client = undefined;
    this.#server = undefined;
  }

  #known(): NodeIdentity {
    if (!this.#identity) throw new OutsideError("the node's certificate was not read yet", false);
    return this.#identity;
  }
}
