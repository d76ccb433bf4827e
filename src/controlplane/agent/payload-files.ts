/**
 * The files of tasks' secrets and configs on this host: a directory a task below `<run>/tasks`, in memory, whole or not there.
 * Containers get them bind-mounted; what is in them stays for as long as the task runs, over restarts of this daemon, and goes
 * with the task or with the machine's memory. Must stay true: on nothing but a tmpfs is any of them ever written.
 */
import { chmod, chown, mkdir, readdir, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { OutsideError, SkepError } from '../../model/errors.js';
import type { TaskId } from '../../model/ids.js';

/** One file. Its owner is as the container's users have it. */
export interface PayloadFile {
  /** In the task's directory: never a user's word. */
  readonly name: string;
  readonly data: Buffer;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** Where the host's ids of the containers' user and group 0 are. */
export interface ContainerRoot {
  readonly uid: number;
  readonly gid: number;
}

/** Throws `failedPrecondition` where there is no memory to write to, and a retryable OutsideError for a failure of the host. */
export interface PayloadFiles {
  directoryOf(taskId: TaskId): string;
  has(taskId: TaskId): Promise<boolean>;
  put(taskId: TaskId, files: readonly PayloadFile[], root: ContainerRoot): Promise<void>;
  /** Of a task that has none, too. */
  remove(taskId: TaskId): Promise<void>;
  /** Tasks that there are files of, whole or not. */
  list(): Promise<TaskId[]>;
}

/** linux/magic.h: TMPFS_MAGIC, RAMFS_MAGIC. */
const inMemory: readonly number[] = [0x01021994, 0x858458f6];
/** What is not whole yet. */
const beside = '.new';

export class HostPayloadFiles implements PayloadFiles {
  /** @param directory made when needed */
  constructor(private readonly directory: string) {}

  directoryOf(taskId: TaskId): string {
    return join(this.directory, taskId);
  }

  async has(taskId: TaskId): Promise<boolean> {
    return (await orAbsent(stat(this.directoryOf(taskId)))) !== undefined;
  }

  async put(taskId: TaskId, files: readonly PayloadFile[], root: ContainerRoot): Promise<void> {
    const making = this.directoryOf(taskId) + beside;
    await typed(async () => {
      // Others may pass through: a runtime in a user namespace looks the files up as nobody of this host.
      await mkdir(this.directory, { recursive: true, mode: 0o711 });
      const { type } = await statfs(this.directory);
      if (!inMemory.includes(type))
        throw new SkepError(
          'failedPrecondition',
          `secrets and configs are kept in memory only, and ${this.directory} is on a disk: mount a tmpfs there`,
        );
      await rm(making, { recursive: true, force: true });
      await mkdir(making, { mode: 0o700 });
      for (const { name, data, uid, gid, mode } of files) {
        const path = join(making, name);
        await writeFile(path, data, { mode: 0o600, flag: 'wx' });
        await chown(path, root.uid + uid, root.gid + gid);
        await chmod(path, mode & 0o777);
      }
      await chown(making, root.uid, root.gid);
      await rename(making, this.directoryOf(taskId));
    });
  }

  async remove(taskId: TaskId): Promise<void> {
    await typed(async () => {
      for (const path of [this.directoryOf(taskId), this.directoryOf(taskId) + beside])
        await rm(path, { recursive: true, force: true });
    });
  }

  async list(): Promise<TaskId[]> {
    const names = await typed(async () => (await orAbsent(readdir(this.directory))) ?? []);
    const ids = names.map((name) => (name.endsWith(beside) ? name.slice(0, -beside.length) : name));
    return [...new Set(ids)] as TaskId[];
  }
}

async function orAbsent<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw err;
  }
}

/** Memory that is full is free again some time. */
async function typed<T>(body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (err) {
    const { code, message } = err as NodeJS.ErrnoException;
    if (code === undefined) throw err;
    throw new OutsideError(`cannot keep the files of secrets and configs: ${message}`, true, { cause: err });
  }
}
