/** How long does it take until what was deployed runs? */
import { bench } from '../harness/bench.js';
import type { Bar } from '../harness/bars.js';
import { bothContenders, makeLabs, managersOf } from '../harness/labs.js';
import { processorTimes, spentMs } from '../harness/processor-time.js';
import { Measurements } from '../harness/series.js';
import { clear, deploy, deploymentsOn, prepare, stack } from './deployments.js';

bench('deploy', {
  kernels: ['host', 'uml'],
  timeoutMs: 3 * 3_600_000,
  async measure(run) {
    await using labs = await makeLabs(run, bothContenders, { nodes: 3, managers: managersOf[run.kernel] });
    const deployments = deploymentsOn(run.kernel);
    await Promise.all(labs.all.map((lab) => prepare(lab)));
    const found = new Measurements(run.progress);
    await labs.inTurns(async (lab) => {
      for (const steps of [deployments, [stack]]) {
        for (const step of steps) {
          const of = { case: step.name, unit: 'ms', contender: lab.by };
          const before = await processorTimes(lab);
          found.add({ ...of, measure: 'until it runs' }, await deploy(lab, step));
          for (const [daemon, ms] of spentMs(before, await processorTimes(lab)))
            found.add({ ...of, measure: `processor time of ${daemon}, all nodes` }, ms);
        }
        await clear(lab);
      }
    });
    const bars = [...deployments, stack].map(({ name }): Bar => {
      const of = { case: name, measure: 'until it runs', contender: 'skep' };
      return { of, against: { ...of, contender: 'swarm' }, atMost: 1 };
    });
    return { series: found.series, bars };
  },
});
