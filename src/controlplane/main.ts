/**
 * skepd: the only place where a node's control plane is wired together. The API answers first, also while the swarm part
 * is still starting; a signal ends the process and leaves tasks, network and etcd running.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { DataplaneClient } from '../dataplane/rpc/client.js';
import { SkepError } from '../model/errors.js';
import { parseAllowance } from '../model/host-access.js';
import { serveMetrics } from '../metrics/server.js';
import { startingOptions } from '../options/file.js';
import { systemClock } from '../runtime/clock.js';
import { crash, runDaemon } from '../runtime/daemon.js';
import { createLog } from '../runtime/log.js';
import { readListenSettings } from './api/listen-settings.js';
import { createApiServer } from './api/server.js';
import { SwarmEvents } from './api/swarm-events.js';
import type { ReadLogs } from './task-logs.js';
import type { OpenTunnel } from './tunnels.js';
import { clusterTlsInfo } from './ca/certificates.js';
import { rotateJoinToken } from './ca/join-token.js';
import { Engine } from './dockerd/client.js';
import { FactsOfDataplane, lastKnown } from './node/dataplane-facts.js';
import { ControlplaneCounts } from './metrics/counts.js';
import { controlplaneMetricsOf } from './metrics/controlplane-metrics.js';
import { HostParts } from './node/parts.js';
import { SwarmNode } from './node/swarm-node.js';

const name = 'skepd';
const log = createLog(name);

async function main(stop: AbortSignal): Promise<void> {
  const read = startingOptions(name, process.env, log);
  const options = read.values;
  const settings = readListenSettings(read);
  const runDir = options['paths.run-dir'];
  const engineAddress = options['engine.address'];
  const engineSocket = engineAddress.replace(/^unix:\/\//, '');
  const random = (size: number): Uint8Array => randomBytes(size);

  const dataplane = new DataplaneClient(join(runDir, 'dataplane.sock'));
  const asked = new FactsOfDataplane({ status: (signal) => dataplane.status(signal), clock: systemClock });
  const facts = lastKnown(asked.now);

  const swarmEvents = new SwarmEvents(systemClock);
  const counts = new ControlplaneCounts();
  const parts = new HostParts({
    swarmDir: join(options['paths.state-dir'], 'swarm'),
    runDir,
    engine: new Engine(engineAddress),
    dataplane,
    facts,
    allowance: parseAllowance(options['services.allow'].join()),
    preferOfflineImages: options['engine.prefer-offline-images'],
    swarmEvents,
    observer: counts,
    clock: systemClock,
    random,
    log,
  });
  const node = new SwarmNode({ parts, clock: systemClock, log });
  const readLogs: ReadLogs = (...request) => {
    if (!parts.manager) throw new SkepError('unavailable', 'This node is not a swarm manager.');
    return parts.manager.readLogs(...request);
  };
  const openTunnel: OpenTunnel = async (...request) => {
    if (!parts.manager) throw new SkepError('unavailable', 'This node is not a swarm manager.');
    return parts.manager.openTunnel(...request);
  };
  const api = createApiServer({
    control: node,
    engineSocket,
    readLogs,
    swarmEvents,
    openTunnel,
    balancer: async () => (await facts())?.balancer,
    log,
    clock: systemClock,
    random,
    tlsInfoOf: clusterTlsInfo,
    changeRoots: parts.ca.changeRoots,
    rotateToken: (token) => rotateJoinToken(token, random),
    onAnswered: counts.onRequest,
  });
  const watched = { clock: systemClock, log: log.child({ part: 'metrics' }) };
  const metrics = controlplaneMetricsOf(
    { counts, manager: () => parts.manager, identity: () => parts.identity },
    watched,
  );
  const serving = serveMetrics(options['metrics.controlplane-address'], metrics, watched, stop);
  serving.catch((err: unknown) => crash(log, err));
  await node.load();
  await api.listen(join(runDir, 'docker.sock'), settings);
  log.info('ready');
  await node.restore(stop);
  await new Promise<void>((resolve) => {
    if (stop.aborted) return resolve();
    stop.addEventListener('abort', () => resolve(), { once: true });
  });
  log.info('stopping; tasks, network and etcd go on');
  await api.close();
  await node.close();
  await serving;
}

await runDaemon(log, main);
