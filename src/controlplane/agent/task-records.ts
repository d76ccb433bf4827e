/**
 * What this node remembers of its tasks, in `<state>/swarm/tasks.sealed`: enough to go on with them when it starts and no manager
 * answers. Swarm's agent keeps as much; unlike it, this one starts again what a reboot has ended.
 *
 * Must stay true: it is sealed under a key of this node, for specs hold secrets, and a registry's credentials are not even in it; it says what was, never what is to be, so whatever a manager says later counts. A file that is damaged or of
 * another node counts as none. Cost: one write for any number of changes that come while one is under way.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { NodeId, TaskId } from '../../model/ids.js';
import type { Task } from '../../model/objects.js';
import { compareStates, isTerminal } from '../../model/task-state.js';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import type { Log } from '../../runtime/log.js';
import type { AssignmentItems } from '../rpc/assignment.js';
import type { TaskReport } from './task-runner.js';

export interface TaskRecord {
  /** The kernel's boot id at the time of writing. */
  readonly bootId: string;
  /** With their status as last reported. */
  readonly tasks: readonly Task[];
  /** The overlays that they are on. */
  readonly overlays: readonly AssignmentItems['overlay'][];
}

export interface TaskRecordsOptions {
  readonly swarmDir: string;
  readonly nodeId: NodeId;
  readonly bootId: string;
  readonly sealer: RecordSealer;
  /** By default this host's. */
  readonly files?: RecordFiles;
  readonly log: Log;
}

/** See store/seal.ts. Throws for what it has not sealed for that path. */
export interface RecordSealer {
  seal(path: string, plain: Uint8Array): Buffer;
  open(path: string, sealed: Buffer): Buffer;
}

/** Where records are kept. A file is either the old content or the new. */
export interface RecordFiles {
  read(path: string): Promise<string>;
  write(path: string, text: string): Promise<void>;
}

const hostFiles: RecordFiles = { read: (path) => readFile(path, 'utf8'), write: writeFileAtomic };

const formatVersion = 1;
/** What the sealed record is bound to. */
const sealedPath = 'tasks';

export class TaskRecords {
  readonly #path: string;
  readonly #files: RecordFiles;
  readonly #tasks = new Map<TaskId, Task>();
  #overlays: readonly AssignmentItems['overlay'][] = [];
  /** The tasks of the last {@link keep}, as they came; null before the first. */
  #given: readonly Task[] | null = null;
  #changed = false;
  #writing: Promise<void> | null = null;

  constructor(private readonly options: TaskRecordsOptions) {
    this.#path = join(options.swarmDir, 'tasks.sealed');
    this.#files = options.files ?? hostFiles;
  }

  /** What an earlier process of this node has written; null when there is nothing to go by. Its tasks are kept on. */
  async load(): Promise<TaskRecord | null> {
    const { nodeId, sealer, log } = this.options;
    try {
      const sealed = Buffer.from(await this.#files.read(this.#path), 'base64');
      const file = JSON.parse(sealer.open(sealedPath, sealed).toString()) as TaskRecord & {
        readonly formatVersion: number;
        readonly nodeId: string;
      };
      if (file.formatVersion !== formatVersion)
        throw new Error(`format ${file.formatVersion} is not understood`);
      if (file.nodeId !== nodeId) return null;
      for (const task of file.tasks) this.#tasks.set(task.id, task);
      this.#overlays = file.overlays;
      return { bootId: file.bootId, tasks: file.tasks, overlays: file.overlays };
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code !== 'ENOENT')
        log.error({ err, path: this.#path }, 'cannot read what this node had to do');
      return null;
    }
  }

  /** All tasks of this node from now on; of those known before, what they have reached here counts if it is more. */
  keep(tasks: readonly Task[], overlays: () => ReadonlyMap<string, AssignmentItems['overlay']>): void {
    const used = new Set(
      tasks.flatMap(({ networks }) => networks.map(({ networkId }) => networkId as string)),
    );
    const known = new Set(this.#overlays.map(({ id }) => id));
    // Most of what a manager says is about other nodes' tasks.
    const given = this.#given;
    const isSame = tasks.length === given?.length && tasks.every((task, at) => task === given[at]);
    if (isSame && [...used].every((id) => known.has(id))) return;
    this.#given = tasks;
    const next = tasks.map((task): Task => {
      const held = this.#tasks.get(task.id);
      const further = held && compareStates(held.status.state, task.status.state) > 0;
      return withoutCredentials(further ? { ...task, status: held.status } : task);
    });
    this.#tasks.clear();
    for (const task of next) this.#tasks.set(task.id, task);
    this.#overlays = [...overlays().values()].filter(({ id }) => used.has(id));
    this.#write();
  }

  /** What a task is at. */
  note(taskId: TaskId, report: TaskReport): void {
    const held = this.#tasks.get(taskId);
    if (!held || compareStates(report.state, held.status.state) < 0) return;
    this.#tasks.set(taskId, { ...held, status: { ...report, appliedAtMs: held.status.appliedAtMs } });
    // Its message is not worth a write.
    if (report.state !== held.status.state) this.#write();
  }

  /** Resolves when nothing is left to be written. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#writing;
  }

  #write(): void {
    this.#changed = true;
    this.#writing ??= this.#writeChanges().finally(() => (this.#writing = null));
  }

  async #writeChanges(): Promise<void> {
    const { nodeId, bootId, sealer, log } = this.options;
    while (this.#changed) {
      this.#changed = false;
      const record = {
        formatVersion,
        nodeId,
        bootId,
        tasks: [...this.#tasks.values()],
        overlays: this.#overlays,
      };
      try {
        const sealed = sealer.seal(sealedPath, Buffer.from(JSON.stringify(record)));
        await this.#files.write(this.#path, `${sealed.toString('base64')}\n`);
      } catch (err) {
        // The next change tries again; until then a restart knows what was written last.
        log.error({ err, path: this.#path }, 'cannot write what this node has to do');
      }
    }
  }
}

const withoutCredentials = (task: Task): Task => {
  const { registryAuth: _, ...container } = task.spec.container;
  return { ...task, spec: { ...task.spec, container } };
};

/** Whether a task whose process ended with the machine is to be started again: it ran, it is wanted, and its policy is not against it. */
export const outlivesReboot = ({ status, desiredState, spec }: Task): boolean =>
  compareStates(status.state, 'starting') >= 0 &&
  !isTerminal(status.state) &&
  desiredState === 'running' &&
  spec.restartPolicy?.condition !== 'none';
