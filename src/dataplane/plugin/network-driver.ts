/**
 * NetworkDriver of the libnetwork remote protocol: turns the engine's calls into entries of the engine table and waits
 * until the kernel has what the engine expects next. Must stay true: a call may be repeated at any time (the engine does
 * after a timeout and after a restart of either side) and answers the same; what is unknown on the way out (Leave,
 * Delete) is a success, or the engine could never let go of it; an address and its MAC are the state's, never the engine's choice.
 *
 * The engine (20.10) calls Join before the sandbox exists: it names the path only, moves the interface that Join
 * answered when runc's hook has made the namespace, and gives it the address. The rest of the sandbox is the reconciler's.
 */
import { parseCidr, parseIp } from '../../model/addresses.js';
import type { Ip } from '../../model/addresses.js';
import { SkepError } from '../../model/errors.js';
import type { NetworkId } from '../../model/ids.js';
import { otherSubnets, subnetAround, subnetsOf } from '../../model/network-subnets.js';
import type { NodeNetwork } from '../node-network.js';
import { Fields, refuse } from '../parse-fields.js';
import { requestFields } from './request.js';
import { containerEndName } from '../sandbox.js';
import type { Endpoint, Overlay } from '../state.js';
import type { EngineEndpoint, EngineNetwork } from '../state-file.js';

/** The network option that names the overlay; the agent sets it (`docker network create -d skep -o skep.network.id=…`). */
export const overlayIdOption = 'skep.network.id';
const genericOptions = 'com.docker.network.generic';
/** libnetwork's types.CONNECTED: without a next hop. */
const connectedRoute = 1;

export interface NetworkDriverOptions {
  readonly network: NodeNetwork;
  /** Resolves once the endpoint's veth pair stands, its outer end a port of the overlay. */
  readonly waitVeth: (endpointId: string, signal: AbortSignal) => Promise<void>;
  /** True when a namespace stands at the path. */
  readonly sandboxExists: (sandboxKey: string) => Promise<boolean>;
  /** Bound on every wait of a call, below the engine's own 30 s. */
  readonly waitMs: number;
}

type Handler = (request: unknown, signal: AbortSignal) => Promise<object> | object;

/** The driver's methods by the name in the URL. Each checks its request and throws SkepError. */
export function networkDriver(options: NetworkDriverOptions): Readonly<Record<string, Handler>> {
  const { network } = options;
  const nothing = (): object => ({});
  return {
    'NetworkDriver.GetCapabilities': () => ({ Scope: 'local', ConnectivityScope: 'global' }),
    'NetworkDriver.CreateNetwork': (request) => createNetwork(network, request),
    'NetworkDriver.DeleteNetwork': (request) => deleteNetwork(network, request),
    'NetworkDriver.CreateEndpoint': (request, signal) => createEndpoint(options, request, signal),
    'NetworkDriver.DeleteEndpoint': (request) => deleteEndpoint(network, request),
    'NetworkDriver.EndpointOperInfo': (request) => endpointInfo(network, request),
    'NetworkDriver.Join': (request, signal) => join(options, request, signal),
    'NetworkDriver.Leave': (request) => leave(network, request),
    'NetworkDriver.ProgramExternalConnectivity': nothing,
    'NetworkDriver.RevokeExternalConnectivity': nothing,
    'NetworkDriver.DiscoverNew': nothing,
    'NetworkDriver.DiscoverDelete': nothing,
    // Swarm-scoped drivers only; this one is local, its networks are allocated by skepd.
    'NetworkDriver.AllocateNetwork': () => ({ Options: {} }),
    'NetworkDriver.FreeNetwork': nothing,
  };
}

async function createNetwork(network: NodeNetwork, request: unknown): Promise<object> {
  const fields = requestFields(request);
  const engineNetworkId = fields.id('NetworkID');
  const options = fields.raw('Options');
  const generic = options ? new Fields(options, 'Options').raw(genericOptions) : undefined;
  if (!generic || new Fields(generic, genericOptions).optionalString(overlayIdOption) === undefined)
    throw new SkepError(
      'invalidArgument',
      `a network of driver skep needs the option ${overlayIdOption}: create overlays with \`docker network create -d overlay\` on skep's socket`,
    );
  const overlayId = new Fields(generic, genericOptions).id(overlayIdOption) as NetworkId;
  await network.updateTable((table) => {
    const held = table.networks.find((one) => one.engineNetworkId === engineNetworkId);
    if (held?.overlayId === overlayId) return table;
    if (held)
      throw new SkepError('alreadyExists', `network ${engineNetworkId} stands for overlay ${held.overlayId}`);
    return { ...table, networks: [...table.networks, { engineNetworkId, overlayId }] };
  });
  return {};
}

async function deleteNetwork(network: NodeNetwork, request: unknown): Promise<object> {
  const engineNetworkId = requestFields(request).id('NetworkID');
  await network.updateTable((table) =>
    table.networks.some((one) => one.engineNetworkId === engineNetworkId)
      ? {
          ...table,
          networks: table.networks.filter((one) => one.engineNetworkId !== engineNetworkId),
          // The engine removes endpoints first; what is left is of an engine that lost them.
          endpoints: table.endpoints.filter((one) => one.engineNetworkId !== engineNetworkId),
        }
      : table,
  );
  return {};
}

async function createEndpoint(
  options: NetworkDriverOptions,
  request: unknown,
  signal: AbortSignal,
): Promise<object> {
  const { network, waitMs } = options;
  const fields = requestFields(request);
  const { engineNetworkId, overlayId } = knownNetwork(network, fields.id('NetworkID'));
  const endpointId = fields.id('EndpointID');
  const wanted = new Fields(fields.raw('Interface') ?? {}, 'Interface');
  const address = interfaceAddress(wanted);
  const wantedMac = wanted.optionalString('MacAddress') === undefined ? undefined : wanted.mac('MacAddress');

  const { mac } = await bounded(
    (limit) => network.waitFor(() => ownEndpoint(network, overlayId, address), limit),
    waitMs,
    signal,
    () => `address ${address} on overlay ${overlayId} is not assigned to this node`,
  );
  if (wantedMac !== undefined && wantedMac !== mac)
    refuse('Interface.MacAddress', `the cluster assigned ${mac} to ${address}, not ${wantedMac}`);

  const taken = network.endpoints.find(
    (one) => one.overlayId === overlayId && one.address === address && one.endpointId !== endpointId,
  );
  if (taken?.sandboxKey && (await options.sandboxExists(taken.sandboxKey)))
    throw new SkepError('alreadyExists', `address ${address} is in use by endpoint ${taken.endpointId}`);

  await network.updateTable((table) => {
    const held = table.endpoints.find((one) => one.endpointId === endpointId);
    if (held?.address === address && held.mac === mac && held.overlayId === overlayId) return table;
    const others = table.endpoints.filter(
      (one) => one.endpointId !== endpointId && one.endpointId !== taken?.endpointId,
    );
    return {
      ...table,
      endpoints: [...others, { endpointId, engineNetworkId, overlayId, address, mac, sandboxKey: null }],
    };
  });
  // The engine refuses an answer to what it has set itself.
  return { Interface: wantedMac === undefined ? { MacAddress: mac } : {} };
}

/** `address/prefix` of the request as an address. */
function interfaceAddress(fields: Fields): Ip {
  if (fields.optionalString('AddressIPv6') !== undefined)
    throw new SkepError('unimplemented', 'skep has no IPv6 addresses on overlay networks');
  const text = fields.optionalString('Address');
  if (text === undefined)
    throw new SkepError(
      'invalidArgument',
      'Interface.Address: an endpoint needs the address that the cluster allocated',
    );
  parseCidr(text);
  return parseIp(text.slice(0, text.indexOf('/')));
}

function ownEndpoint(network: NodeNetwork, overlayId: NetworkId, address: Ip): Endpoint | undefined {
  const { state } = network;
  const overlay = state?.overlays.find((one) => one.id === overlayId);
  if (overlay && !subnetAround(overlay, address)) refuse('Interface.Address', notInOverlay(overlay, address));
  return overlay?.endpoints.find((one) => one.address === address && one.nodeId === state?.nodeId);
}

const notInOverlay = (overlay: Overlay, address: Ip): string =>
  `${address} is not in ${subnetsOf(overlay)
    .map(({ subnet }) => subnet)
    .join(' or ')} of overlay ${overlay.name}`;

async function deleteEndpoint(network: NodeNetwork, request: unknown): Promise<object> {
  const endpointId = requestFields(request).id('EndpointID');
  await network.updateTable((table) =>
    table.endpoints.some((one) => one.endpointId === endpointId)
      ? { ...table, endpoints: table.endpoints.filter((one) => one.endpointId !== endpointId) }
      : table,
  );
  return {};
}

function endpointInfo(network: NodeNetwork, request: unknown): object {
  const endpoint = network.endpoint(requestFields(request).id('EndpointID'));
  return {
    Value: endpoint
      ? { [overlayIdOption]: endpoint.overlayId, 'com.docker.network.endpoint.macaddress': endpoint.mac }
      : {},
  };
}

async function join(options: NetworkDriverOptions, request: unknown, signal: AbortSignal): Promise<object> {
  const { network, waitMs, waitVeth } = options;
  const fields = requestFields(request);
  const endpoint = knownEndpoint(network, fields.id('EndpointID'));
  const sandboxKey = fields.string('SandboxKey', 4096);
  if (!sandboxKey.startsWith('/'))
    refuse('SandboxKey', `expected an absolute path, got ${JSON.stringify(sandboxKey)}`);
  const { endpointId } = endpoint;
  await setSandboxKey(network, endpointId, sandboxKey);
  await bounded(
    (limit) => waitVeth(endpointId, limit),
    waitMs,
    signal,
    () => `the interface of endpoint ${endpointId} on overlay ${endpoint.overlayId} was not programmed`,
  );
  const overlay = network.state?.overlays.find(({ id }) => id === endpoint.overlayId);
  // No gateway: the engine then adds the leg on docker_gwbridge, which carries the default route.
  return {
    InterfaceName: { SrcName: containerEndName(endpointId), DstPrefix: 'eth' },
    // They are on the same link.
    ...(overlay?.furtherSubnets && {
      StaticRoutes: otherSubnets(overlay, endpoint.address).map((Destination) => ({
        Destination,
        RouteType: connectedRoute,
      })),
    }),
  };
}

async function leave(network: NodeNetwork, request: unknown): Promise<object> {
  await setSandboxKey(network, requestFields(request).id('EndpointID'), null);
  return {};
}

const setSandboxKey = (network: NodeNetwork, endpointId: string, sandboxKey: string | null): Promise<void> =>
  network.updateTable((table) => {
    const held = table.endpoints.find((one) => one.endpointId === endpointId);
    if (!held || held.sandboxKey === sandboxKey) return table;
    return {
      ...table,
      endpoints: table.endpoints.map((one) => (one === held ? { ...one, sandboxKey } : one)),
    };
  });

function knownNetwork(network: NodeNetwork, engineNetworkId: string): EngineNetwork {
  const held = network.networks.find((one) => one.engineNetworkId === engineNetworkId);
  if (!held) throw new SkepError('notFound', `network ${engineNetworkId} is not known to skep`);
  return held;
}

function knownEndpoint(network: NodeNetwork, endpointId: string): EngineEndpoint {
  const held = network.endpoint(endpointId);
  if (!held) throw new SkepError('notFound', `endpoint ${endpointId} is not known to skep`);
  return held;
}

/** Runs `wait` for at most `waitMs`; then throws `deadlineExceeded` with `what` and the bound. */
async function bounded<T>(
  wait: (limit: AbortSignal) => Promise<T>,
  waitMs: number,
  signal: AbortSignal,
  what: () => string,
): Promise<T> {
  const deadline = AbortSignal.timeout(waitMs);
  try {
    return await wait(AbortSignal.any([deadline, signal]));
  } catch (cause) {
    if (!deadline.aborted || cause !== deadline.reason) throw cause;
    throw new SkepError('deadlineExceeded', `${what()} within ${waitMs / 1000} s`, { cause });
  }
}
