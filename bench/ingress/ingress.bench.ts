/** What does the way through a published port cost, against none of it? */
import { bench } from '../harness/bench.js';
import { bothContenders, makeLabs, meshContenders } from '../harness/labs.js';
import { alternate } from '../harness/rounds.js';
import { Measurements } from '../harness/series.js';
import { siteImage } from '../harness/site.js';
import { measureWeb, webBars } from '../harness/web-loads.js';
import type { Place, Way } from './ways.js';
import { bare, hostMode, mesh, pathLimit, places } from './ways.js';

const ofLimit = { connections: 0.9, kept: 0.95, bulk: 0.95 };
const ofSwarm = { connections: 2 };

const caseOf = (place: Place): string => `task ${place}`;

bench('ingress', {
  kernels: ['host', 'uml'],
  timeoutMs: 3 * 3_600_000,
  async measure(run) {
    await using labs = await makeLabs(run, bothContenders, { nodes: 2, managers: 1 });
    const [skep, swarm] = labs.all;
    if (!skep || !swarm) throw new Error('two labs are up');
    for (const lab of labs.all) await lab.loadImage(siteImage);
    // What is no manager's is measured where nothing of Skep's is loaded.
    const ways: Way[] = [
      await bare(swarm),
      await pathLimit(swarm),
      await hostMode(swarm),
      await mesh(skep, 'skep'),
    ];
    const isBeside = meshContenders(run).includes('swarm');
    if (isBeside) ways.push(await mesh(swarm, 'swarm'));
    const found = new Measurements();
    // All ways to one place, then all to the other one: what is compared is measured one after the other.
    const calls = (Object.keys(places) as Place[]).flatMap((place) => ways.map((way) => ({ place, ...way })));
    await alternate(
      calls,
      run.rounds,
      run.progress,
      ({ name, place }) => `${name}, ${caseOf(place)}`,
      ({ name, place, lab, urlOf }) =>
        measureWeb(found, run.kernel, {
          ...{ case: caseOf(place), contender: name, url: urlOf(place) },
          run: (argv, deadlineMs) => lab.client(argv, deadlineMs),
        }),
    );
    const bars = (Object.keys(places) as Place[]).flatMap((place) => {
      const of = { case: caseOf(place), contender: 'skep' };
      return [
        ...webBars(of, { ...of, contender: 'limit' }, ofLimit),
        ...(isBeside
          ? webBars(of, { ...of, contender: 'swarm' }, ofSwarm, { ...of, contender: 'bare' })
          : []),
      ];
    });
    return { series: found.series, bars };
  },
});
