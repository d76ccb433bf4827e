/** A machine's memory for the files of tasks' secrets: it outlives the agent, and goes with the power. */
import type { PayloadFile, PayloadFiles } from '../../src/controlplane/agent/payload-files.js';
import { OutsideError } from '../../src/model/errors.js';
import type { TaskId } from '../../src/model/ids.js';
import type { Chance } from './chance.js';
import type { Process } from './time.js';

export class SimPayloadFiles {
  readonly #tasks = new Map<TaskId, readonly PayloadFile[]>();

  constructor(private readonly chance: Chance) {}

  /** By task. */
  get tasks(): ReadonlyMap<TaskId, readonly PayloadFile[]> {
    return this.#tasks;
  }

  reboot(): void {
    this.#tasks.clear();
  }

  /** As the agent of this process has them. */
  of(daemon: Process): PayloadFiles {
    const call = async <T>(work: () => T): Promise<T> => {
      await daemon.clock.sleep(this.chance.between(0.5, 5));
      if (this.chance.fault(0.01)) throw new OutsideError('no memory', true);
      return work();
    };
    return {
      directoryOf: (taskId) => `/tasks/${taskId}`,
      has: (taskId) => call(() => this.#tasks.has(taskId)),
      put: (taskId, files) => call(() => void this.#tasks.set(taskId, files)),
      remove: (taskId) => call(() => void this.#tasks.delete(taskId)),
      list: () => call(() => [...this.#tasks.keys()]),
    };
  }
}
