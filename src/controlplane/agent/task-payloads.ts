/**
 * A task's secrets and configs, from what the managers tell this node to files that its container can be given. They are in this
 * process' memory for as long as the managers say so, and in the task's files (payload-files.ts) until it has ended; nowhere else,
 * and not among what this node remembers on its disk (task-records.ts): after a reboot they come from a manager again.
 */
import { SkepError } from '../../model/errors.js';
import type { Task } from '../../model/objects.js';
import { targetPath } from '../../model/payloads.js';
import type { PayloadKind } from '../../model/payloads.js';
import type { PayloadReference } from '../../model/service-spec.js';
import { Waiters } from '../../runtime/waiters.js';
import type { Engine, EngineInfo } from '../dockerd/client.js';
import type { Assignments, PayloadItem } from '../rpc/assignment.js';
import { payloadKey } from '../rpc/assignment.js';
import type { TemplateNode } from '../template/container-template.js';
import { expandPayload } from '../template/payload-template.js';
import type { ContainerRoot, PayloadFile, PayloadFiles } from './payload-files.js';

/** Those of all tasks of this node, as its managers last said. */
export class NodePayloads {
  #assignments: Assignments | null = null;
  readonly #waiters = new Waiters();

  set(assignments: Assignments): void {
    this.#assignments = assignments;
    this.#waiters.check();
  }

  /** Resolves when a manager has said what there is. */
  told(signal: AbortSignal): Promise<void> {
    return this.#waiters.until(() => this.#assignments !== null, signal);
  }

  get(kind: PayloadKind, id: string): PayloadItem | undefined {
    return this.#assignments?.get(payloadKey(kind, id))?.item as PayloadItem | undefined;
  }
}

export interface PayloadParts {
  readonly engine: Pick<Engine, 'info'>;
  readonly payloads: Pick<NodePayloads, 'told' | 'get'>;
  readonly payloadFiles: PayloadFiles;
  readonly node: () => TemplateNode;
}

/** A file of this host, and where the container has it. */
export interface PayloadMount {
  readonly source: string;
  readonly target: string;
}

/** What the container is given, in the order of its spec. */
interface Given {
  readonly kind: PayloadKind;
  readonly reference: PayloadReference;
  /** Of its file. */
  readonly name: string;
}

export class TaskPayloads {
  readonly #given: readonly Given[];

  constructor(
    private readonly task: Task,
    private readonly parts: PayloadParts,
  ) {
    const { secrets = [], configs = [] } = task.spec.container;
    const given =
      (kind: PayloadKind) =>
      (reference: PayloadReference, index: number): Given => ({ kind, reference, name: `${kind}-${index}` });
    this.#given = [...secrets.map(given('secret')), ...configs.map(given('config'))];
  }

  mounts(): PayloadMount[] {
    const directory = this.parts.payloadFiles.directoryOf(this.task.id);
    return this.#given.map(({ kind, reference, name }) => ({
      source: `${directory}/${name}`,
      target: targetPath(kind, reference.file.name),
    }));
  }

  /**
   * The files are there afterwards: those of before, if there are such, for nothing of them changes while the task runs. Waits
   * until a manager has said what is in them. Throws `failedPrecondition` for what is not to be had, and `invalidArgument` for what cannot be
   * expanded.
   */
  async ensure(signal: AbortSignal): Promise<void> {
    const { payloads, payloadFiles, engine } = this.parts;
    const { id } = this.task;
    if (this.#given.length === 0 || (await payloadFiles.has(id))) return;
    await payloads.told(signal);
    const files = this.#given.map((given) => this.#file(given));
    await payloadFiles.put(id, files, containerRoot(await engine.info()));
  }

  async remove(): Promise<void> {
    if (this.#given.length > 0) await this.parts.payloadFiles.remove(this.task.id);
  }

  #file({ kind, reference, name }: Given): PayloadFile {
    const { uid, gid, mode } = reference.file;
    const item = this.#item(kind, reference);
    const data = expandPayload(kind, item, {
      task: this.task,
      node: this.parts.node(),
      dataOf: (of, target) => this.#dataOf(of, target),
    });
    return { name, data, uid: Number(uid), gid: Number(gid), mode };
  }

  #item(kind: PayloadKind, { id, name }: PayloadReference): PayloadItem {
    const item = this.parts.payloads.get(kind, id);
    if (!item)
      throw new SkepError(
        'failedPrecondition',
        `${kind} ${name} is gone, or more than this node can be told`,
      );
    return item;
  }

  /** By the name of its file, as the task is given it. */
  #dataOf(kind: PayloadKind, target: string): Buffer | undefined {
    const given = this.#given.find((each) => each.kind === kind && each.reference.file.name === target);
    return given && this.#item(kind, given.reference).data.reveal();
  }
}

/** With user namespaces the engine's directory says which ids they begin with: `…/100000.100000`. */
export function containerRoot({ SecurityOptions, DockerRootDir }: EngineInfo): ContainerRoot {
  const remaps = SecurityOptions?.some((option) => /(?:^|,)name=userns(?:,|$)/.test(option)) ?? false;
  const [, uid = '0', gid = '0'] = (remaps && /\/(\d+)\.(\d+)$/.exec(DockerRootDir ?? '')) || [];
  return { uid: Number(uid), gid: Number(gid) };
}
