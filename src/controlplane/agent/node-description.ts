/** This host as it describes itself to the managers. Pure. */
import { withBalancer } from '../../model/balancing.js';
import type { HostRoute } from '../../model/host-routes.js';
import type { EngineInfo } from '../dockerd/client.js';
import type { WireNodeDescription } from '../rpc/messages.js';

/**
 * From the engine's `/info`. Labels and plugins are ordered, so that equal hosts give equal values.
 * @param routes see host-routes.ts
 * @param balancer name of the balancer engine, which the engine's labels then tell; undefined: not known
 */
export function describeNode(
  info: EngineInfo,
  routes: readonly HostRoute[],
  balancer?: string,
): WireNodeDescription {
  const plugins = (['Log', 'Network', 'Volume'] as const).flatMap((type) =>
    [...(info.Plugins?.[type] ?? [])].sort().map((name) => ({ type, name })),
  );
  return {
    hostname: info.Name,
    architecture: info.Architecture,
    os: info.OSType,
    nanoCpus: info.NCPU * 1e9,
    memoryBytes: info.MemTotal,
    engineVersion: info.ServerVersion,
    engineLabels: Object.fromEntries(
      withBalancer(info.Labels ?? [], balancer)
        .map(splitLabel)
        .sort(),
    ),
    plugins,
    routes,
  };
}

/** `key=value`; a label without a value is empty. */
function splitLabel(label: string): [string, string] {
  const at = label.indexOf('=');
  return at < 0 ? [label, ''] : [label.slice(0, at), label.slice(at + 1)];
}
