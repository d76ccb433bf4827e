/**
 * UDP and SCTP through the mesh, in a container that publishes some. A server on any address does not answer from the alias that it
 * was asked on but from the address that its way to the client prefers (SCTP's INIT ACK like a datagram), and is then
 * heard by nobody. So a request to an alias is translated to exactly that address, and its connection marked by whether
 * the alias is one of this node's. The reply is known by its connection: the mark, restored on its way out, sends it
 * back over ingress as the rules for alias sources send TCP, and the translation gives it the alias as its source. An ICMP
 * error about a request belongs to its connection and goes the same way.
 *
 * One client port through two nodes keeps both flows: the second one's server sees another port of the client. Tracking of
 * connections costs the container's other traffic what it already pays for the engine's own DNS rules.
 */
import type { Cidr, Family, Ip } from '../../model/addresses.js';
import { familyOf } from '../../model/addresses.js';
import { subnetsOf } from '../../model/network-subnets.js';
import type { NodeNetworkState } from '../state.js';
import { nodeAliasCidr } from '../state.js';
import { jump } from './firewall.js';
import type { Leg } from './leg.js';
import { serviceOf } from './leg.js';
import {
  aliasRulePriority,
  aliasTable,
  anyMarkOfOurs,
  otherAliasMark,
  ownAliasMark,
  ownAliasRulePriority,
  ownAliasTable,
} from './names.js';
import type { Address, KernelObject, Rule } from './objects.js';
import { markName, routeProtocol } from './objects.js';

/** Protocols whose servers need it, and how long an agreed flow is remembered while idle: as long as a balancer does. */
const protocols = {
  udp: { path: 'net/netfilter/nf_conntrack_udp_timeout_stream', idleS: 300 },
  sctp: { path: 'net/netfilter/nf_conntrack_sctp_timeout_established', idleS: 432_000 },
} as const;

/**
 * Nothing, unless the task's service publishes UDP or SCTP on ingress.
 * @param ingress the container's leg there
 * @param legs all of its legs
 * @param observed what its namespace holds: the address of its default route is found there
 */
export function planMeshReplies(
  state: NodeNetworkState,
  ingress: Leg,
  legs: readonly Leg[],
  observed: readonly KernelObject[],
): KernelObject[] {
  const service = serviceOf(ingress);
  const needed = (['udp', 'sctp'] as const).filter((one) =>
    state.publishedPorts.some(({ serviceId, protocol }) => serviceId === service && protocol === one),
  );
  if (needed.length === 0) return [];
  const { aliasRange } = state;
  const family = familyOf(aliasRange);
  const ownAliases = nodeAliasCidr(aliasRange, ingress.overlay.subnet, ingress.overlay.own.address);
  const mark = (value: number): string => `-j CONNMARK --set-xmark ${markName(value)}/0xffffffff`;
  const translate = (clients: Cidr | null, to: Ip): string[] =>
    needed.map(
      (protocol) =>
        `${clients === null ? '' : `-s ${clients} `}-d ${aliasRange} -p ${protocol} -j DNAT --to-destination ${to}`,
    );
  const wayOut = observed.find(
    (object): object is Address =>
      object.kind === 'address' && object.wayOut === true && familyOf(object.address) === family,
  );
  return [
    ...needed.map((protocol): KernelObject => {
      const { path, idleS } = protocols[protocol];
      return { kind: 'sysctl', path, value: String(idleS), ifPresent: true };
    }),
    markRule(family, ownAliasRulePriority, ownAliasMark, ownAliasTable),
    markRule(family, aliasRulePriority, otherAliasMark, aliasTable),
    {
      kind: 'chain',
      family,
      table: 'mangle',
      name: 'SKEP-REQUEST',
      rules: [
        ...needed.map((protocol) => `-d ${aliasRange} -p ${protocol} ${mark(otherAliasMark)}`),
        ...needed.map((protocol) => `-d ${ownAliases} -p ${protocol} ${mark(ownAliasMark)}`),
      ],
    },
    {
      kind: 'chain',
      family,
      table: 'mangle',
      name: 'SKEP-REPLY',
      rules: [
        `-m connmark --mark ${anyMarkOfOurs} -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff`,
      ],
    },
    {
      kind: 'chain',
      family,
      table: 'nat',
      name: 'SKEP-ALIAS',
      rules: [
        // Clients on a subnet of the container's own, or that look like it, are answered from the address there: a node that
        // calls itself by 127.0.0.1 is one on ingress.
        ...legs
          .filter(({ overlay }) => familyOf(overlay.subnet) === family)
          .flatMap(({ overlay, endpoint }) =>
            subnetsOf(overlay).flatMap(({ subnet }) => translate(subnet, endpoint.address)),
          ),
        ...translate(null, wayOut?.address ?? ingress.endpoint.address),
      ],
    },
    jump(family, 'mangle', 'PREROUTING', 'SKEP-REQUEST'),
    jump(family, 'mangle', 'OUTPUT', 'SKEP-REPLY'),
    jump(family, 'nat', 'PREROUTING', 'SKEP-ALIAS'),
  ];
}

const markRule = (family: Family, priority: number, mark: number, table: number): Rule => ({
  kind: 'rule',
  family,
  priority,
  table,
  from: null,
  to: null,
  iif: null,
  mark,
  protocol: routeProtocol,
});
