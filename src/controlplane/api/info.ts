/** `/_ping`, `/info` and what they say of the swarm. */
import { withBalancer } from '../../model/balancing.js';
import type { ApiContext, Handler } from './context.js';
import { swarm } from './convert/objects.js';
import type { ApiRequest } from './request.js';
import { clusterView } from './swarm.js';
import type { SwarmControl } from './swarm-control.js';
import { storeWarnings } from '../upkeep/store-state.js';

/** `inactive`, `pending`, `error`, `locked`, `active/worker` or `active/manager`. */
function swarmHeader(control: SwarmControl): string {
  const { localNodeState, store } = control.membership();
  if (localNodeState !== 'active') return localNodeState;
  return store ? 'active/manager' : 'active/worker';
}

/**
 * Answered here, not by the engine, so that a client still learns where it is while the engine restarts. The Swarm
 * header (API 1.42) is sent whatever the engine's version: it speaks of this front, and older clients ignore it.
 */
export const ping: Handler = async ({ control }, request) => {
  const { reply, engine, http } = request;
  if (engine.builderVersion !== undefined) reply.setHeader('Builder-Version', engine.builderVersion);
  reply.setHeader('Swarm', swarmHeader(control));
  reply.setHeader('Cache-Control', 'no-cache, no-store, must-revalidate');
  reply.setHeader('Pragma', 'no-cache');
  reply.setHeader('Content-Type', 'text/plain; charset=utf-8');
  const body = http.method === 'HEAD' ? '' : 'OK';
  reply.setHeader('Content-Length', body.length);
  reply.writeHead(200);
  reply.end(body);
};

interface EngineInfo {
  readonly Labels?: readonly string[] | null;
  readonly Plugins?: { readonly Network?: readonly string[] | null };
  readonly Warnings?: readonly string[] | null;
}

const twoManagers =
  'WARNING: Running Swarm in a two-manager configuration. This configuration provides no fault tolerance, and poses ' +
  'a high risk to lose control over the cluster. Refer to https://docs.docker.com/engine/swarm/admin_guide/ to ' +
  'configure the Swarm for fault-tolerance.';

/** The engine's answer with the swarm's in place of its own, and the balancer engine among the labels. */
export const info: Handler = async (context, request) => {
  const answer = await context.engine.call('GET', request.http.url ?? '/info', undefined, request.signal);
  if (answer.status !== 200) {
    request.reply.writeHead(answer.status, { 'Content-Type': 'application/json' });
    request.reply.end(answer.body);
    return;
  }
  const engine = JSON.parse(answer.body.toString('utf8')) as EngineInfo;
  const networks = engine.Plugins?.Network ?? [];
  const { section, warnings } = swarmSection(context, request);
  const balancer = await context.balancer();
  request.json(200, {
    ...engine,
    ...(balancer === undefined ? {} : { Labels: withBalancer(engine.Labels ?? [], balancer) }),
    Plugins: { ...engine.Plugins, Network: [...new Set([...networks, 'overlay'])].sort() },
    Swarm: section,
    Warnings: warnings.length === 0 ? (engine.Warnings ?? null) : [...(engine.Warnings ?? []), ...warnings],
  });
};

function swarmSection(
  context: ApiContext,
  request: ApiRequest,
): { section: object; warnings: readonly string[] } {
  const membership = context.control.membership();
  const base = {
    NodeID: membership.nodeId,
    NodeAddr: membership.nodeAddr,
    LocalNodeState: membership.localNodeState,
    ControlAvailable: membership.store !== undefined,
    Error: membership.error,
    RemoteManagers:
      membership.remoteManagers?.map(({ nodeId, addr }) => ({ NodeID: nodeId, Addr: addr })) ?? null,
  };
  if (!membership.store) return { section: base, warnings: [] };
  const view = membership.store.view();
  const nodes = view.list('node');
  const managers = nodes.filter(({ managerStatus }) => managerStatus).length;
  const store = membership.storeState ? storeWarnings(membership.storeState) : [];
  const warnings = [...(managers === 2 ? [twoManagers] : []), ...store.map((text) => `WARNING: ${text}`)];
  return {
    section: {
      ...base,
      Nodes: nodes.length,
      Managers: managers,
      Cluster: request.shown(swarm, clusterView(context, view.cluster())),
      ...(warnings.length > 0 ? { Warnings: warnings } : {}),
    },
    warnings,
  };
}
