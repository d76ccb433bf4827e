/** What does the way through a published port cost, against none of it? */
import type { ManagedLab } from '../../test/support/managed-lab.js';
import { bench } from '../harness/bench.js';
import { makeLabs, meshContenders, skepContenders } from '../harness/labs.js';
import { alternate } from '../harness/rounds.js';
import { Measurements } from '../harness/series.js';
import { siteImage } from '../harness/site.js';
import { measureWeb, webBars } from '../harness/web-loads.js';
import { measurePrograms } from './programs.js';
import type { Place, Way } from './ways.js';
import { bare, hostMode, mesh, pathLimit, places } from './ways.js';

const ofLimit = { connections: 0.9, kept: 0.95, bulk: 0.95 };
const ofSwarm = { connections: 2 };

const caseOf = (place: Place): string => `task ${place}`;

bench('ingress', {
  kernels: ['host', 'uml', 'qemu'],
  timeoutMs: 3 * 3_600_000,
  async measure(run) {
    const isBeside = meshContenders(run).includes('swarm');
    const prepare = async (lab: ManagedLab): Promise<Way[]> => {
      await lab.loadImage(siteImage);
      return [
        // What is no manager's is measured where nothing of Skep's is loaded.
        ...(lab.by === 'swarm' ? [await bare(lab), await pathLimit(lab), await hostMode(lab)] : []),
        ...(lab.by === 'skep' || isBeside ? [await mesh(lab)] : []),
      ];
    };
    await using labs = await makeLabs(run, ['swarm', ...skepContenders(run)], {
      ...{ nodes: 2, managers: 1, prepare, isOfKernels: true },
    });
    const ways = labs.prepared.flat();
    const found = new Measurements();
    // All ways to one place, then all to the other one: what is compared is measured one after the other.
    const calls = (Object.keys(places) as Place[]).flatMap((place) => ways.map((way) => ({ place, ...way })));
    await alternate(
      calls,
      run.rounds,
      run.progress,
      ({ name, place }) => `${name}, ${caseOf(place)}`,
      async ({ name, place, lab, urlOf }) => {
        const way = {
          ...{ case: caseOf(place), contender: name, url: urlOf(place) },
          run: (argv: readonly string[], deadlineMs: number) => lab.client(argv, deadlineMs),
        };
        await measureWeb(found, run.kernel, way);
        await measurePrograms(found, run, lab, way);
      },
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
