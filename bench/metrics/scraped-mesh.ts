/**
 * Two nodes, a web server in a container of the second and a client outside, with a thousand services more in the kernels, and the
 * metrics of the first node's daemon over HTTP, as skep-dataplane serves them.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pino } from 'pino';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import { CounterReader } from '../../src/dataplane/metrics/counter-reader.js';
import { dataplaneMetricsOf } from '../../src/dataplane/metrics/dataplane-metrics.js';
import { QueryCounts } from '../../src/dataplane/dns/query-counts.js';
import { runMetricsServer } from '../../src/metrics/server.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { systemClock } from '../../src/runtime/clock.js';
import { openEngineOf } from '../../test/conformance/engines.js';
import { MeshCluster } from '../../test/support/mesh-cluster.js';
import { vtepOf } from '../../test/unit/dataplane/plan/network-state.js';
import { nginxConf } from '../harness/site.js';
import { untilAnswered } from '../harness/tasks.js';
import type { RunCommand } from '../harness/wrk.js';
import { nodes, port, server, stateWith } from './state.js';

const exec = promisify(execFile);
const entry = 1;

export interface ScrapedMesh extends AsyncDisposable {
  /** Where the client is. */
  readonly run: RunCommand;
  /** The published port of the first node. */
  readonly url: string;
  /** Its metrics. */
  readonly metricsUrl: string;
}

/**
 * @param name begins the names of namespaces; unique on this kernel
 * @param pins a directory on a bpffs
 * @param services beside the one that is called
 */
export async function makeScrapedMesh(
  name: string,
  engine: EngineName,
  pins: string,
  services: number,
): Promise<ScrapedMesh> {
  await using undo = new CleanupStack();
  const cluster = undo.use(
    await MeshCluster.create({
      ...{ name, nodes, containers: [server], outsiders: { client: 100 } },
      openEngine: (node) => openEngineOf(engine, `${pins}/node${node}`),
    }),
  );
  await cluster.program((node) => stateWith(node, 1, 0));
  await cluster.startContainers();
  undo.use(await startServer(cluster));
  const run: RunCommand = (argv) => cluster.run('client', ...argv);
  const url = `http://${vtepOf(entry)}:${port}/`;
  await untilAnswered(run, url);
  await cluster.program((node) => stateWith(node, 2, services));
  await untilAnswered(run, url);

  const log = pino({ level: process.env['SKEP_LOG'] ?? 'silent' });
  const kernel = cluster.kernel(entry);
  const counts = new QueryCounts();
  const metrics = dataplaneMetricsOf(
    {
      state: () => cluster.desired(entry).state,
      engine: () => engine,
      reader: new CounterReader({
        table: (vni) => kernel.table(vni === null ? { kind: 'host' } : { kind: 'overlay', vni }),
        clock: systemClock,
      }),
      perEndpoint: false,
      programming: () => cluster.reconciler(entry).figures(),
      // Nobody asks for names here, and no peer is asked.
      names: async () => ({
        ...{ queries: counts.queries, dropped: 0, listeners: { open: 0, closed: 0 } },
        seconds: { state: counts.state.values, resolvers: counts.resolvers.values },
      }),
      liveness: () => ({ asked: 0, heard: 0, fallen: 0, peers: { heard: 0, silent: 0, unjudged: 0 } }),
    },
    { clock: systemClock, log },
  );
  const stop = new AbortController();
  const listening = await new Promise<number>((resolve) => {
    const serving = runMetricsServer(
      {
        ...{ address: { host: '127.0.0.1', port: 0 }, onListening: resolve, clock: systemClock, log },
        ...{ text: () => metrics.text(), contentType: metrics.contentType },
      },
      stop.signal,
    );
    undo.defer(async () => {
      stop.abort();
      await serving;
    });
  });
  const made = undo.move();
  return {
    ...{ run, url, metricsUrl: `http://127.0.0.1:${listening}/metrics` },
    [Symbol.asyncDispose]: () => made[Symbol.asyncDispose](),
  };
}

/** The web server in its container; ends with the scope. */
async function startServer(cluster: MeshCluster): Promise<AsyncDisposable> {
  const directory = await mkdtemp(join(tmpdir(), 'metrics-site-'));
  const conf = join(directory, 'nginx.conf');
  await writeFile(conf, nginxConf(directory));
  // As a daemon it keeps what it was started with: no pipe of ours, or nobody would know that it has started.
  await exec('nsenter', [
    `--net=${cluster.path(`c${server.part}`)}`,
    ...['sh', '-c', `nginx -c ${conf} </dev/null >/dev/null 2>&1`],
  ]);
  return {
    [Symbol.asyncDispose]: async () => {
      process.kill(Number(await readFile(join(directory, 'nginx.pid'), 'utf8')));
      await rm(directory, { recursive: true });
    },
  };
}
