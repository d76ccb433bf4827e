/**
 * skep-dataplane: the only place where kernel adapters are made. Order of a start: take the place, read the files, begin
 * to restore the kernel, then open the sockets; no manager and no engine is needed for any of it. A signal closes the
 * sockets and ends the process, the kernel keeps all; a bug ends it at once, and the restart repairs.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Server as HttpServer } from 'node:http';
import type { NodeId, Vni } from '../model/ids.js';
import { serveMetrics } from '../metrics/server.js';
import { startingOptions } from '../options/file.js';
import { systemClock } from '../runtime/clock.js';
import { crash, runDaemon } from '../runtime/daemon.js';
import { decide } from '../runtime/decide.js';
import { createLog } from '../runtime/log.js';
import { chooseEngine } from './balancer/choose.js';
import { suitsEbpf, tryEbpf } from './balancer/ebpf-capability.js';
import { hasIpvs, ipvsBalances } from './balancer/ipvs.js';
import { removeLeftovers } from './balancer/leftovers.js';
import { hasPins, openPinnedTables, removeAllPins } from './balancer/pinned-tables.js';
import type { Balancer } from './daemon.js';
import { Daemon } from './daemon.js';
import { NameThread } from './dns/thread.js';
import type { BalancedScope } from './kernel/linux-kernel.js';
import { EspSenderStore } from './esp-sender.js';
import { EspCapability } from './kernel/esp-probe.js';
import { hostReader } from './kernel/host-reader.js';
import { LinuxKernel } from './kernel/linux-kernel.js';
import { overlayNamespacesIn } from './kernel/overlay-namespaces.js';
import { Prober } from './liveness/prober.js';
import { Verdicts } from './liveness/verdicts.js';
import { CounterReader } from './metrics/counter-reader.js';
import { dataplaneMetricsOf } from './metrics/dataplane-metrics.js';
import { NodeNetwork } from './node-network.js';
import { engineClient } from './plugin/engine.js';
import { createPluginServer } from './plugin/server.js';
import { Reconciler } from './reconcile/reconciler.js';
import { ReservationsStore } from './reserved-ports.js';
import { ResetRelay } from './resets/relay.js';
import { overlayNamespace } from './plan/names.js';
import { createDataplaneServer, listenOnSocket } from './rpc/server.js';
import type { HeardPeersFile } from './state-file.js';
import {
  openEngineTableFile,
  openEspSenderFile,
  openHeardPeersFile,
  openReservationsFile,
} from './state-file.js';
import { StateLog } from './state-log.js';
import { claimNamespace, openSocket, privateUmask } from './unix-sockets.js';

const name = 'skep-dataplane';
/** Where the engine looks for plugins; the file's name is the driver's. */
const pluginSocket = '/run/docker/plugins/skep.sock';

const netnsDirectory = '/run/netns';

const log = createLog(name);

const onBug = (err: unknown): never => crash(log, err);

async function main(stop: AbortSignal): Promise<void> {
  process.umask(privateUmask);
  const { values: options } = startingOptions(name, process.env, log);
  const stateDir = join(options['paths.state-dir'], 'dataplane');
  const rpcSocket = join(options['paths.run-dir'], 'dataplane.sock');

  using _place = await claimNamespace(name);
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  const network = await NodeNetwork.load(
    new StateLog(join(stateDir, 'state.json')),
    openEngineTableFile(join(stateDir, 'endpoints.json')),
    bootId,
    (err) => log.error({ err }, 'cannot read what this node had'),
  );

  const pinDirectory = options['balancer.bpf-dir'];
  using engine = await chooseEngine({
    choice: options['balancer.engine'],
    hasIpvs: () => hasIpvs(null),
    ebpfBalances: network.state !== null && hasPins(pinDirectory),
    ipvsBalances: () => ipvsHasFlows(),
    suitsEbpf: async () => suitsEbpf(await tryEbpf(`${pinDirectory}-trial`)),
    openTables: () => openPinnedTables(pinDirectory),
    onNeither: (err) => log.error({ err }, 'this kernel has neither IPVS nor BPF: nothing will be balanced'),
  });
  decide(log, 'engine.chosen', { engine: engine.name });
  await using names = new NameThread(
    { netnsDirectory, resolvConf: '/etc/resolv.conf', logName: name, logLevel: log.level },
    onBug,
  );
  const reservations = await ReservationsStore.load(
    openReservationsFile(join(stateDir, 'reserved-ports.json')),
    bootId,
    (err) => log.error({ err }, 'cannot read which reserved ports are ours: they stay'),
  );
  using kernel = new LinuxKernel({ netnsDirectory, engine, names, reservations });
  using resets = new ResetRelay({
    log: log.child({ part: 'resets' }),
    clock: systemClock,
    netnsPath: (vni) => kernel.overlayPath(vni),
  });
  await makeWay(kernel, pinDirectory);
  const heardPeers = openHeardPeersFile(join(stateDir, 'peers.json'));
  using prober = new Prober({
    log: log.child({ part: 'liveness' }),
    clock: systemClock,
    verdicts: new Verdicts(await heardBefore(heardPeers)),
    save: async (heard) => void (await heardPeers.save(heard)),
    netnsPath: (vni) => kernel.overlayPath(vni),
    hostNetns: null,
  });
  const espSender = await EspSenderStore.load(
    openEspSenderFile(join(stateDir, 'esp.json')),
    bootId,
    systemClock,
    (err) => log.error({ err }, 'cannot read which keys this node has sent with: it begins later ones'),
  );
  const espCapability = new EspCapability(systemClock, log);
  // Asked before anybody waits for the answer: modules may have to be loaded for it.
  void espCapability.has();
  const reconciler = new Reconciler({
    kernel,
    clock: systemClock,
    log: log.child({ part: 'reconcile' }),
    espSender,
  });
  const docker = engineClient(options['engine.address']);
  const daemon = new Daemon({
    network,
    programmer: reconciler,
    balancer: balancerOf(kernel),
    listeners: [names, resets],
    liveness: prober,
    encryption: { has: () => espCapability.has(), epoch: () => espSender.current.epoch },
    host: hostReader(),
    docker,
    clock: systemClock,
    log,
  });
  daemon.restore();
  const watched = { clock: systemClock, log: log.child({ part: 'metrics' }) };
  const metrics = dataplaneMetricsOf(
    {
      state: () => daemon.state,
      engine: () => kernel.engine.name,
      reader: new CounterReader({ table: (vni) => kernel.table(balancedScope(vni)), clock: systemClock }),
      perEndpoint: options['metrics.per-endpoint'],
      programming: () => reconciler.figures(),
      names: () => names.figures(),
      liveness: () => prober.figures(),
    },
    watched,
  );
  const serving = serveMetrics(options['metrics.dataplane-address'], metrics, watched, stop);
  serving.catch(onBug);
  const running = daemon.run(stop);
  running.catch(onBug);

  const plugin = createPluginServer(daemon.pluginMethods, log.child({ part: 'plugin' }), onBug);
  await openSocket(pluginSocket, (path) => listenHttp(plugin, path));
  const rpc = createDataplaneServer(daemon.rpcMethods, onBug);
  await openSocket(rpcSocket, (path) => listenOnSocket(rpc, path));
  log.info({ revision: network.state?.revision ?? null, endpoints: network.endpoints.length }, 'ready');

  await running;
  log.info('stopping; the kernel keeps what it has');
  plugin.closeAllConnections();
  plugin.close();
  rpc.forceShutdown();
  await serving;
}

/** Where that cannot be told there may be flows, and the engine that has them stays. */
async function ipvsHasFlows(): Promise<boolean> {
  try {
    const overlays = await overlayNamespacesIn(netnsDirectory);
    return await ipvsBalances([null, ...overlays.map((vni) => join(netnsDirectory, overlayNamespace(vni)))]);
  } catch (err) {
    log.error({ err }, 'cannot read whether IPVS balances here: it stays the engine');
    return true;
  }
}

/** Who has answered an earlier daemon; nobody where that cannot be read, as before the first answers. */
async function heardBefore(file: HeardPeersFile): Promise<readonly NodeId[]> {
  try {
    return (await file.load()) ?? [];
  } catch (err) {
    log.error({ err }, 'cannot read which nodes have answered: they are judged from their next answer on');
    return [];
  }
}

/** Removes what another engine left; what cannot be removed is tried again at the next start. */
async function makeWay(kernel: LinuxKernel, pinDirectory: string): Promise<void> {
  const { name: engine } = kernel.engine;
  try {
    const overlays = (await kernel.overlayNamespaces()).map((vni) => kernel.overlayPath(vni));
    const removed = await removeLeftovers(engine, [null, ...overlays]);
    if (engine === 'ipvs') removeAllPins(pinDirectory);
    if (removed > 0) log.info({ engine, removed }, 'another engine balanced here before');
  } catch (err) {
    log.error({ err, engine }, 'cannot remove what another engine left');
  }
}

const balancedScope = (vni: Vni | null): BalancedScope =>
  vni === null ? { kind: 'host' } : { kind: 'overlay', vni };

const balancerOf = (kernel: LinuxKernel): Balancer => ({
  counters: async (vni) => (await kernel.table(balancedScope(vni))).counters(),
  flows: async (vni, limit) => (await kernel.table(balancedScope(vni))).flows(limit),
  expireFlows: () => kernel.engine.expireFlows(),
});

const listenHttp = (server: HttpServer, path: string): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });

await runDaemon(log, main);
