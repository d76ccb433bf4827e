/** This host as it describes itself to the managers. Pure. */
import type { EngineInfo } from '../dockerd/client.js';
import type { WireNodeDescription } from '../rpc/messages.js';

/** From the engine's `/info`. Labels and plugins are ordered, so that equal hosts give equal values. */
export function describeNode(info: EngineInfo): WireNodeDescription {
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
    engineLabels: Object.fromEntries((info.Labels ?? []).map(splitLabel).sort()),
    plugins,
  };
}

/** `key=value`; a label without a value is empty. */
function splitLabel(label: string): [string, string] {
  const at = label.indexOf('=');
  return at < 0 ? [label, ''] : [label.slice(0, at), label.slice(at + 1)];
}
