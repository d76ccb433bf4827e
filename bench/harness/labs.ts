/** Docker Swarm beside Skep: two labs of the same machines, kernel, engines and images. */
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { ManagedLab } from '../../test/support/managed-lab.js';
import type { Run } from './bench.js';

/** How a side-by-side pair is made. */
export interface PairOptions {
  /** Begins the labs' names. */
  readonly name: string;
  readonly nodes: number;
  /** The first so many nodes are managers. */
  readonly managers: number;
}

/** Both labs, a swarm of all nodes in each; down with the scope. */
export class LabPair implements AsyncDisposable {
  private constructor(
    readonly labs: readonly [skep: ManagedLab, swarm: ManagedLab],
    private readonly undo: AsyncDisposable,
  ) {}

  static async create({ kernel, progress }: Run, { name, nodes, managers }: PairOptions): Promise<LabPair> {
    await using undo = new CleanupStack();
    const make = async (by: ManagedLab['by']): Promise<ManagedLab> => {
      progress(`setting up ${nodes} nodes of ${by}`);
      const lab = undo.use(await ManagedLab.create(by, `${name}-${by}`, nodes, { kernel }));
      await lab.init(managers);
      return lab;
    };
    const labs = [await make('skep'), await make('swarm')] as const;
    return new LabPair(labs, undo.move());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve(this.undo[Symbol.asyncDispose]());
  }
}
