/**
 * Chains of ours and the jumps to them, in the words `iptables-save` prints them in, so that observed text compares
 * equal. Their number does not grow with services: which address or port is balanced is in ipsets.
 */
import type { Cidr } from '../../model/addresses.js';
import { adminChain, anyMarkOfOurs, hostLinkName, portSet, vipSet } from './names.js';
import type { Chain, IpSet, Jump } from './objects.js';

const jump = (table: Jump['table'], chain: string, target: string): Jump => ({
  kind: 'jump',
  table,
  chain,
  target,
  first: true,
});

/** Protocols that a port can be published for; a set and a rule each. */
export const publishedProtocols = ['tcp', 'udp', 'sctp'] as const;

/** In an overlay's namespace: the destination's mark, if it is a balanced VIP. */
export const overlayChains = (): (IpSet | Chain | Jump)[] => [
  { kind: 'ipset', name: vipSet, type: 'hash:ip' },
  {
    kind: 'chain',
    table: 'mangle',
    name: 'SKEP-VIP',
    rules: [`-j SET --map-set ${vipSet} dst --map-mark`],
  },
  jump('mangle', 'PREROUTING', 'SKEP-VIP'),
];

/**
 * In the host: the mark of a published port, for packets that arrive and for the node's own; and accepts ahead of
 * Docker's policy. The administrator's chain comes before ours and may drop what it likes.
 */
export function hostChains(aliasRange: Cidr): (IpSet | Chain | Jump)[] {
  const replies = `-s ${aliasRange} -i ${hostLinkName} -j ACCEPT`;
  return [
    ...publishedProtocols.map((protocol): IpSet => ({
      kind: 'ipset',
      name: portSet(protocol),
      type: 'bitmap:port',
    })),
    {
      kind: 'chain',
      table: 'mangle',
      name: 'SKEP-INGRESS',
      // A loopback address cannot be the source of a packet that leaves the node: see docs for 127.0.0.1.
      rules: [
        '-d 127.0.0.0/8 -j RETURN',
        ...publishedProtocols.map(
          (protocol) =>
            `-p ${protocol} -m addrtype --dst-type LOCAL -j SET --map-set ${portSet(protocol)} dst --map-mark`,
        ),
      ],
    },
    { kind: 'chain', table: 'filter', name: adminChain },
    {
      kind: 'chain',
      table: 'filter',
      name: 'SKEP-INPUT',
      rules: [`-j ${adminChain}`, `-m mark --mark ${anyMarkOfOurs} -j ACCEPT`, replies],
    },
    {
      kind: 'chain',
      table: 'filter',
      name: 'SKEP-FORWARD',
      rules: [`-j ${adminChain}`, replies],
    },
    jump('mangle', 'PREROUTING', 'SKEP-INGRESS'),
    jump('mangle', 'OUTPUT', 'SKEP-INGRESS'),
    jump('filter', 'INPUT', 'SKEP-INPUT'),
    jump('filter', 'FORWARD', 'SKEP-FORWARD'),
  ];
}
