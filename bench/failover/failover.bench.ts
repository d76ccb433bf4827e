/** How long is it felt when a worker, or the leader, loses its power? */
import type { ManagedBy } from '../../test/support/managed-lab.js';
import { bench } from '../harness/bench.js';
import type { Run } from '../harness/bench.js';
import type { Bar } from '../harness/bars.js';
import { bothContenders, makeLabs, meshContenders } from '../harness/labs.js';
import type { LabOptions, Labs } from '../harness/labs.js';
import { Measurements } from '../harness/series.js';
import { cutLeader } from './leader.js';
import { cutWorker, prepareWorkers } from './worker.js';

const measures = {
  requests: { case: 'worker', measure: 'until no request fails', atMost: 1 / 5 },
  moved: { case: 'worker', measure: 'until its task runs elsewhere', atMost: 1 / 2 },
  written: { case: 'leader', measure: 'until a change is accepted', atMost: 1 / 3 },
  // Printed: the time that a container takes to start is most of it, and is the engine's.
  running: { case: 'leader', measure: 'until a new task runs' },
} as const;

/** What is not needed any more would take a part of the machine. */
async function withLabs(run: Run, options: LabOptions, use: (labs: Labs) => Promise<void>): Promise<void> {
  await using labs = await makeLabs(run, bothContenders, options);
  await use(labs);
}

bench('failover', {
  kernels: ['host', 'uml'],
  timeoutMs: 3 * 3_600_000,
  async measure(run) {
    const isPublished = (by: ManagedBy): boolean => meshContenders(run).includes(by);
    const found = new Measurements(run.progress);
    const add = (name: keyof typeof measures, contender: string, value: number | undefined): void => {
      const { case: of, measure } = measures[name];
      if (value !== undefined) found.add({ case: of, measure, unit: 'ms', contender }, value);
    };
    await withLabs(run, { nodes: 3, managers: 1 }, async (labs) => {
      await Promise.all(labs.all.map((lab) => prepareWorkers(lab, isPublished(lab.by))));
      await labs.inTurns(async (lab, round) => {
        const { failingMs, movedMs } = await cutWorker(lab, round, isPublished(lab.by));
        add('requests', lab.by, failingMs);
        add('moved', lab.by, movedMs);
      });
    });
    await withLabs(run, { nodes: 3, managers: 3 }, (labs) =>
      labs.inTurns(async (lab, round) => {
        const { writtenMs, runningMs } = await cutLeader(lab, round);
        add('written', lab.by, writtenMs);
        add('running', lab.by, runningMs);
      }),
    );
    const bars = Object.entries(measures)
      .filter(([name]) => name !== 'requests' || isPublished('swarm'))
      .flatMap(([, limited]): Bar[] => {
        if (!('atMost' in limited)) return [];
        const name = { case: limited.case, measure: limited.measure };
        return [
          {
            of: { ...name, contender: 'skep' },
            against: { ...name, contender: 'swarm' },
            atMost: Number(limited.atMost.toFixed(2)),
          },
        ];
      });
    return { series: found.series, bars };
  },
});
