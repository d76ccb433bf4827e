/**
 * `POST /networks/create`: what is for the whole swarm becomes an object in the store, the rest is the engine's.
 * The checks follow dockerd's router, then swarmkit's control API (semantics sheet, 2.7 and 16.5).
 */
import { normalizeCidr, parseCidr } from '../../model/addresses.js';
import { isEngineNetwork } from '../../model/engine-networks.js';
import { SkepError, controlApiError } from '../../model/errors.js';
import { newId } from '../../model/ids.js';
import type { NetworkId } from '../../model/ids.js';
import { ingressPrefixLengthMin } from '../../model/network-laws.js';
import type { NetworkSpec } from '../../model/objects.js';
import type { Labels } from '../../model/service-spec.js';
import type { ApiContext, Handler } from './context.js';
import { initOrJoin, notManager } from './context.js';
import { always, bool, field, labels, ptr, struct, text } from './convert/codec.js';
import { formatJson, jsonOf, withMember } from './convert/json.js';
import { refuseConflicts } from './network-conflicts.js';
import { asLines, sentIpam, toIpamConfig, validateIpam } from './network-ipam.js';
import type { NetworkWithIpam } from './network-ipam.js';
import { faultsOfIpam } from './network-ipam-faults.js';
import { isInstance, predefinedNetworks } from './network-lookup.js';
import type { EngineNetwork } from './network-lookup.js';
import { passThrough } from '../dockerd/passthrough.js';
import type { ApiRequest } from './request.js';
import { findIngress, validateName } from './service-validation.js';
import { requireRoom } from '../upkeep/store-state.js';

interface SentNetwork extends NetworkWithIpam {
  readonly checkDuplicate: boolean;
  readonly driver: string;
  readonly scope: string;
  readonly ipv4?: boolean;
  readonly ipv6?: boolean;
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly configOnly: boolean;
  readonly configFrom: string;
  readonly labels: Labels;
}

const sentNetwork = struct<SentNetwork>(
  'NetworkCreateRequest',
  {
    name: always('Name', text),
    checkDuplicate: always('CheckDuplicate', bool),
    driver: always('Driver', text),
    scope: always('Scope', text),
    ipv4: always('EnableIPv4', ptr(bool), 48),
    ipv6: always('EnableIPv6', ptr(bool)),
    ipam: always('IPAM', ptr(sentIpam)),
    internal: always('Internal', bool),
    attachable: always('Attachable', bool),
    ingress: always('Ingress', bool),
    configOnly: always('ConfigOnly', bool),
    configFrom: field('ConfigFrom.Network', text),
    options: always('Options', labels),
    labels: always('Labels', labels),
  },
  { package: 'types', inner: { ConfigFrom: 'ConfigReference' } },
);

export const createNetwork: Handler = async (context, request) => {
  request.requireJson();
  const body = await request.body();
  const sent = request.decodeBody(sentNetwork, body);
  const { store } = context.control.membership();
  if (sent.driver === 'overlay' && sent.scope === 'local')
    throw new SkepError('permissionDenied', 'cannot downgrade network scope for overlay networks');
  const duplicate = store?.view().byName('network', sent.name);
  const ofSwarm = !sent.configOnly && (sent.driver === 'overlay' || sent.scope === 'swarm');
  const reserved = store && (ofSwarm ? predefinedNetworks.has(sent.name) : isEngineNetwork(sent.name));
  if (duplicate?.spec.name === sent.name || reserved) throw exists(sent);
  if (!ofSwarm) {
    if (sent.ingress)
      throw new SkepError('permissionDenied', 'Ingress network can only be global scope network');
    return passThrough(context.engine.socketPath, request.http, request.reply, {
      body: sent.configOnly ? withoutDriver(request, body) : body,
    });
  }
  const isOverlay = sent.driver === 'overlay';
  if (!isOverlay) await refuseUnknownDriver(context, request, sent);
  if (!store) throw isOverlay ? cannotCreate(context, request) : cannotCreateForNodes(context);
  requireRoom(context.control.membership().storeState);
  const spec = isOverlay ? toSpec(request, sent) : toNodeNetworkSpec(request, sent);
  validate(spec);
  const namesake = await engineNetworkNamed(context, request, sent.name);
  // Newer engines have no two of one name.
  if (namesake && (sent.checkDuplicate || request.modern)) throw exists(sent);
  const id = newId<NetworkId>(context.random);
  await store.update((tx) => {
    const ingress = findIngress(tx);
    if (spec.ingress && ingress)
      throw controlApiError('alreadyExists', `ingress network (${ingress.id}) is already present`);
    if (tx.byName('network', spec.name))
      throw controlApiError('unknown', 'name conflicts with an existing object');
    if (isOverlay) refuseConflicts(tx, spec);
    tx.create('network', { id, spec, addressCursor: 0 });
  });
  const warning = namesake ? `Network with name ${sent.name} (id : ${namesake.Id}) already exists` : '';
  request.json(201, { Id: id, Warning: warning });
};

/** What only configures others has no driver, but newer engines refuse one of the swarm's outside of their own. */
function withoutDriver({ modern }: ApiRequest, body: Buffer): Buffer {
  const sent = modern ? jsonOf(body) : undefined;
  return sent === undefined ? body : Buffer.from(formatJson(withMember(sent, 'Driver', undefined)));
}

const exists = ({ name }: SentNetwork): SkepError =>
  new SkepError('alreadyExists', `network with name ${name} already exists`);

/** The engine's own network of exactly this name; undefined also while the engine is away, whom the swarm's do not need. */
async function engineNetworkNamed(
  { engine }: ApiContext,
  { signal }: ApiRequest,
  name: string,
): Promise<EngineNetwork | undefined> {
  const found = await engine
    .get<EngineNetwork>(`/networks/${encodeURIComponent(name)}`, signal)
    .catch(() => undefined);
  return found?.Name === name && !isInstance(found) ? found : undefined;
}

/** Drivers that every engine on Linux has; the networks that they make are of one node. */
const nodeDrivers = ['', 'bridge', 'host', 'ipvlan', 'macvlan', 'null'];

async function refuseUnknownDriver(
  { engine }: ApiContext,
  { signal }: ApiRequest,
  { driver }: SentNetwork,
): Promise<void> {
  if (nodeDrivers.includes(driver)) return;
  const info = await engine.get<{ Plugins?: { Network?: readonly string[] | null } }>('/info', signal);
  if (!info?.Plugins?.Network?.includes(driver))
    throw new SkepError('notFound', `plugin ${JSON.stringify(driver)} not found`);
}

/** What a configuration of each node decides, nobody else can. */
const ownSettings = (): SkepError =>
  new SkepError(
    'permissionDenied',
    'user specified configurations are not supported if the network depends on a configuration network',
  );

/** A network that each node's engine makes for itself: subnets and options are for it to judge. */
function toNodeNetworkSpec({ modern }: ApiRequest, sent: SentNetwork): NetworkSpec {
  if (sent.name === '') throw invalidName(modern);
  if (sent.ingress)
    throw new SkepError('permissionDenied', 'Ingress network can only be created by the overlay driver');
  const { driver = '', options = {}, configs = [] } = sent.ipam ?? {};
  const isConfigured =
    (driver !== '' && driver !== 'default') ||
    [options, sent.labels, sent.options].some((settings) => Object.keys(settings).length > 0) ||
    configs.length > 0 ||
    sent.ipv6 === true;
  if (sent.configFrom !== '' && isConfigured) throw ownSettings();
  return {
    name: sent.name,
    labels: sent.labels,
    driver: sent.driver || 'bridge',
    driverOptions: sent.options,
    ipv6: sent.ipv6 ?? false,
    internal: sent.internal,
    attachable: sent.attachable,
    ingress: false,
    ...(sent.configFrom !== '' && { configFrom: sent.configFrom }),
    ipam: { driver, options, configs: configs.map((config) => toIpamConfig(config, modern)) },
  };
}

const invalidName = (modern: boolean): SkepError =>
  modern
    ? new SkepError('invalidArgument', 'invalid name: name is empty')
    : new SkepError('unknown', 'invalid name: ');

/** 20.10 tells a worker to ask a manager; outside a swarm the status differs between the engine's versions. */
function cannotCreate({ control }: ApiContext, { modern }: ApiRequest): SkepError {
  const { localNodeState } = control.membership();
  if (localNodeState === 'active') return new SkepError('permissionDenied', modern ? initOrJoin : askManager);
  const refusal = notManager(control);
  if (localNodeState !== 'inactive') return refusal;
  return new SkepError(modern ? 'permissionDenied' : 'unknown', refusal.message);
}

/** Who asks for a driver of the nodes' own is told otherwise outside of a swarm, while the node is locked, and by today's workers. */
const cannotCreateForNodes = ({ control }: ApiContext): SkepError =>
  new SkepError(
    'permissionDenied',
    control.membership().localNodeState === 'active'
      ? askManager
      : 'cannot create a swarm scoped network when swarm is not active',
  );

const askManager =
  'Cannot create a multi-host network from a worker node. Please create the network from a manager node.';

function toSpec({ modern }: ApiRequest, sent: SentNetwork): NetworkSpec {
  if (sent.name === '') throw invalidName(modern);
  if (sent.ipv4 === false)
    throw new SkepError('invalidArgument', 'IPv4 cannot be disabled in a Swarm scoped network');
  const faults = modern ? faultsOfIpam(sent.ipam?.configs ?? [], sent.ipv6 ?? false) : [];
  if (faults.length > 0)
    throw new SkepError('invalidArgument', `invalid network config:\n${asLines(faults)}`);
  const configs = (sent.ipam?.configs ?? []).map((config) => toIpamConfig(config, modern));
  validateIpam(sent, configs);
  // In Swarm each task on such a network is rejected with these words: an overlay's addresses are the swarm's to give.
  if (sent.configFrom !== '') throw ownSettings();
  return {
    name: sent.name,
    labels: sent.labels,
    driver: 'overlay',
    driverOptions: sent.options,
    ipv6: sent.ipv6 ?? false,
    internal: sent.internal,
    attachable: sent.attachable,
    ingress: sent.ingress,
    ipam: {
      driver: sent.ipam?.driver ?? '',
      options: sent.ipam?.options ?? {},
      configs: configs.map((config) => ({ ...config, subnet: normalizeCidr(config.subnet) })),
    },
  };
}

function validate({ name, labels: given, ingress, attachable, ipam }: NetworkSpec): void {
  validateName(name);
  if (Object.hasOwn(given, 'com.docker.swarm.predefined'))
    throw controlApiError(
      'permissionDenied',
      'label com.docker.swarm.predefined is for internally created predefined networks and cannot be applied by users',
    );
  if (ingress && attachable) throw controlApiError('invalidArgument', 'ingress network cannot be attachable');
  for (const { subnet } of ingress ? ipam.configs : []) {
    const { family, prefixLength } = parseCidr(subnet);
    const shortest = ingressPrefixLengthMin(family);
    if (prefixLength < shortest)
      throw controlApiError(
        'invalidArgument',
        `ipam configuration: subnet ${subnet} of an ingress network is larger than /${shortest}`,
      );
  }
}
