/** The roots that this manager's etcd trusts: a file of its own for each set of them, so that its name says what a running one read. */
import { readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import { trustName } from '../ca/etcd-trust.js';
import type { EtcdSupervisor } from '../etcd/supervisor.js';

type Running = Pick<EtcdSupervisor, 'trustFile'>;

const fileEnd = '.etcd-trust.crt';

export class EtcdTrust {
  readonly #directory: string;

  /** @param trusted PEM of the roots that the node trusts, as of now */
  constructor(
    swarmDir: string,
    private readonly trusted: () => string,
  ) {
    this.#directory = join(swarmDir, 'certificates');
  }

  /** For an etcd that is started now: it trusts whom the node does. @returns the file */
  async write(): Promise<string> {
    const roots = this.trusted();
    const file = join(this.#directory, trustName(roots) + fileEnd);
    await writeFileAtomic(file, roots);
    return file;
  }

  /** What one that runs trusts, by its name; empty where that is not known. */
  of({ trustFile }: Running): string {
    return trustFile.endsWith(fileEnd) ? basename(trustFile, fileEnd) : '';
  }

  /** Nobody starts with them any more. */
  async removeOthers({ trustFile }: Running): Promise<void> {
    for (const name of await readdir(this.#directory))
      if (name.endsWith(fileEnd) && name !== basename(trustFile))
        await rm(join(this.#directory, name), { force: true });
  }
}
