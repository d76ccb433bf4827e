/**
 * Names in a container that is also on networks of the engine's own (`docker network connect`, compose): what these call each
 * other only the engine's resolver knows, so it stays the one that is asked (elsewhere sandbox-names.ts leads past it). For all
 * else it asks the servers that the container was made with, and there is no telling it of others. So its questions to those
 * very servers go to the overlay's own DNS, which forwards what is not the cluster's. Nothing else that the container
 * sends is touched, other servers can be asked as ever.
 *
 * The resolver has chosen its source address by the route to the server it meant; the question must bear the container's
 * address on the overlay, by which it is known who asks and where the answer goes.
 */
import type { Family, Ip } from '../../model/addresses.js';
import { families, familyOf, hostCidr } from '../../model/addresses.js';
import type { SandboxEndpoint } from '../sandbox.js';
import type { Endpoint, Overlay } from '../state.js';
import { jump } from './firewall.js';
import type { Leg } from './leg.js';
import type { KernelObject } from './objects.js';

const protocols = ['udp', 'tcp'] as const;
const dnsPort = 53;

/**
 * Nothing where no server needs one to stand in for it. Where several overlays could, the first does; none can for a server of
 * another family than its own.
 */
export function planNameservers(legs: readonly Leg[]): KernelObject[] {
  return families.flatMap((family) =>
    planFamily(
      family,
      legs.filter(({ overlay }) => familyOf(overlay.subnet) === family),
    ),
  );
}

function planFamily(family: Family, legs: readonly Leg[]): KernelObject[] {
  const served = legs.flatMap((leg) => {
    const nameservers = stoodInFor(leg);
    return nameservers.length > 0 ? [{ ...leg, nameservers }] : [];
  });
  if (served.length === 0) return [];
  const question = (to: Ip): string[] =>
    protocols.map((protocol) => `-d ${hostCidr(to)} -p ${protocol} -m ${protocol} --dport ${dnsPort}`);
  return [
    {
      kind: 'chain',
      family,
      table: 'nat',
      name: 'SKEP-DNS',
      rules: served.flatMap(({ overlay, nameservers }) =>
        nameservers
          .flatMap(question)
          .map((matched) => `${matched} -j DNAT --to-destination ${overlay.own.address}`),
      ),
    },
    {
      kind: 'chain',
      family,
      table: 'nat',
      name: 'SKEP-DNS-SOURCE',
      rules: served.flatMap(({ overlay, endpoint }) =>
        question(overlay.own.address).map((matched) => `${matched} -j SNAT --to-source ${endpoint.address}`),
      ),
    },
    jump(family, 'nat', 'OUTPUT', 'SKEP-DNS'),
    jump(family, 'nat', 'POSTROUTING', 'SKEP-DNS-SOURCE'),
  ];
}

/** Of a leg, the servers whose questions the overlay's DNS can get. */
export const stoodInFor = ({ overlay, endpoint }: Pick<Leg, 'overlay' | 'endpoint'>): readonly Ip[] =>
  (endpointOf(overlay, endpoint)?.nameservers ?? []).filter(
    (address) => familyOf(address) === familyOf(overlay.subnet),
  );

const endpointOf = (overlay: Overlay, { address, mac }: SandboxEndpoint): Endpoint | undefined =>
  overlay.endpoints.find((endpoint) => endpoint.address === address && endpoint.mac === mac);
