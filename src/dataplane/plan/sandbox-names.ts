/**
 * Names inside a container: what it asks of the engine's resolver at 127.0.0.11 is led to this node's name service, which has
 * sockets of its own in the namespace (dns/server.ts), ahead of the engine's rule. So names need no engine; a container that
 * a network is connected to later has its names, too; and who asks is known by where the question arrives.
 *
 * A container may ask {@link rateMax} times a second, by whichever of the ways that lead to the name service; more is dropped
 * where it is sent, before a connection is tracked for it and at the sender's own cost.
 */
import { families, familyOf, hostCidr } from '../../model/addresses.js';
import { engineResolver, nameAddress, namePort } from './names.js';
import type { Leg } from './leg.js';
import { stoodInFor } from './sandbox-dns.js';
import { jump } from './firewall.js';
import type { KernelObject } from './objects.js';

/**
 * Questions a second: beyond what one asker comes to by himself for a moment, for a question that is dropped is a failed sendto(2),
 * which programs try again at once and as fast as they can. Who asks still faster pays for it himself, ahead of connection tracking;
 * what the thread does not come to (the bench `dns` gets some 55,000) is lost in the asker's own receive buffer.
 */
const rateMax = 100_000;
/** The most that one `limit` match can count, and at once: what is beyond one is left to the next. */
const rateOfMatch = 10_000;
const burstOfMatch = 1_000;
const rateRules = Array.from(
  { length: rateMax / rateOfMatch },
  () => `-m limit --limit ${rateOfMatch}/sec --limit-burst ${burstOfMatch} -j RETURN`,
);

/**
 * The bound on what a container asks.
 * @param legs of the container; the node's addresses on these overlays answer, and so do the servers they stand in for
 */
export function planRate(legs: readonly Leg[]): KernelObject[] {
  if (legs.length === 0) return [];
  const served = legs.flatMap(({ overlay, endpoint }) => [
    overlay.own.address,
    ...stoodInFor({ overlay, endpoint }),
  ]);
  const ways = [
    { to: engineResolver, port: 53 },
    { to: nameAddress, port: namePort },
    ...[...new Set(served)].map((to) => ({ to, port: 53 })),
  ];
  return families.flatMap((family): KernelObject[] => {
    const ofFamily = ways.filter(({ to }) => familyOf(to) === family);
    if (ofFamily.length === 0) return [];
    return [
      {
        kind: 'chain',
        family,
        table: 'raw',
        name: 'SKEP-ASK',
        rules: ofFamily.map(
          ({ to, port }) => `-d ${hostCidr(to)} -p udp -m udp --dport ${port} -j SKEP-RATE`,
        ),
      },
      {
        kind: 'chain',
        family,
        table: 'raw',
        name: 'SKEP-RATE',
        rules: [...rateRules, '-j DROP'],
      },
      jump(family, 'raw', 'OUTPUT', 'SKEP-ASK'),
    ];
  });
}

/** The way to the name service's sockets, which must be open. Where the engine's resolver is, whatever the overlays' families. */
export function planNames(legs: readonly Leg[]): KernelObject[] {
  if (legs.length === 0) return [];
  const family = familyOf(engineResolver);
  return [
    {
      kind: 'chain',
      family,
      table: 'nat',
      name: 'SKEP-NAMES',
      rules: ['udp', 'tcp'].map(
        (protocol) =>
          `-d ${hostCidr(engineResolver)} -p ${protocol} -m ${protocol} --dport 53 -j DNAT --to-destination ${nameAddress}:${namePort}`,
      ),
    },
    jump(family, 'nat', 'OUTPUT', 'SKEP-NAMES'),
  ];
}
