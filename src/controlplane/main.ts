/**
 * skepd: the only place where a node's control plane is wired together. The API answers first, also while the swarm part
 * is still starting; a signal ends the process and leaves tasks, network and etcd running.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { DataplaneClient } from '../dataplane/rpc/client.js';
import { SkepError } from '../model/errors.js';
import { nothingAllowed, parseAllowance } from '../model/host-access.js';
import type { HostAllowance } from '../model/host-access.js';
import { systemClock } from '../runtime/clock.js';
import { runDaemon } from '../runtime/daemon.js';
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
import { HostParts } from './node/parts.js';
import { SwarmNode } from './node/swarm-node.js';

const { env } = process;
const log = createLog('skepd');

/** What services may have of this host (docs/adr/0033). A setting that means nothing allows nothing. */
function allowanceFrom(setting: string): HostAllowance {
  try {
    return parseAllowance(setting);
  } catch (err) {
    log.error({ err, SKEP_ALLOW: setting }, 'services are allowed nothing of this host');
    return nothingAllowed;
  }
}

async function main(stop: AbortSignal): Promise<void> {
  const settings = readListenSettings(env);
  const runDir = env['SKEP_RUN_DIR'] ?? '/run/skep';
  const engineAddress = env['SKEP_ENGINE'] ?? 'unix:///var/run/docker.sock';
  const engineSocket = engineAddress.replace(/^unix:\/\//, '');
  const random = (size: number): Uint8Array => randomBytes(size);

  const dataplane = new DataplaneClient(join(runDir, 'dataplane.sock'));
  const asked = new FactsOfDataplane({ status: (signal) => dataplane.status(signal), clock: systemClock });
  const facts = lastKnown(asked.now);

  const swarmEvents = new SwarmEvents(systemClock);
  const parts = new HostParts({
    swarmDir: join(env['SKEP_STATE_DIR'] ?? '/var/lib/skep', 'swarm'),
    runDir,
    engine: new Engine(engineAddress),
    dataplane,
    facts,
    allowance: allowanceFrom(env['SKEP_ALLOW'] ?? ''),
    // The engine's own switch, by its own name.
    preferOfflineImages: env['DOCKER_SERVICE_PREFER_OFFLINE_IMAGE'] === '1',
    swarmEvents,
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
  });
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
}

await runDaemon(log, main);
