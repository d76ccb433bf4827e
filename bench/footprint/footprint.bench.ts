/** What do the daemons take while nobody asks them for anything? */
import { bench } from '../harness/bench.js';
import { bothContenders, makeLabs } from '../harness/labs.js';
import { Measurements } from '../harness/series.js';
import type { Bar } from '../harness/bars.js';
import { runningTasks } from '../harness/running.js';
import { daemonsOf, sample } from './daemons.js';
import type { Role } from './daemons.js';

const nodes: Readonly<Record<Role, string>> = { manager: 'node1', worker: 'node2' };
const roles: readonly Role[] = ['manager', 'worker'];
const counts = [0, 100];
const sampleS = 10;
/** After so many tasks started, their reports and the engine's own work have come to an end. */
const settleS = 20;

const caseOf = (count: number, role: Role, daemon: string): string =>
  `${count} services, ${daemon} of the ${role}`;

bench('footprint', {
  kernels: ['host'],
  timeoutMs: 3_600_000,
  async measure(run) {
    await using labs = await makeLabs(run, bothContenders, { nodes: 2, managers: 1 });
    const found = new Measurements();
    for (const count of counts) {
      for (const lab of labs.all) {
        run.progress(`${lab.by}: ${count} services`);
        const create = `seq -f service%g ${count} | xargs -r -P 4 -I NAME docker service create -d --no-resolve-image --name NAME skep/nginx:lab`;
        await lab.sh('node1', `${create} >/dev/null; ${runningTasks(lab, count)}; sleep ${settleS}`, 900_000);
      }
      await labs.inTurns(async (lab) => {
        for (const role of roles)
          for (const usage of await sample(lab, nodes[role], daemonsOf(lab.by, role), sampleS)) {
            const name = { case: caseOf(count, role, usage.daemon), contender: lab.by };
            found.add({ ...name, measure: 'resident memory', unit: 'MiB' }, usage.residentMiB);
            found.add(
              { ...name, measure: 'idle processor time', unit: '% of a core' },
              usage.processorPercent,
            );
          }
      });
    }
    const bars = counts.flatMap((count) =>
      roles.flatMap((role) =>
        daemonsOf('skep', role)
          .filter((daemon) => !daemonsOf('swarm', role).includes(daemon))
          .map((daemon): Bar => ({
            of: { case: caseOf(count, role, daemon), measure: 'idle processor time', contender: 'skep' },
            atMost: 1,
          })),
      ),
    );
    return { series: found.series, bars };
  },
});
