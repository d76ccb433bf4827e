/** Finding networks by what users type: among the swarm's own and, through the engine, the node's. */
import { engineNetworkNames, isEngineNetwork } from '../../model/engine-networks.js';
import { SkepError } from '../../model/errors.js';
import { configNetworkLabel } from '../../model/node-networks.js';
import type { Network } from '../../model/objects.js';
import type { View } from '../store/store.js';
import type { ApiContext } from './context.js';
import type { ApiRequest } from './request.js';

/** The driver of a node's own instance of an overlay; and of instances of any network the label that names it. */
export const instanceDriver = 'skep';
export const overlayIdOption = 'skep.network.id';

/** Names Docker keeps for itself. */
export const predefinedNetworks: ReadonlySet<string> = new Set([
  'bridge',
  'host',
  'none',
  'container',
  'default',
]);

/** A network as the engine describes it; fields not named here are handed through. */
export interface EngineNetwork {
  readonly Name: string;
  readonly Id: string;
  readonly Driver: string;
  readonly Scope: string;
  readonly Options: Readonly<Record<string, string>> | null;
  readonly Labels: Readonly<Record<string, string>> | null;
  readonly Containers?: Readonly<Record<string, unknown>> | null;
  readonly [field: string]: unknown;
}

export const isInstance = (network: EngineNetwork): boolean =>
  network.Driver === instanceDriver || overlayIdOf(network) !== undefined;

/** The network of the swarm that an instance stands for. */
export const overlayIdOf = ({ Options, Labels }: EngineNetwork): string | undefined =>
  Options?.[overlayIdOption] ?? Labels?.[overlayIdOption];

/** The configuration of this node that an instance was made with; empty: none. */
export const configNetworkOf = ({ Labels }: EngineNetwork): string => Labels?.[configNetworkLabel] ?? '';

/** This node's instances of networks of the swarm. */
export async function instances(
  { engine }: Pick<ApiContext, 'engine'>,
  { signal }: Pick<ApiRequest, 'signal'>,
): Promise<readonly EngineNetwork[]> {
  const filters = encodeURIComponent(JSON.stringify({ label: [overlayIdOption] }));
  return (await engine.get<EngineNetwork[]>(`/networks?filters=${filters}`, signal)) ?? [];
}

/** Exact id, exact name, id prefix: the first step with a result decides. */
export function findSwarmNetworks(view: View, argument: string): readonly Network[] {
  const networks = view.list('network');
  for (const step of [
    ({ id }: Network) => id === argument,
    ({ spec }: Network) => spec.name === argument,
    ({ id }: Network) => argument !== '' && id.startsWith(argument),
  ]) {
    const found = networks.filter(step);
    if (found.length > 0) return found;
  }
  return [];
}

/**
 * A service's network by id or name, as its id, or as its name if it is the engine's. What exists only on this node is refused with 403, what exists
 * nowhere with 500 (the daemon of 20.10 hands a plain Go error through).
 */
export async function findNetworkId(context: ApiContext, view: View, target: string): Promise<string> {
  // Every network begins with nothing, and so do the two of the engine's that a service can have.
  if (target === '') {
    const count = view.list('network').length + engineNetworkNames.length;
    throw new SkepError('invalidArgument', `network  is ambiguous (${count} matches found)`);
  }
  const found = findSwarmNetworks(view, target);
  if (found.length > 1)
    throw new SkepError('invalidArgument', `network ${target} is ambiguous (${found.length} matches found)`);
  if (found[0]) return found[0].id;
  if (isEngineNetwork(target)) return target;
  const local = await context.engine
    .get<EngineNetwork>(`/networks/${encodeURIComponent(target)}`)
    .catch(() => undefined);
  if (local && !isInstance(local))
    throw new SkepError(
      'permissionDenied',
      `The network ${target} cannot be used with services. Only networks scoped to the swarm can be used, such as ` +
        'those created with the overlay driver.',
    );
  throw new SkepError('unknown', `network ${target} not found`);
}
