/** What changes of single endpoints cost a manager with its nodes: one after another, each when the nodes have the one before. */
import { median } from '../../test/support/median.js';
import { systemClock } from '../../src/runtime/clock.js';
import type { ClusterSample, SimulatedCluster } from '../cluster/simulated-cluster.js';
import { machineMs } from '../harness/child.js';
import type { Worker } from './worker.js';

/** Medians of the changes of one round, or means of one change. */
export interface ChangeCost {
  /** From the write until the last simulated node was told. */
  readonly toldMs: number;
  /** Until a real node's kernel had it, too; absent: there is none. */
  readonly programmedMs?: number;
  /** That the manager sent to each simulated node. */
  readonly sentBytes: number;
  /** Of the manager. */
  readonly processorMs: number;
  readonly managerBytes: number;
}

const changesPerRound = 10;
/** What nodes and manager say to each other when nothing changes is taken off. */
const idleMs = 2_500;
/** After a change: what it leads to has come to its end, and the next one does not wait for its turn. */
const restMs = 300;

export async function costOfChanges(cluster: SimulatedCluster, worker?: Worker): Promise<ChangeCost> {
  const idleFrom = await timed(cluster);
  await systemClock.sleep(idleMs);
  const from = await timed(cluster);
  const toldMs: number[] = [];
  const programmedMs: number[] = [];
  for (let i = 0; i < changesPerRound; i += 1) {
    const change = await cluster.change();
    const lastMs = change.toldMs.at(-1) ?? NaN;
    toldMs.push(lastMs);
    if (worker) {
      const atMs = await worker.programmed(change.revision);
      programmedMs.push(Math.max(lastMs, atMs - change.writtenMs));
    }
    await systemClock.sleep(restMs);
  }
  const to = await timed(cluster);
  const perChange = (of: (sample: ClusterSample) => number): number => {
    const idlePerMs = (of(from) - of(idleFrom)) / (from.atMs - idleFrom.atMs);
    return (of(to) - of(from) - idlePerMs * (to.atMs - from.atMs)) / changesPerRound;
  };
  return {
    toldMs: median(toldMs),
    ...(worker && { programmedMs: median(programmedMs) }),
    sentBytes: perChange(({ sentBytes }) => sentBytes) / (cluster.request.nodes + 1),
    processorMs: perChange(({ processorMs }) => processorMs),
    managerBytes: to.residentBytes,
  };
}

const timed = async (cluster: SimulatedCluster): Promise<ClusterSample & { readonly atMs: number }> => ({
  ...(await cluster.sample()),
  atMs: machineMs(),
});
