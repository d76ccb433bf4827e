/** Docker Swarm beside Skep: labs of the same machines, kernel, engines and images. */
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { ManagedLab } from '../../test/support/managed-lab.js';
import type { ManagedBy } from '../../test/support/managed-lab.js';
import type { Run } from './bench.js';
import { alternate } from './rounds.js';

/** How each is made. */
export interface LabOptions {
  readonly nodes: number;
  /** The first so many nodes are managers. */
  readonly managers: number;
}

/** Labs that are up, a swarm of all nodes in each; down with the scope. */
export interface Labs extends AsyncDisposable {
  readonly all: readonly ManagedLab[];
  /** Measures each in every round, see {@link alternate}. */
  readonly inTurns: (measure: (lab: ManagedLab, round: number) => Promise<void>) => Promise<void>;
}

/**
 * One lab for each contender, set up and up at the same time, on as many processors: what one waits for, another one uses.
 * scripts/bench.sh takes down, by their names, what a run leaves that is ended.
 */
export async function makeLabs(
  { name, kernel, rounds, progress }: Run,
  contenders: readonly ManagedBy[],
  { nodes, managers }: LabOptions,
): Promise<Labs> {
  await using undo = new CleanupStack();
  const settled = await Promise.allSettled(
    contenders.map(async (by) => {
      progress(`setting up ${nodes} nodes of ${by}`);
      const lab = undo.use(await ManagedLab.create(by, `b-${name}-${by}`, nodes, { kernel }));
      await lab.init(managers);
      progress(`${nodes} nodes of ${by} are up`);
      return lab;
    }),
  );
  const all = settled.map((one) => {
    if (one.status === 'rejected') throw one.reason;
    return one.value;
  });
  const made = undo.move();
  return {
    all,
    inTurns: (measure) => alternate(all, rounds, progress, ({ by }) => by, measure),
    [Symbol.asyncDispose]: () => made[Symbol.asyncDispose](),
  };
}

/** Skep and Docker Swarm. */
export const bothContenders = ['skep', 'swarm'] as const satisfies readonly ManagedBy[];

/** Who has a mesh on that kernel: Swarm's needs IPVS, which the machine's own does not have. */
export const meshContenders = (kernel: Run['kernel']): readonly ManagedBy[] =>
  kernel === 'host' ? ['skep'] : bothContenders;

/**
 * How many of three nodes are managers where that is not what is measured. Guests' stores would take from each other and from what
 * they do for the tasks what two processors have.
 */
export const managersOf: Readonly<Record<Run['kernel'], number>> = { host: 3, uml: 1, qemu: 1 };
