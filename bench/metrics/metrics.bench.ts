/** What do metrics cost that are read often, with a thousand services? */
import { rmSync } from 'node:fs';
import { ensureBpffs } from '../../src/dataplane/ebpf/bpf.js';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import type { Kernel } from '../../src/lab/kernels.js';
import { median } from '../../test/support/median.js';
import type { Bar } from '../harness/bars.js';
import { bench } from '../harness/bench.js';
import type { Run } from '../harness/bench.js';
import { alternate } from '../harness/rounds.js';
import { Measurements } from '../harness/series.js';
import { wrk } from '../harness/wrk.js';
import type { Scrape } from './scraper.js';
import { linesOf, scrapedDuring } from './scraper.js';
import type { ScrapedMesh } from './scraped-mesh.js';
import { makeScrapedMesh } from './scraped-mesh.js';

/** Emulated, to program a thousand takes a quarter of an hour. */
const servicesBy: Readonly<Record<Kernel, number>> = { host: 1_000, uml: 0, qemu: 200 };
const loads = [
  { measure: 'new connections', connections: 32, anew: true },
  { measure: 'requests on kept connections', connections: 32, anew: false },
] as const;
/** Prometheus scrapes every minute by default, and every 15 seconds as most set it. */
const contenders = [
  { name: 'no scrapes', periodMs: null },
  { name: 'a scrape in five seconds', periodMs: 5_000 },
  { name: 'a scrape a second', periodMs: 1_000 },
] as const;
const [none, often, each] = contenders;
/** What else this machine does changes from second to second: of many short turns each has its share. */
const slices = 6;
const sliceS = 5;
const ofNone = 0.98;

const caseOf = (engine: EngineName, services: number): string => `${engine}, ${services} services`;

bench('metrics', {
  kernels: ['host', 'qemu'],
  timeoutMs: 2 * 3_600_000,
  async measure(run) {
    const services = servicesBy[run.kernel];
    const found = new Measurements();
    const name = `m${process.pid % 1000}`;
    const pins = `/sys/fs/bpf/${name}`;
    ensureBpffs(pins);
    for (const engine of run.engines)
      try {
        run.progress(`${engine}: programming ${services} services`);
        await using mesh = await makeScrapedMesh(name, engine, pins, services);
        await measureMesh(run, found, mesh, caseOf(engine, services));
      } finally {
        rmSync(pins, { recursive: true, force: true });
      }
    const bars = run.engines.flatMap((engine) =>
      loads.map(({ measure }): Bar => {
        const of = { case: caseOf(engine, services), measure };
        return {
          of: { ...of, contender: often.name },
          against: { ...of, contender: none.name },
          atLeast: ofNone,
        };
      }),
    );
    return { series: found.series, bars };
  },
});

async function measureMesh(run: Run, found: Measurements, mesh: ScrapedMesh, of: string): Promise<void> {
  const turns = contenders.flatMap((contender) => loads.map((load) => ({ contender, load })));
  for (let round = 0; round < run.rounds; round += 1) {
    const rates = new Map<(typeof turns)[number], number[]>(turns.map((turn) => [turn, []]));
    const scrapes: Scrape[] = [];
    await alternate(
      turns,
      slices,
      (line) => run.progress(`round ${round + 1}, slice ${line.replace(/^round /, '')}`),
      ({ contender, load }) => `${load.measure}, ${contender.name}`,
      async (turn) => {
        const load = async (): Promise<number> =>
          (await wrk(mesh.run, mesh.url, { ...turn.load, seconds: sliceS })).requestsPerS;
        const { periodMs } = turn.contender;
        if (periodMs === null) return void rates.get(turn)?.push(await load());
        const during = await scrapedDuring(mesh.metricsUrl, periodMs, load);
        rates.get(turn)?.push(during.result);
        if (turn.contender === each) scrapes.push(...during.scrapes);
      },
    );
    for (const [{ contender, load }, values] of rates)
      found.add({ case: of, measure: load.measure, unit: '1/s', contender: contender.name }, meanOf(values));
    const scraped = { case: of, contender: each.name };
    const middle = (value: (scrape: Scrape) => number): number => median(scrapes.map(value));
    found.add(
      { ...scraped, measure: 'a scrape under load takes', unit: 'ms' },
      middle(({ ms }) => ms),
    );
    found.add(
      { ...scraped, measure: 'processor time of a scrape', unit: 'ms' },
      middle(({ processorMs }) => processorMs),
    );
    found.add({ ...scraped, measure: 'lines of a scrape', unit: '' }, middle(linesOf));
  }
}

const meanOf = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;
