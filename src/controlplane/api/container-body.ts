/**
 * Requests to create a container or to connect one, rewritten for a network of the swarm's: the engine knows the network by
 * the name of what stands for it on this node, and is told the address that the cluster's allocator chose. Pure; whatever
 * else a request says goes through as it was written.
 *
 * Network aliases become an option of the endpoint ({@link aliasesOption}): the engine answers its own aliases itself, with
 * this node's containers only, and an alias may be shared by containers of several nodes.
 */
import type { AttachedNetwork } from '../attach-control.js';
import { aliasesOption } from '../attach-control.js';
import { SkepError } from '../../model/errors.js';
import { ipamMember } from '../dockerd/ipam-config.js';
import { JsonObject, memberOf, withMember } from './convert/json.js';
import type { Json } from './convert/json.js';

/** Network modes that are none of the swarm's networks. */
const engineModes: ReadonlySet<string> = new Set(['', 'default', 'bridge', 'host', 'none', 'nat']);
export const isEngineMode = (name: string): boolean => engineModes.has(name) || name.startsWith('container:');

const textOf = (json: Json | undefined): string => (typeof json === 'string' ? json : '');
const textsOf = (json: Json | undefined): string[] =>
  Array.isArray(json) ? json.filter((each): each is string => typeof each === 'string') : [];

const endpointsOf = (create: Json): JsonObject => {
  const endpoints = memberOf(memberOf(create, 'NetworkingConfig'), 'EndpointsConfig');
  return endpoints instanceof JsonObject ? endpoints : new JsonObject([]);
};
const modeOf = (create: Json): string => textOf(memberOf(memberOf(create, 'HostConfig'), 'NetworkMode'));

/** Names or ids of the users' networks that a container to be created asks for; the one of its network mode first. */
export const networksOfCreate = (create: Json): string[] =>
  [...new Set([modeOf(create), ...endpointsOf(create).entries.map(([name]) => name)])].filter(
    (name) => !isEngineMode(name),
  );

/** What an endpoint asks of its network. */
export interface WantedEndpoint {
  readonly address: string;
  readonly aliases: readonly string[];
}

/** Throws `invalidArgument` for what the swarm cannot give. */
export function wantedEndpoint(network: string, endpoint: Json | undefined): WantedEndpoint {
  const ipam = memberOf(endpoint, 'IPAMConfig');
  if (textOf(memberOf(ipam, 'IPv6Address')) !== '')
    throw new SkepError('invalidArgument', `network ${network} of the swarm has no IPv6 addresses`);
  if (textOf(memberOf(endpoint, 'MacAddress')) !== '')
    throw new SkepError(
      'invalidArgument',
      `network ${network}: the swarm chooses the MAC addresses on its networks, so that none is used again`,
    );
  return {
    address: textOf(memberOf(ipam, 'IPv4Address')),
    aliases: textsOf(memberOf(endpoint, 'Aliases')),
  };
}

/** As {@link wantedEndpoint}, of a network that a container to be created asks for. */
export function wantedOfCreate(create: Json, network: string): WantedEndpoint {
  if (modeOf(create) === network)
    wantedEndpoint(network, withMember(undefined, 'MacAddress', memberOf(create, 'MacAddress')));
  return wantedEndpoint(network, memberOf(endpointsOf(create), network));
}

/** The endpoint with the address that was allocated. */
export function attachedEndpoint(endpoint: Json | undefined, { address }: AttachedNetwork): JsonObject {
  const aliases = textsOf(memberOf(endpoint, 'Aliases'));
  const options = memberOf(endpoint, 'DriverOpts');
  const ipam = withMember(memberOf(endpoint, 'IPAMConfig'), ipamMember(address), address);
  const changes: readonly (readonly [string, Json | undefined])[] = [
    ['IPAMConfig', ipam],
    ['Aliases', undefined],
    // The swarm's id of the network, which the engine does not know.
    ['NetworkID', undefined],
    ['DriverOpts', aliases.length > 0 ? withMember(options, aliasesOption, aliases.join()) : options],
  ];
  return changes.reduce(
    (result, [key, value]) => withMember(result, key, value),
    endpoint instanceof JsonObject ? endpoint : new JsonObject([]),
  );
}

/**
 * The container's request with its places on the swarm's networks.
 * @param attached by the name or id that the request uses
 */
export function attachedCreate(create: Json, attached: ReadonlyMap<string, AttachedNetwork>): JsonObject {
  const endpoints = endpointsOf(create);
  const others = endpoints.entries.filter(([name]) => !attached.has(name));
  const places = [...attached].map(
    ([name, place]) => [place.networkName, attachedEndpoint(memberOf(endpoints, name), place)] as const,
  );
  const networking = withMember(
    memberOf(create, 'NetworkingConfig'),
    'EndpointsConfig',
    new JsonObject([...others, ...places]),
  );
  const host = memberOf(create, 'HostConfig');
  const mode = modeOf(create);
  // The user's own servers come after, for when the dataplane is away: as with tasks.
  const dns = [
    ...[...attached.values()].map(({ ownAddress }) => ownAddress),
    ...textsOf(memberOf(host, 'Dns')),
  ];
  const hostConfig = withMember(
    withMember(host, 'NetworkMode', attached.get(mode)?.networkName ?? mode),
    'Dns',
    dns,
  );
  return withMember(withMember(create, 'NetworkingConfig', networking), 'HostConfig', hostConfig);
}

/** The container and the endpoint in a request to connect or disconnect. */
export const connectionOf = (
  body: Json,
): { readonly container: string; readonly endpoint: Json | undefined } => ({
  container: textOf(memberOf(body, 'Container')),
  endpoint: memberOf(body, 'EndpointConfig'),
});
