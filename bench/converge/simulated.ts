/** The same question for 50 nodes, which are simulated: from the report of a task's node until the last node has planned it. */
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { systemClock } from '../../src/runtime/clock.js';
import { buildGuestProgram } from '../../test/uml/guest-program.js';
import { median } from '../../test/support/median.js';
import { SimulatedCluster } from '../cluster/simulated-cluster.js';
import type { Run } from '../harness/bench.js';
import type { Measurements } from '../harness/series.js';

const nodes = 50;
const services = 100;
const endpoints = 1_000;
const perRound = 20;
/** What a change leads to has come to its end, and the next one does not wait for its turn. */
const restMs = 300;
const events = [
  ['a task becomes healthy', 'running'],
  ['a task dies', 'failed'],
] as const;

/** Each change has a task of its own, which comes to run and dies. */
export async function measureSimulated({ rounds, progress }: Run, found: Measurements): Promise<void> {
  progress(`setting up ${nodes} simulated nodes`);
  await using undo = new CleanupStack();
  const program = undo.use(await buildGuestProgram());
  const cluster = undo.use(
    await SimulatedCluster.start((source) => program.path(source), {
      // The manager's own node is simulated, too.
      ...{ host: '127.0.77.11', nodes: nodes - 1, idleNodes: 0, services, endpoints },
      ...{ state: 'running', startingTasks: rounds * perRound },
    }),
  );
  await cluster.join({ plans: true });
  for (let round = 0; round < rounds; round += 1) {
    progress(`round ${round + 1} of ${rounds}: ${nodes} simulated nodes`);
    const lastMs: Record<(typeof events)[number][1], number[]> = { running: [], failed: [] };
    for (let turn = 0; turn < perRound; turn += 1)
      for (const [, state] of events) {
        const plannedMs = await cluster.report(round * perRound + turn, state);
        lastMs[state].push(plannedMs.at(-1) ?? NaN);
        await systemClock.sleep(restMs);
      }
    for (const [words, state] of events) {
      const name = { case: `${words}, ${nodes} simulated nodes`, unit: 'ms', contender: 'skep' };
      found.add({ ...name, measure: 'until all nodes have planned it, p50' }, median(lastMs[state]));
      // Of so few, the slowest.
      found.add({ ...name, measure: 'until all nodes have planned it, p99' }, Math.max(...lastMs[state]));
    }
  }
}
