/**
 * Where a manager's etcd has its data, and what becomes of data that are lost. Must stay true: they are not removed before this
 * manager has all that the others have; until then they lie beside (`etcd.lost`), once.
 */
import { rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDirectory, writeFileAtomic } from '../../runtime/atomic-file.js';
import { hasLog } from '../etcd/data-directory.js';

export class StoreDirectory {
  /** etcd's data directory. */
  readonly path: string;
  readonly #beside: string;
  readonly #restoring: string;

  constructor(private readonly swarmDir: string) {
    this.path = join(swarmDir, 'etcd');
    this.#beside = join(swarmDir, 'etcd.lost');
    this.#restoring = join(swarmDir, 'etcd.restoring');
  }

  /** True when an etcd that was a member can be started here; what is left of one without its log cannot. */
  hasStore(): Promise<boolean> {
    return hasLog(this.path);
  }

  /** Makes room for another store. What lies beside already is what this manager had before it had anything of the others. */
  async setAside(): Promise<void> {
    if (await isThere(this.#beside)) await rm(this.path, { recursive: true, force: true });
    else if (await isThere(this.path)) await rename(this.path, this.#beside);
    else return;
    await syncDirectory(this.swarmDir);
  }

  /** From here on the store is one that is not whole yet. */
  async beginRestore(): Promise<void> {
    await this.setAside();
    await writeFileAtomic(this.#restoring, '');
  }

  /** It is whole. */
  async endRestore(): Promise<void> {
    await rm(this.#restoring, { force: true });
    await syncDirectory(this.swarmDir);
    await this.forget();
  }

  /** Has what was there before a restore that did not come to its end, if one did not. */
  async undoRestore(): Promise<void> {
    if (!(await isThere(this.#restoring))) return;
    await rm(this.path, { recursive: true, force: true });
    if (await isThere(this.#beside)) await rename(this.#beside, this.path);
    await rm(this.#restoring, { force: true });
  }

  /** Removes what lies beside. */
  async forget(): Promise<void> {
    await rm(this.#beside, { recursive: true, force: true });
  }

  /** Removes all there is. */
  async remove(): Promise<void> {
    await this.forget();
    await rm(this.path, { recursive: true, force: true });
  }
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
