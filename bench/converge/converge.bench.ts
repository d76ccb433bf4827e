/** How long after a task died or became healthy does every node balance accordingly? */
import { bench } from '../harness/bench.js';
import type { Bar } from '../harness/bars.js';
import { makeLabs, managersOf, meshContenders } from '../harness/labs.js';
import { Measurements } from '../harness/series.js';
import { median } from '../../test/support/median.js';
import { Probes } from './probes.js';
import { measureSimulated } from './simulated.js';
import { prepare, replace } from './replacement.js';
import type { Convergence } from './replacement.js';
import { site } from '../harness/site.js';

const perRound = 6;
/** Requests a second to each node: what happens between two of them is not seen. */
const perSecond = { host: 50, uml: 15, qemu: 5 } as const;
const events = {
  deadMs: 'a task dies',
  usedMs: 'a task becomes healthy',
} as const satisfies Record<keyof Convergence, string>;
const share = 1 / 4;

bench('converge', {
  kernels: ['host', 'uml'],
  timeoutMs: 4 * 3_600_000,
  async measure(run) {
    const found = new Measurements(run.progress);
    // Before there are labs, which would take a part of the machine.
    if (run.kernel === 'host') await measureSimulated(run, found);
    await using labs = await makeLabs(run, meshContenders(run), {
      nodes: 3,
      managers: managersOf[run.kernel],
    });
    await Promise.all(labs.all.map((lab) => prepare(lab)));
    await labs.inTurns(async (lab, round) => {
      const all: Convergence[] = [];
      await using probes = new Probes(lab, site.port, perSecond[run.kernel]);
      for (let turn = 0; turn < perRound; turn += 1)
        all.push(await replace(lab, probes, round * perRound + turn));
      for (const [event, words] of Object.entries(events)) {
        const values = all.map((one) => one[event as keyof Convergence]);
        const name = { case: words, unit: 'ms', contender: lab.by };
        found.add({ ...name, measure: 'until all nodes follow, p50' }, median(values));
        // Of so few, the slowest.
        found.add({ ...name, measure: 'until all nodes follow, p99' }, Math.max(...values));
      }
    });
    const isBeside = meshContenders(run).includes('swarm');
    const skep = isBeside ? found.series.filter(({ contender }) => contender === 'skep') : [];
    const bars = skep.map((of): Bar => ({ of, against: { ...of, contender: 'swarm' }, atMost: share }));
    return { series: found.series, bars };
  },
});
