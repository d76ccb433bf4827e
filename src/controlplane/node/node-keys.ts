/**
 * Everything secret that a node keeps, on its disk: its own key with certificate and root, and on a manager the cluster's data
 * key. Who else of the node needs one of them asks here; nobody else knows the files.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { OutsideError } from '../../model/errors.js';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import { identityFiles, loadIdentity, saveIdentity } from '../ca/node-identity.js';
import type { IdentityFiles, NodeIdentity } from '../ca/node-identity.js';
import type { DataKey } from '../store/seal.js';

export class NodeKeys {
  readonly #certificates: string;
  readonly #dataKeyFile: string;

  /** @param swarmDir everything of the swarm lies there and goes with it */
  constructor(swarmDir: string) {
    this.#certificates = join(swarmDir, 'certificates');
    this.#dataKeyFile = join(swarmDir, 'data-key.json');
  }

  /** Undefined on a node of no swarm. Throws OutsideError or SkepError for files that are not an identity. */
  identity(): Promise<NodeIdentity | undefined> {
    return loadIdentity(this.#certificates);
  }

  saveIdentity(identity: NodeIdentity): Promise<void> {
    return saveIdentity(this.#certificates, identity);
  }

  /** Where etcd finds the node's key and certificates. */
  get etcdFiles(): IdentityFiles {
    return identityFiles(this.#certificates);
  }

  /** Only a manager has it. Throws OutsideError where there is none. */
  async dataKey(): Promise<DataKey> {
    let text;
    try {
      text = await readFile(this.#dataKeyFile, 'utf8');
    } catch (cause) {
      throw new OutsideError('the data key of the cluster cannot be read', false, { cause });
    }
    const { id, key } = JSON.parse(text) as { id: number; key: string };
    return { id, key: Buffer.from(key, 'base64') };
  }

  /** It lies unwrapped. */
  saveDataKey({ id, key }: DataKey): Promise<void> {
    return writeFileAtomic(
      this.#dataKeyFile,
      JSON.stringify({ id, key: Buffer.from(key).toString('base64') }),
    );
  }

  forgetDataKey(): Promise<void> {
    return rm(this.#dataKeyFile, { force: true });
  }
}
