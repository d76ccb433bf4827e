/** How many requests fail while a service is updated, scaled down, or its node drained? */
import { bench } from '../harness/bench.js';
import type { Bar } from '../harness/bars.js';
import { makeLabs, meshContenders } from '../harness/labs.js';
import { Measurements } from '../harness/series.js';
import { disrupt, disruptionsOn, prepare } from './disruptions.js';

bench('update', {
  kernels: ['host', 'uml'],
  timeoutMs: 4 * 3_600_000,
  async measure(run) {
    await using labs = await makeLabs(run, meshContenders(run), {
      nodes: 3,
      managers: 1,
    });
    const disruptions = disruptionsOn(run.kernel);
    await Promise.all(labs.all.map((lab) => prepare(lab, run.kernel)));
    const found = new Measurements(run.progress);
    await labs.inTurns(async (lab) => {
      for (const disruption of disruptions) {
        const { failures, sent } = await disrupt(lab, disruption);
        for (const reason of new Set(failures)) run.progress(`${lab.by}, ${disruption.name}: ${reason}`);
        const name = { case: disruption.name, contender: lab.by };
        found.add({ ...name, measure: 'failed', unit: 'requests' }, failures.length);
        found.add({ ...name, measure: 'sent', unit: 'requests' }, sent);
      }
    });
    const bars = disruptions.map(({ name }): Bar => ({
      of: { case: name, measure: 'failed', contender: 'skep' },
      atMost: 0,
      inEveryRound: true,
    }));
    return { series: found.series, bars };
  },
});
