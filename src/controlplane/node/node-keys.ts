/**
 * Everything secret that a node keeps on its disk, in one file that is replaced whole, `<state>/swarm/keyring.json`: its own key
 * with certificate and root, the cluster's data key on a manager, and a key for what the node alone writes. A manager of an
 * autolocked cluster has it sealed under the unlock key; a worker's is never sealed.
 *
 * Must stay true: what is to be sealed is not written in clear before; the unlock key is never written; whoever stops to be a
 * manager keeps no data key. Memory holds what {@link open} or {@link unlock} have read, until {@link forget}.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { OutsideError, SkepError } from '../../model/errors.js';
import { besideOf, writeFileAtomic } from '../../runtime/atomic-file.js';
import type { NodeIdentity } from '../ca/node-identity.js';
import type { DataKey } from '../store/seal.js';
import { TurnQueue } from '../store/turn-queue.js';
import { formatKeyring, isLocked, newLocalKey, parseKeyring, sameLock } from './keyring.js';
import type { Keyring, Lock, LockedKeyring } from './keyring.js';

export class NodeKeys {
  readonly #path: string;
  readonly #turns = new TurnQueue();
  #keyring: Keyring | undefined;
  /** What the file is sealed under. */
  #lock: Lock | undefined;
  #locked: LockedKeyring | undefined;

  /** @param swarmDir everything of the swarm lies there and goes with it */
  constructor(swarmDir: string) {
    this.#path = join(swarmDir, 'keyring.json');
  }

  /** Reads the disk. @returns false: the unlock key is needed. Throws OutsideError for a file that is no keyring, or none. */
  async open(): Promise<boolean> {
    // What a power cut has left of a file that was being written; it may be in clear.
    await rm(besideOf(this.#path), { force: true });
    let text;
    try {
      text = await readFile(this.#path, 'utf8');
    } catch (cause) {
      throw new OutsideError(`the node's keyring ${this.#path} cannot be read`, false, { cause });
    }
    const read = parseKeyring(text);
    this.forget();
    if (isLocked(read)) this.#locked = read;
    else this.#keyring = read;
    return !isLocked(read);
  }

  /** After {@link open} said that it is needed. Throws `unauthenticated` for a wrong key. */
  unlock(key: Uint8Array): void {
    if (!this.#locked) throw new SkepError('alreadyExists', 'swarm is not locked');
    const { version } = this.#locked;
    this.#keyring = this.#locked.open(key);
    this.#lock = { version, key };
    this.#locked = undefined;
  }

  /** Undefined on a node of no swarm, and on a locked one. */
  get identity(): NodeIdentity | undefined {
    return this.#keyring?.identity;
  }

  /** Throws OutsideError where there is none: on a node that is no manager (yet). */
  get dataKey(): DataKey {
    const dataKey = this.#keyring?.dataKey;
    if (!dataKey) throw new OutsideError('this node has no data key of the cluster', true);
    return dataKey;
  }

  get hasDataKey(): boolean {
    return this.#keyring?.dataKey !== undefined;
  }

  get localKey(): Uint8Array {
    return this.#held().localKey;
  }

  /** A new keyring, of the node that founds a cluster. */
  found(identity: NodeIdentity, dataKey: DataKey, lock: Lock | undefined): Promise<void> {
    return this.#turns.run(() => this.#write({ identity, dataKey, localKey: newLocalKey() }, lock));
  }

  /**
   * A first certificate, or a new one. With that of a worker all goes that managers have.
   * @param lock of the cluster, for who becomes a manager with it; a manager follows what the store says (see {@link follow})
   */
  saveIdentity(identity: NodeIdentity, lock: Lock | undefined): Promise<void> {
    return this.#turns.run(() => {
      const { localKey = newLocalKey(), dataKey, identity: former } = this.#keyring ?? {};
      if (identity.role === 'worker') return this.#write({ identity, localKey }, undefined);
      const keyring = { identity, localKey, ...(dataKey && { dataKey }) };
      return this.#write(keyring, former?.role === 'manager' ? this.#lock : lock);
    });
  }

  saveDataKey(dataKey: DataKey): Promise<void> {
    return this.#turns.run(() => this.#write({ ...this.#held(), dataKey }, this.#lock));
  }

  /** The cluster's lock as it is now: seals, seals anew or unseals, if this is a manager. */
  follow(lock: Lock | undefined): Promise<void> {
    return this.#turns.run(async () => {
      const keyring = this.#keyring;
      if (keyring?.identity.role !== 'manager' || sameLock(lock, this.#lock)) return;
      await this.#write(keyring, lock);
    });
  }

  /** From memory; the disk is emptied by whoever wipes the swarm's directory. */
  forget(): void {
    this.#keyring = this.#lock = this.#locked = undefined;
  }

  #held(): Keyring {
    if (!this.#keyring) throw new OutsideError("the node's keyring was not read yet", false);
    return this.#keyring;
  }

  async #write(keyring: Keyring, lock: Lock | undefined): Promise<void> {
    await writeFileAtomic(this.#path, formatKeyring(keyring, lock));
    this.#keyring = keyring;
    this.#lock = lock;
  }
}
