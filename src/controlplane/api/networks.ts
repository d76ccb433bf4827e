/**
 * `/networks`: the swarm's networks and the engine's as one list. A network of the swarm that a task on this node uses exists in
 * the engine as a node-local one (an overlay of driver `skep`, others of their own); such an instance is never shown as what it is. On a manager
 * the swarm's own object stands for it, on a worker it is shown as the overlay it belongs to.
 */
import { isEngineNetwork } from '../../model/engine-networks.js';
import type { EngineNetworkName } from '../../model/engine-networks.js';
import { SkepError, controlApiError } from '../../model/errors.js';
import { isNodeNetwork } from '../../model/node-networks.js';
import type { Network } from '../../model/objects.js';
import type { View } from '../store/store.js';
import type { ApiContext, Handler } from './context.js';
import { networkResource } from './convert/objects.js';
import type { Filters } from './filters.js';
import { parseFilters } from './filters.js';
import {
  configNetworkOf,
  findSwarmNetworks,
  instanceDriver,
  instances,
  isInstance,
  overlayIdOf,
} from './network-lookup.js';
import type { EngineNetwork } from './network-lookup.js';
import { meshSandboxOf, peersOf, servicesOf } from './network-members.js';
import { untilReleased, userOfNetwork } from './network-use.js';
import { passThrough } from '../dockerd/passthrough.js';
import type { ApiRequest } from './request.js';
import { parseBool } from './request.js';

const filterKeys = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'];

/** What filters look at, of either kind of network. */
interface Subject {
  readonly id: string;
  readonly name: string;
  readonly driver: string;
  readonly scope: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly inUse: boolean;
}

function matches(filters: Filters, subject: Subject): boolean {
  const dangling = filters.get('dangling').map(parseBool);
  return (
    filters.prefix('id', subject.id) &&
    filters.pattern('name', subject.name) &&
    filters.exact('driver', subject.driver) &&
    filters.exact('scope', subject.scope) &&
    filters.labels('label', subject.labels) &&
    filters.exact('type', 'custom') &&
    (dangling.length === 0 || dangling.includes(!subject.inUse))
  );
}

function checkFilters(filters: Filters): void {
  for (const type of filters.get('type'))
    if (type !== 'builtin' && type !== 'custom')
      throw new SkepError('unknown', `invalid filter: 'type'='${type}'`);
  for (const dangling of filters.get('dangling'))
    if (parseBool(dangling) === undefined)
      throw new SkepError(
        'invalidArgument',
        `invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")`,
      );
}

/** The swarm's networks as filters see them. */
const swarmSubject = (view: View, network: Network): Subject => ({
  id: network.id,
  name: network.spec.name,
  driver: network.allocation || isNodeNetwork(network) ? network.spec.driver : '',
  scope: 'swarm',
  labels: network.spec.labels,
  inUse: userOfNetwork(view, network) !== undefined,
});

/** An instance as the network it stands for; the engine's own id would mean nothing elsewhere. */
function asSwarms(instance: EngineNetwork): EngineNetwork {
  const { Driver, Options, Labels, IPAM } = instance;
  return {
    ...instance,
    Id: overlayIdOf(instance) ?? instance.Id,
    Driver: Driver === instanceDriver ? 'overlay' : Driver,
    Scope: 'swarm',
    ConfigFrom: { Network: configNetworkOf(instance) },
    IPAM: { ...(IPAM as object | undefined), Driver: 'default' },
    Options: withoutOurs(Options),
    Labels: withoutOurs(Labels),
  };
}

const withoutOurs = (labels: EngineNetwork['Labels']): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(labels ?? {}).filter(([key]) => !key.startsWith('skep.')));

export const listNetworks: Handler = async (context, request) => {
  const filters = parseFilters(request, { keys: filterKeys });
  checkFilters(filters);
  const answer = await context.engine.call('GET', request.http.url ?? '/networks', undefined, request.signal);
  if (answer.status !== 200) {
    request.reply.writeHead(answer.status, { 'Content-Type': 'application/json' });
    request.reply.end(answer.body);
    return;
  }
  const local = (JSON.parse(answer.body.toString('utf8')) as EngineNetwork[]).filter(
    (network) => !isInstance(network),
  );
  const view = context.control.membership().store?.view();
  const shared = view
    ? view
        .list('network')
        .filter((network) => matches(filters, swarmSubject(view, network)))
        .map((network) => request.shown(networkResource, network))
    : (await instances(context, request)).map(asSwarms).filter((network) =>
        matches(filters, {
          id: network.Id,
          name: network.Name,
          driver: network.Driver,
          scope: network.Scope,
          labels: network.Labels ?? {},
          inUse: Object.keys(network.Containers ?? {}).length > 0,
        }),
      );
  request.json(200, [...shared, ...local]);
};

/** What a path's `{id}` names. `instance` is what stands for the network on this node, where there is such. */
export type FoundNetwork =
  | { readonly kind: 'swarm'; readonly network: Network; readonly instance: EngineNetwork | undefined }
  | {
      readonly kind: 'instance';
      readonly id: string;
      readonly name: string;
      readonly instance: EngineNetwork;
    }
  /** The engine's own. */
  | { readonly kind: 'local' }
  /** Nobody here knows it; on a worker the managers may. */
  | { readonly kind: 'unknown' };

/** As {@link find}, with the instance. */
export async function findNetwork(
  context: ApiContext,
  request: ApiRequest,
  argument: string,
): Promise<FoundNetwork> {
  const found = await find(context, request, argument);
  switch (found.kind) {
    case 'swarm': {
      const instance = await instanceOf(context, request, found.network.id);
      return { kind: 'swarm', network: found.network, instance };
    }
    case 'instance': {
      const { network } = found;
      return { kind: 'instance', id: overlayIdOf(network) ?? '', name: network.Name, instance: network };
    }
    case 'engine':
      return { kind: 'local' };
    case 'local':
      return found.known ? { kind: 'local' } : { kind: 'unknown' };
  }
}

type Found =
  | { readonly kind: 'swarm'; readonly network: Network }
  | { readonly kind: 'instance'; readonly network: EngineNetwork }
  /** Every engine's, asked for as a network of the swarm's. */
  | { readonly kind: 'engine'; readonly name: EngineNetworkName }
  /** `known`: the engine has it. */
  | { readonly kind: 'local'; readonly known: boolean };

/**
 * The engine's own networks by exact id first, then the swarm's, then whatever the engine finds by that name or
 * prefix; a name that both know is ambiguous.
 */
async function find(context: ApiContext, request: ApiRequest, argument: string): Promise<Found> {
  const { store } = context.control.membership();
  const scope = request.query.get('scope') ?? '';
  const inSwarm =
    scope === '' || scope === 'swarm' ? (store ? findSwarmNetworks(store.view(), argument) : []) : [];
  const engineAnswer =
    scope === 'swarm'
      ? undefined
      : await context.engine
          .get<EngineNetwork>(`/networks/${encodeURIComponent(argument)}`, request.signal)
          .catch((err: unknown) => {
            // The swarm's networks can be shown while the engine is away.
            if (inSwarm.length === 0) throw err;
            return undefined;
          });
  const local = engineAnswer && !isInstance(engineAnswer) ? engineAnswer : undefined;
  if (local && local.Id === argument) return { kind: 'local', known: true };
  if (inSwarm.length > 1)
    throw ambiguous(argument, inSwarm.length, inSwarm[0]?.spec.name === argument ? 'name' : 'ID prefix');
  const [network] = inSwarm;
  if (network) {
    const byName = network.id !== argument && network.spec.name === argument;
    if (byName && local?.Name === argument) throw ambiguous(argument, 2, 'name');
    return { kind: 'swarm', network };
  }
  if (!store) {
    const found = (await instances(context, request)).filter(
      (each) =>
        overlayIdOf(each) === argument || each.Name === argument || overlayIdOf(each)?.startsWith(argument),
    );
    const exact =
      found.find((each) => overlayIdOf(each) === argument) ?? (found.length === 1 ? found[0] : undefined);
    if (exact && !local) return { kind: 'instance', network: exact };
  }
  // What `docker service create --network host` asks first.
  if (scope === 'swarm' && store && isEngineNetwork(argument)) return { kind: 'engine', name: argument };
  if (scope === 'swarm' || (engineAnswer && !local)) throw missing(argument);
  return { kind: 'local', known: local !== undefined };
}

const ambiguous = (argument: string, count: number, by: string): SkepError =>
  new SkepError('invalidArgument', `${count} matches found based on ${by}: network ${argument} is ambiguous`);

const missing = (argument: string): SkepError => new SkepError('notFound', `network ${argument} not found`);

export const inspectNetwork: Handler = async (context, request) => {
  const verbose = request.strictFlag('verbose');
  const found = await find(context, request, request.param(0));
  if (found.kind === 'local') return passThrough(context.engine.socketPath, request.http, request.reply);
  if (found.kind === 'instance') {
    const full = await context.engine.get<EngineNetwork>(`/networks/${found.network.Id}`, request.signal);
    return request.json(200, asSwarms(full ?? found.network));
  }
  if (found.kind === 'engine') {
    const own = await context.engine.get<EngineNetwork>(`/networks/${found.name}`, request.signal);
    if (!own) throw missing(found.name);
    // By its name on all nodes alike: what is this node's alone would mean nothing to a service.
    const { Containers: _, ...shown } = own;
    return request.json(200, { ...shown, Id: found.name, Scope: 'swarm' });
  }
  // Containers of this node, when it has any on the network.
  const local = await instanceOf(context, request, found.network.id).catch(() => undefined);
  const full = local && (await context.engine.get<EngineNetwork>(`/networks/${local.Id}`, request.signal));
  const { store, nodeId } = context.control.membership();
  const view = store?.view();
  const peers = view ? peersOf(view, found.network) : [];
  const services = view && verbose ? servicesOf(view, found.network, full) : {};
  const mesh = view && nodeId !== '' ? meshSandboxOf(view, found.network, nodeId) : {};
  const containers = { ...full?.Containers, ...mesh };
  request.json(200, {
    ...(request.shown(networkResource, found.network) as object),
    // Where the node takes part an engine of Swarm's shows its own view, in which no labels are empty ones.
    ...((full || Object.keys(mesh).length > 0) && {
      Labels: found.network.spec.labels,
      Containers: containers,
    }),
    ...(full && isNodeNetwork(found.network) && settingsOf(full)),
    ...(peers.length > 0 && { Peers: peers }),
    ...(Object.keys(services).length > 0 && { Services: services }),
  });
};

/** What a node's engine has made of a network of its own: its addresses are nobody else's to say. */
function settingsOf(instance: EngineNetwork): object {
  const { IPAM, Options, Labels } = asSwarms(instance);
  return { IPAM, Options, Labels };
}

const instanceOf = async (
  context: ApiContext,
  request: ApiRequest,
  id: string,
): Promise<EngineNetwork | undefined> =>
  (await instances(context, request)).find((each) => overlayIdOf(each) === id);

export const removeNetwork: Handler = async (context, request) => {
  const found = await find(context, request, request.param(0));
  if (found.kind === 'local') await refuseUsedConfiguration(context, request);
  if (found.kind === 'local' || found.kind === 'engine')
    return passThrough(context.engine.socketPath, request.http, request.reply);
  const { store } = context.control.membership();
  // The instance goes when the last task of the network has left this node; it is not the user's to remove.
  if (found.kind === 'instance' || !store)
    throw new SkepError(
      'permissionDenied',
      'Cannot remove a multi-host network from a worker node. Please remove the network from a manager node.',
    );
  await untilReleased(store, found.network.id, context.clock, request.signal);
  await store.update((tx) => {
    const network = tx.get('network', found.network.id);
    if (!network) throw missing(request.param(0));
    // Another manager may be creating the service that uses it; whoever attaches a container writes the network.
    tx.dependOnAll('service');
    const user = userOfNetwork(tx, network);
    if (user) throw controlApiError('failedPrecondition', user.refusal);
    tx.delete('network', network.id);
  });
  request.empty(204);
};

/** In the engine's words for a configuration that its own networks have; those of the swarm have been given a copy. */
async function refuseUsedConfiguration(context: ApiContext, request: ApiRequest): Promise<void> {
  const all = await instances(context, request);
  if (all.length === 0) return;
  const path = `/networks/${encodeURIComponent(request.param(0))}`;
  const config = await context.engine.get<EngineNetwork>(path, request.signal);
  if (config?.['ConfigOnly'] === true && all.some((each) => configNetworkOf(each) === config.Name))
    throw new SkepError(
      'permissionDenied',
      `error while removing network: configuration network ${JSON.stringify(config.Name)} is in use`,
    );
}
