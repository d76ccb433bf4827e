/** How fast are names answered in a container? */
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import type { ManagedLab } from '../../test/support/managed-lab.js';
import { bench } from '../harness/bench.js';
import type { Bar } from '../harness/bars.js';
import { bothContenders, makeLabs } from '../harness/labs.js';
import { Measurements } from '../harness/series.js';
import type { RunCommand } from '../harness/wrk.js';
import { dnsperf } from './dnsperf.js';
import { kinds, prepare } from './names.js';
import { startUpstream } from './upstream.js';

bench('dns', {
  kernels: ['host'],
  timeoutMs: 3_600_000,
  async measure(run) {
    await using labs = await makeLabs(run, bothContenders, { nodes: 2, managers: 1 });
    await using upstreams = new CleanupStack();
    const clients = new Map<ManagedLab, RunCommand>();
    for (const lab of labs.all) {
      upstreams.use(await startUpstream(lab));
      clients.set(lab, await prepare(lab));
    }
    const found = new Measurements();
    await labs.inTurns(async (lab, round) => {
      const client = clients.get(lab);
      if (!client) throw new Error('every lab has a client');
      for (const [of, questions] of Object.entries(kinds)) {
        const series = { case: of, contender: lab.by };
        const { queriesPerS } = await dnsperf(client, questions(`full${round}`), 'full');
        found.add({ ...series, measure: 'queries', unit: '1/s' }, queriesPerS);
        const { p50Ms, p99Ms } = await dnsperf(client, questions(`calm${round}`), 'calm');
        found.add({ ...series, measure: 'latency p50', unit: 'ms' }, p50Ms);
        found.add({ ...series, measure: 'latency p99', unit: 'ms' }, p99Ms);
      }
    });
    const bars = Object.keys(kinds).flatMap((of): Bar[] => {
      const series = (measure: string, contender: string): Bar['of'] => ({ case: of, measure, contender });
      return [
        { of: series('queries', 'skep'), against: series('queries', 'swarm'), atLeast: 1 },
        { of: series('latency p99', 'skep'), against: series('latency p99', 'swarm'), atMost: 1 },
      ];
    });
    return { series: found.series, bars };
  },
});
