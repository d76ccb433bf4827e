/** Does what a change costs grow with the cluster, and what does a node hold of a large one? */
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { buildGuestProgram } from '../../test/uml/guest-program.js';
import { SimulatedCluster } from '../cluster/simulated-cluster.js';
import type { Bar } from '../harness/bars.js';
import { bench } from '../harness/bench.js';
import { alternate } from '../harness/rounds.js';
import { Measurements } from '../harness/series.js';
import { costOfChanges } from './changes.js';
import { Worker } from './worker.js';

const { SKEP_BENCH_AGENTS = '10,100,1000', SKEP_BENCH_ENDPOINTS = '100000' } = process.env;
const [few = NaN, some = NaN, many = NaN] = SKEP_BENCH_AGENTS.split(',').map(Number);
const large = Number(SKEP_BENCH_ENDPOINTS);
/** A task on each node, or it is not told of the others. */
const small = 2 * some;
const endpointsPerService = 33;

interface Case {
  readonly name: string;
  readonly agents: number;
  readonly endpoints: number;
  /** With a node that is not simulated. */
  readonly hasWorker: boolean;
}

const caseOf = (agents: number, endpoints: number): Case => ({
  ...{ agents, endpoints, hasWorker: endpoints === large && agents !== few },
  name: `${agents.toLocaleString('en')} agents, ${endpoints.toLocaleString('en')} endpoints`,
});
const cases = [caseOf(few, large), caseOf(some, small), caseOf(some, large), caseOf(many, large)];

const contender = 'skep';
const measures = {
  toldMs: ['until all simulated nodes are told', 'ms'],
  programmedMs: ['until a real node has programmed it, too', 'ms'],
  sentBytes: ['sent to a node for a change', 'bytes'],
  processorMs: ['processor time of the manager for a change', 'ms'],
  managerMiB: ['resident memory of the manager', 'MiB'],
} as const;
const memoryOf = (daemon: string): string => `resident memory of a worker's ${daemon}`;

const nameOf = (one: Case, measure: string) => ({ case: one.name, measure, contender });
const bar = (measure: string, of: Case, against: Case, atMost: number): Bar => ({
  of: nameOf(of, measure),
  against: nameOf(against, measure),
  atMost,
});

bench('scale', {
  kernels: ['host'],
  timeoutMs: 2 * 3_600_000,
  async measure({ rounds, progress }) {
    await using undo = new CleanupStack();
    const program = undo.use(await buildGuestProgram());
    const clusters = new Map<Case, { readonly cluster: SimulatedCluster; readonly worker?: Worker }>();
    for (const [index, one] of cases.entries()) {
      progress(`setting up ${one.name}`);
      const cluster = undo.use(
        await SimulatedCluster.start((source) => program.path(source), {
          ...{
            host: `127.0.77.${index + 1}`,
            nodes: one.agents,
            idleNodes: 1,
            state: 'running',
            startingTasks: 0,
          },
          ...{
            services: Math.max(1, Math.round(one.endpoints / endpointsPerService)),
            endpoints: one.endpoints,
          },
        }),
      );
      progress(`${one.name}: all told after ${((await cluster.join()) / 1_000).toFixed(1)} s`);
      if (!one.hasWorker) clusters.set(one, { cluster });
      else {
        const worker = undo.use(await Worker.start(cluster, `skep-scale${index}`, 0));
        await worker.programmed(1);
        progress(`${one.name}: a worker has programmed all`);
        clusters.set(one, { cluster, worker });
      }
    }
    const found = new Measurements();
    const add = (one: Case, [measure, unit]: readonly [string, string], value: number): void =>
      found.add({ ...nameOf(one, measure), unit }, value);
    const nameOfPair = ([one]: readonly [Case, unknown]): string => one.name;
    await alternate([...clusters], rounds, progress, nameOfPair, async ([one, { cluster, worker }]) => {
      const cost = await costOfChanges(cluster, worker);
      add(one, measures.toldMs, cost.toldMs);
      if (cost.programmedMs !== undefined) add(one, measures.programmedMs, cost.programmedMs);
      add(one, measures.sentBytes, cost.sentBytes);
      add(one, measures.processorMs, cost.processorMs);
      add(one, measures.managerMiB, cost.managerBytes / 2 ** 20);
      for (const [daemon, { resident }] of (await worker?.memory()) ?? [])
        add(one, [memoryOf(daemon), 'MiB'], resident / 2 ** 20);
    });
    const [fewLarge, someSmall, someLarge, manyLarge] = cases as [Case, Case, Case, Case];
    const bars = [
      bar(measures.sentBytes[0], someLarge, someSmall, 1.5),
      bar(measures.sentBytes[0], manyLarge, fewLarge, 1.5),
      bar(measures.programmedMs[0], manyLarge, someLarge, 3),
      { of: nameOf(manyLarge, memoryOf('skepd')), atMost: 150 },
    ];
    return { series: found.series, bars };
  },
});
