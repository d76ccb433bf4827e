/**
 * The engine's own networks that services may be on: `host`, the node's own network namespace, and `bridge`, the engine's default
 * bridge. Every engine has them, so they are no objects of the cluster, have neither VIPs nor names there, and are known by
 * their names. Swarm's are the same two (libnetwork's predefined networks on Linux).
 */
import type { NetworkAttachmentConfig, ServiceSpec } from './service-spec.js';

export const engineNetworkNames = ['host', 'bridge'] as const;

export type EngineNetworkName = (typeof engineNetworkNames)[number];

export const isEngineNetwork = (target: string): target is EngineNetworkName =>
  (engineNetworkNames as readonly string[]).includes(target);

/** The engine's own network among those that a task is on; undefined: it is on overlays only, if any. */
export const engineNetworkOf = (
  networks: readonly NetworkAttachmentConfig[] | undefined,
): EngineNetworkName | undefined => networks?.map(({ target }) => target).find(isEngineNetwork);

/**
 * Why a service cannot be on the engine's network that it asks for; undefined: it can, or asks for none. A container on one is on
 * no overlay: on `host` the engine allows no other network, and on `bridge` it asks no name server but its own.
 */
export function faultOfEngineNetworks(spec: ServiceSpec): string | undefined {
  // Tasks know of their template only.
  const deprecated = engineNetworkOf(spec.networks);
  if (deprecated !== undefined) return `network ${deprecated} must be given in TaskTemplate.Networks`;
  const networks = spec.taskTemplate.networks ?? [];
  const name = engineNetworkOf(networks);
  if (name === undefined) return undefined;
  if (networks.length > 1) return `network ${name} cannot be used together with other networks`;
  if (spec.endpointSpec?.ports.some(({ publishMode }) => publishMode === 'ingress'))
    return `ports of a service on network ${name} cannot be published in ingress mode; use mode=host`;
  return undefined;
}
