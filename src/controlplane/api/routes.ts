/** Which handler answers what. A path is matched part by part; `{}` takes one part, percent-decoded. */
import { restoreBackup, takeBackup } from './backup.js';
import {
  changeContainers,
  connectNetwork,
  createContainer,
  disconnectNetwork,
  startContainer,
} from './containers.js';
import { listContainers } from './container-list.js';
import type { Handler } from './context.js';
import { events } from './events.js';
import { info, ping } from './info.js';
import { serviceLogs, taskLogs } from './logs.js';
import { createNetwork } from './network-create.js';
import { pruneNetworks } from './network-prune.js';
import { inspectNetwork, listNetworks, removeNetwork } from './networks.js';
import { inspectNode, listNodes, removeNode, updateNode } from './nodes.js';
import { configs, secrets } from './payloads.js';
import { createService, inspectService, listServices, removeService, updateService } from './services.js';
import {
  initSwarm,
  inspectSwarm,
  joinSwarm,
  leaveSwarm,
  unlockKey,
  unlockSwarm,
  updateSwarm,
} from './swarm.js';
import { inspectTask, listTasks } from './tasks.js';
import type { EngineIdentity, Minor } from './versions.js';
import { createVolume, updateVolume } from './volumes.js';

/** @param since the minor API version of the oldest engine that has the route; older ones are left to refuse it */
type Row = readonly [methods: string, path: string, handler: Handler, since?: Minor];

const table: readonly Row[] = [
  ['GET HEAD', '/_ping', ping],
  ['GET', '/info', info],
  ['GET', '/events', events],

  ['GET', '/swarm', inspectSwarm],
  ['POST', '/swarm/init', initSwarm],
  ['POST', '/swarm/join', joinSwarm],
  ['POST', '/swarm/leave', leaveSwarm],
  ['POST', '/swarm/update', updateSwarm],
  ['GET', '/swarm/unlockkey', unlockKey],
  ['POST', '/swarm/unlock', unlockSwarm],

  ['POST', '/skep/backup', takeBackup],
  ['POST', '/skep/restore', restoreBackup],

  ['GET', '/nodes', listNodes],
  ['GET', '/nodes/{}', inspectNode],
  ['POST', '/nodes/{}/update', updateNode],
  ['DELETE', '/nodes/{}', removeNode],

  ['GET', '/services', listServices],
  ['GET', '/services/{}', inspectService],
  ['POST', '/services/create', createService],
  ['POST', '/services/{}/update', updateService],
  ['DELETE', '/services/{}', removeService],
  ['GET', '/services/{}/logs', serviceLogs],

  ['GET', '/tasks', listTasks],
  ['GET', '/tasks/{}', inspectTask],
  ['GET', '/tasks/{}/logs', taskLogs],

  ['GET', '/secrets', secrets.list],
  ['POST', '/secrets/create', secrets.create],
  ['GET', '/secrets/{}', secrets.inspect],
  ['POST', '/secrets/{}/update', secrets.update],
  ['DELETE', '/secrets/{}', secrets.remove],
  ['GET', '/configs', configs.list],
  ['POST', '/configs/create', configs.create],
  ['GET', '/configs/{}', configs.inspect],
  ['POST', '/configs/{}/update', configs.update],
  ['DELETE', '/configs/{}', configs.remove],

  ['GET', '/networks', listNetworks],
  ['POST', '/networks/create', createNetwork],
  ['POST', '/networks/prune', pruneNetworks],
  ['GET', '/networks/{}', inspectNetwork],
  ['DELETE', '/networks/{}', removeNetwork],
  ['POST', '/networks/{}/connect', connectNetwork],
  ['POST', '/networks/{}/disconnect', disconnectNetwork],

  ['POST', '/volumes/create', createVolume],
  ['PUT', '/volumes/{}', updateVolume, 42],

  ['GET', '/containers/json', listContainers],
  ['POST', '/containers/create', createContainer],
  ['POST', '/containers/prune', changeContainers],
  ['POST', '/containers/{}/start', startContainer],
  ['POST', '/containers/{}/restart', startContainer],
  ['POST', '/containers/{}/rename', changeContainers],
  ['DELETE', '/containers/{}', changeContainers],
];

/** What is answered here: methods and path of each route. */
export const servedRoutes: readonly (readonly [method: string, path: string])[] = table.flatMap(
  ([methods, path]) => methods.split(' ').map((method) => [method, path] as const),
);

const routes = table.map(([methods, path, handler, since = 0]) => ({
  methods: methods.split(' '),
  path,
  parts: path.split('/').slice(1),
  handler,
  since,
}));

/**
 * Everything under these belongs to the swarm: what is unknown here must not reach the engine, which has a swarm
 * mode of its own.
 */
const ours = new Set(['skep', 'swarm', 'nodes', 'services', 'tasks', 'secrets', 'configs']);

export type Route =
  | {
      readonly kind: 'handler';
      readonly handler: Handler;
      /** As it stands in the table. */
      readonly path: string;
      readonly params: readonly string[];
    }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'engine' };

/** Finds who answers in front of an engine of this version; `path` is without version and query. */
export function findRoute(method: string, path: string, { maxMinor }: EngineIdentity): Route {
  const parts = path.split('/').slice(1);
  for (const route of routes) {
    if (!route.methods.includes(method) || route.parts.length !== parts.length || maxMinor < route.since)
      continue;
    const params: string[] = [];
    const fits = route.parts.every((wanted, i) => {
      const part = parts[i] ?? '';
      if (wanted !== '{}') return wanted === part;
      params.push(decode(part));
      return part !== '';
    });
    if (fits) return { kind: 'handler', handler: route.handler, path: route.path, params };
  }
  return { kind: isOurs(path) ? 'unknown' : 'engine' };
}

/** The engine decodes a path before it looks, so `/swarm%2Finit` is judged by what it will see there. */
const isOurs = (path: string): boolean => {
  const [first, second] = decode(path)
    .split('/')
    .filter((part) => part !== '');
  return ours.has((/^v\d/.test(first ?? '') ? second : first) ?? '');
};

const decode = (part: string): string => {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
};
