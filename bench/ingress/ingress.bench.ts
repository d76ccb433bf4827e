/** What does the way through a published port cost, against none of it? */
import { bench } from '../harness/bench.js';
import type { Bar } from '../harness/bars.js';
import { bothContenders, makeLabs, meshContenders } from '../harness/labs.js';
import { alternate } from '../harness/rounds.js';
import { Measurements } from '../harness/series.js';
import { site } from '../harness/site.js';
import type { WrkLoad } from '../harness/wrk.js';
import { wrk } from '../harness/wrk.js';
import type { Place, Way } from './ways.js';
import { bare, hostMode, loadSite, mesh, pathLimit, places } from './ways.js';

/** The length of one load. Guests have one processor's worth at most, and need longer for as much. */
const secondsBy = { host: 2, uml: 5, qemu: 5 } as const;
const loads = {
  connections: {
    measure: 'new connections',
    unit: '1/s',
    connections: 32,
    anew: true,
    path: '/',
    ofLimit: 0.9,
  },
  kept: {
    measure: 'requests on kept connections',
    unit: '1/s',
    connections: 32,
    anew: false,
    path: '/',
    ofLimit: 0.95,
  },
  bulk: { measure: 'bulk', unit: 'MB/s', connections: 2, anew: false, path: site.bulkPath, ofLimit: 0.95 },
} as const satisfies Record<string, Omit<WrkLoad, 'seconds'> & Record<string, unknown>>;
/** What Skep's new connections are to be of Swarm's. */
const ofSwarm = 2;

const caseOf = (place: Place): string => `task ${place}`;

bench('ingress', {
  kernels: ['host', 'uml'],
  timeoutMs: 3 * 3_600_000,
  async measure(run) {
    await using labs = await makeLabs(run, bothContenders, { name: 'bench-in', nodes: 2, managers: 1 });
    const [skep, swarm] = labs.all;
    if (!skep || !swarm) throw new Error('two labs are up');
    for (const lab of labs.all) await loadSite(lab);
    // What is no manager's is measured where nothing of Skep's is loaded.
    const ways: Way[] = [
      await bare(swarm),
      await pathLimit(swarm),
      await hostMode(swarm),
      await mesh(skep, 'skep'),
    ];
    if (meshContenders(run.kernel).includes('swarm')) ways.push(await mesh(swarm, 'swarm'));
    const found = new Measurements();
    await alternate(
      ways,
      run.rounds,
      run.progress,
      ({ name }) => name,
      async ({ name, lab, urlOf }) => {
        for (const place of Object.keys(places) as Place[])
          for (const { measure, unit, path, ...load } of Object.values(loads)) {
            const result = await wrk((argv) => lab.clientCommand(argv), urlOf(place) + path, {
              ...load,
              seconds: secondsBy[run.kernel],
            });
            const series = { case: caseOf(place), contender: name };
            found.add(
              { ...series, measure, unit },
              unit === 'MB/s' ? result.bytesPerS / 1e6 : result.requestsPerS,
            );
            if (measure !== loads.kept.measure) continue;
            found.add({ ...series, measure: 'latency p50', unit: 'ms' }, result.p50Ms);
            found.add({ ...series, measure: 'latency p99', unit: 'ms' }, result.p99Ms);
          }
      },
    );
    const bars = (Object.keys(places) as Place[]).flatMap((place): Bar[] => {
      const against = (measure: string, other: string, atLeast: number): Bar => {
        const of = { case: caseOf(place), measure, contender: 'skep' };
        return { of, against: { ...of, contender: other }, atLeast };
      };
      return [
        ...Object.values(loads).map(({ measure, ofLimit }) => against(measure, 'limit', ofLimit)),
        ...(run.kernel === 'host' ? [] : [against(loads.connections.measure, 'swarm', ofSwarm)]),
      ];
    });
    return { series: found.series, bars };
  },
});
