/**
 * The Docker Engine as the dataplane asks it: what it has of driver `skep`. Read only; the dataplane needs the engine
 * for nothing else, and lives without an answer.
 */
import Docker from 'dockerode';
import { isMac, parseIp } from '../../model/addresses.js';
import { OutsideError } from '../../model/errors.js';
import type { NetworkId } from '../../model/ids.js';
import type { EngineEndpoint } from '../state-file.js';
import type { EngineView } from './engine-table.js';
import { overlayIdOption } from './network-driver.js';

/** The driver's name is the plugin socket's. */
export const driverName = 'skep';
const timeoutMs = 10_000;

/** A client for `unix:///path` or `tcp://host:port`. */
export function engineClient(address: string): Docker {
  if (address.startsWith('unix://'))
    return new Docker({ socketPath: address.slice('unix://'.length), timeout: timeoutMs });
  const url = new URL(address.replace(/^tcp:/, 'http:'));
  return new Docker({ host: url.hostname, port: url.port || 2375, protocol: 'http', timeout: timeoutMs });
}

/** Asks for all networks of the driver and their endpoints. Throws OutsideError (retryable) when the engine is silent. */
export async function observeEngine(docker: Docker): Promise<EngineView> {
  try {
    const listed = await docker.listNetworks({ filters: { driver: [driverName] } });
    const views = await Promise.all(listed.map(({ Id }) => observeNetwork(docker, Id)));
    return {
      networks: views.flatMap((view) => view.networks),
      endpoints: views.flatMap((view) => view.endpoints),
      unjoined: views.flatMap((view) => view.unjoined),
    };
  } catch (cause) {
    throw new OutsideError('the Docker Engine does not say what it has', true, { cause });
  }
}

const nothing: EngineView = { networks: [], endpoints: [], unjoined: [] };

/** A network that went while being asked for counts as gone. */
async function observeNetwork(docker: Docker, engineNetworkId: string): Promise<EngineView> {
  const network = await orGone(docker.getNetwork(engineNetworkId).inspect());
  const overlayId = network?.Options?.[overlayIdOption] as NetworkId | undefined;
  if (!network || !overlayId) return nothing;
  const entries = Object.entries(network.Containers ?? {});
  const endpoints: EngineEndpoint[] = [];
  const unjoined: string[] = [];
  for (const [
    containerId,
    { EndpointID: endpointId, IPv4Address, IPv6Address, MacAddress: mac },
  ] of entries) {
    // The engine lists an endpoint that no sandbox has joined under this name.
    const container = containerId.startsWith('ep-')
      ? undefined
      : await orGone(docker.getContainer(containerId).inspect());
    const sandboxKey = container?.NetworkSettings.SandboxKey;
    if (!sandboxKey || !isMac(mac)) unjoined.push(endpointId);
    else {
      const address = parseIp((IPv4Address || IPv6Address).replace(/\/.*$/, ''));
      endpoints.push({ endpointId, engineNetworkId, overlayId, address, mac, sandboxKey });
    }
  }
  return { networks: [{ engineNetworkId, overlayId }], endpoints, unjoined };
}

async function orGone<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (err) {
    if ((err as { statusCode?: number }).statusCode === 404) return undefined;
    throw err;
  }
}
