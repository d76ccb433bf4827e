/** Docker Swarm beside Skep: labs of the same machines, kernel, engines and images. */
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { ManagedLab } from '../../test/support/managed-lab.js';
import type { ManagedBy } from '../../test/support/managed-lab.js';
import type { Run } from './bench.js';
import { alternate } from './rounds.js';

/** How each is made. */
export interface LabOptions<Prepared = never> {
  readonly nodes: number;
  /** The first so many nodes are managers. */
  readonly managers: number;
  /** Called with each when it is a swarm. */
  readonly prepare?: (lab: ManagedLab) => Promise<Prepared>;
  /** What is measured is the work of kernels alone, see {@link still}. */
  readonly isOfKernels?: true;
}

/** Labs that are up, a swarm of all nodes in each; down with the scope. */
export interface Labs<Prepared = never> extends AsyncDisposable {
  readonly all: readonly ManagedLab[];
  /** What `prepare` gave for each, in their order. */
  readonly prepared: readonly Prepared[];
  /** Measures each in every round, see {@link alternate}. */
  readonly inTurns: (measure: (lab: ManagedLab, round: number) => Promise<void>) => Promise<void>;
}

interface Management {
  readonly by: ManagedBy;
  /** Told to skep-dataplane; without it, the one that the kernel suggests. */
  readonly balancer?: EngineName;
}

/** Who may have a lab, by the names that tables show. */
const managements = {
  skep: { by: 'skep' },
  'skep, ebpf': { by: 'skep', balancer: 'ebpf' },
  'skep, ipvs': { by: 'skep', balancer: 'ipvs' },
  swarm: { by: 'swarm' },
} as const satisfies Record<string, Management>;
export type Contender = keyof typeof managements;

/**
 * One lab for each contender, set up and up at the same time, on as many processors: what one waits for, another one uses. Emulated
 * ones have no time to spare, and set them up one after the other. scripts/bench.sh takes down, by their names, what a run leaves that is ended.
 */
export async function makeLabs<Prepared = never>(
  { name, kernel, rounds, progress }: Run,
  contenders: readonly Contender[],
  { nodes, managers, prepare, isOfKernels }: LabOptions<Prepared>,
): Promise<Labs<Prepared>> {
  await using undo = new CleanupStack();
  const all: ManagedLab[] = [];
  const prepared: Prepared[] = [];
  const setUp = async (contender: Contender): Promise<{ lab: ManagedLab; of: readonly Prepared[] }> => {
    progress(`setting up ${nodes} nodes of ${contender}`);
    const { by, ...balancer }: Management = managements[contender];
    // With `qemu` all of the bench is in a guest, whose own kernel is the nodes'.
    const below = { kernel: kernel === 'qemu' ? 'host' : kernel, ...balancer } as const;
    const lab = undo.use(
      await ManagedLab.create(by, `b-${name}-${contender.replace(', ', '-')}`, nodes, below),
    );
    await lab.init(managers);
    progress(`${nodes} nodes of ${contender} are up`);
    const of = prepare ? [await prepare(lab)] : [];
    if (isOfKernels && kernel === 'qemu') await still(lab);
    return { lab, of };
  };
  for (const group of kernel === 'qemu' ? contenders.map((one) => [one]) : [contenders])
    for (const settled of await Promise.allSettled(group.map(setUp))) {
      if (settled.status === 'rejected') throw settled.reason;
      all.push(settled.value.lab);
      prepared.push(...settled.value.of);
    }
  const made = undo.move();
  return {
    ...{ all, prepared },
    inTurns: (measure) => alternate(all, rounds, progress, ({ title }) => title, measure),
    [Symbol.asyncDispose]: () => made[Symbol.asyncDispose](),
  };
}

/**
 * Has the daemons of a lab sleep for good: on emulated processors those of three labs take as much as what is measured while they
 * have nothing to do. Kernels go on with what they were told.
 */
async function still(lab: ManagedLab): Promise<void> {
  const daemons = 'containerd dockerd skepd skep-dataplane';
  const freeze = '[ ! -e $group/cgroup.freeze ] || echo 1 >$group/cgroup.freeze';
  const script = `for daemon in ${daemons}; do group=/sys/fs/cgroup/lab/$daemon; ${freeze}; done`;
  await Promise.all(lab.nodes.map((node) => lab.sh(node, script)));
}

/** Skep and Docker Swarm. */
export const bothContenders = ['skep', 'swarm'] as const satisfies readonly Contender[];

/** Skep with the engine that the kernel suggests, and with each other one that it has. */
export const skepContenders = ({ engines: [, ...others] }: Run): readonly Contender[] => [
  'skep',
  ...others.map((engine) => `skep, ${engine}` as const),
];

/** Who has a mesh on the run's kernel: Swarm's needs IPVS. */
export const meshContenders = ({ engines }: Run): readonly (typeof bothContenders)[number][] =>
  engines.includes('ipvs') ? bothContenders : ['skep'];

/**
 * How many of three nodes are managers where that is not what is measured. Guests' stores would take from each other and from what
 * they do for the tasks what two processors have.
 */
export const managersOf: Readonly<Record<Run['kernel'], number>> = { host: 3, uml: 1, qemu: 1 };
