/** How fast are a service's lines read, do all come, and do the daemons on their way stay small? */
import { alternate } from '../harness/rounds.js';
import { bench } from '../harness/bench.js';
import type { Bar } from '../harness/bars.js';
import { bothContenders, makeLabs } from '../harness/labs.js';
import { Measurements } from '../harness/series.js';
import { begin, readHistory, readLive, readings, writeHistory } from './reading.js';
import type { Cluster } from './reading.js';

/** Of Swarm's rate. */
const historyLeast = 0.9;
/**
 * Resident memory over that of the idle daemon. Three readers may be 16 MiB behind each at the leader and a little on the way, Node's
 * collector lets as much again go to waste.
 */
const grownMiBMost = 160;
/** The peak of the load's second half against that of the first: what grows does so all the time. */
const growthMost = 1.15;

bench('logs', {
  kernels: ['host'],
  timeoutMs: 3_600_000,
  async measure(run) {
    await using labs = await makeLabs(run, bothContenders, { nodes: 3, managers: 3 });
    const clusters: Cluster[] = [];
    for (const lab of labs.all) clusters.push(await begin(lab));
    const found = new Measurements();
    const wrong = (of: string, contender: string, lines: number): void =>
      found.add({ case: of, measure: 'lines missing or out of turn', unit: 'lines', contender }, lines);
    // First, so that what the daemons need is seen beside what they had when idle.
    for (const cluster of clusters) {
      const { by } = cluster.lab;
      run.progress(`lines as they are written, ${by}`);
      const { amiss, memory } = await readLive(cluster);
      for (const [reader, lines] of amiss) wrong(reader, by, lines);
      for (const { of, grownMiB, growth } of memory) {
        found.add({ case: of, measure: 'memory, peak over idle', unit: 'MiB', contender: by }, grownMiB);
        found.add({ case: of, measure: 'memory, end over middle', unit: '', contender: by }, growth);
      }
    }
    for (const cluster of clusters) await writeHistory(cluster);
    await alternate(
      clusters,
      run.rounds,
      run.progress,
      ({ lab }) => lab.by,
      async (cluster) => {
        const { by } = cluster.lab;
        for (const reading of readings) {
          const { linesASecond, amiss } = await readHistory(cluster, reading);
          found.add({ case: reading, measure: 'history', unit: 'lines/s', contender: by }, linesASecond);
          wrong(`history, ${reading}`, by, amiss);
        }
      },
    );
    const skep = found.series.filter(({ contender }) => contender === 'skep');
    const bars = skep.map((of): Bar => {
      if (of.measure === 'history')
        return { of, against: { ...of, contender: 'swarm' }, atLeast: historyLeast };
      if (of.unit === 'lines') return { of, atMost: 0, inEveryRound: true };
      return { of, atMost: of.unit === 'MiB' ? grownMiBMost : growthMost };
    });
    return { series: found.series, bars };
  },
});
