/** What does a call through a service's VIP cost against a direct one, with one service on the network and with many? */
import { bench } from '../harness/bench.js';
import { makeLabs, meshContenders, skepContenders } from '../harness/labs.js';
import { alternate } from '../harness/rounds.js';
import { Measurements } from '../harness/series.js';
import { siteImage } from '../harness/site.js';
import { measureWeb, webBars } from '../harness/web-loads.js';
import { caseOf, manyOf, prepare } from './networks.js';

const ofDirect = { connections: 0.95, kept: 0.95, bulk: 0.95 };
const ofOneService = { connections: 0.9, kept: 0.9, bulk: 0.9 };

bench('vip', {
  kernels: ['host', 'uml', 'qemu'],
  timeoutMs: 3 * 3_600_000,
  async measure(run) {
    const others = meshContenders(run).filter((contender) => contender !== 'skep');
    // Emulated, a lab takes ten minutes to set up: there Skep has the engine that it would choose.
    const ours = run.kernel === 'qemu' ? (['skep'] as const) : skepContenders(run);
    await using labs = await makeLabs(run, [...ours, ...others], {
      ...{ nodes: 2, managers: 1, isOfKernels: true },
      prepare: async (lab) => {
        await lab.loadImage(siteImage);
        return prepare(lab, run);
      },
    });
    const calls = labs.prepared.flat();
    const found = new Measurements();
    await alternate(
      calls,
      run.rounds,
      run.progress,
      (call) => `${call.contender}, ${call.case}`,
      (call) => measureWeb(found, run.kernel, call),
    );
    const one = 1;
    const many = manyOf[run.kernel];
    const bars = (['here', 'elsewhere'] as const).flatMap((place) => {
      const of = (size: number, contender: string): { case: string; contender: string } => ({
        case: caseOf(place, size),
        contender,
      });
      return [
        ...webBars(of(one, 'skep'), of(one, 'direct'), ofDirect),
        ...webBars(of(many, 'skep'), of(many, 'direct'), ofDirect),
        ...webBars(of(many, 'skep'), of(one, 'skep'), ofOneService),
      ];
    });
    return { series: found.series, bars };
  },
});
