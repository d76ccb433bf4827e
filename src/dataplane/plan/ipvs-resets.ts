/**
 * What ends tasks' connections that IPVS has forgotten. Their packets pass it with the alias still their source, and behind its
 * hook no rule of iptables can reject any more (nor is there an error that TCP would take for an end). So a packet that is about to
 * leave the node so goes no further, and a copy goes to ingress's namespace, where one rule answers copies with a reset.
 * That comes back to the host as any packet from ingress, and the host knows the way to the alias.
 *
 * No packet of a flow that is known gets that far, and none with an alias of this node is ever forwarded in ingress's
 * namespace otherwise. What is addressed to the node itself its own TCP resets.
 */
import type { Cidr } from '../../model/addresses.js';
import { familyOf } from '../../model/addresses.js';
import type { NodeNetworkState, Overlay } from '../state.js';
import { nodeAliasCidr } from '../state.js';
import { jump } from './firewall.js';
import { bridgeName, hostLinkName, mirrorAddresses } from './names.js';
import type { KernelObject } from './objects.js';
import { mainTable } from './objects.js';

/** In the host. The neighbour by which copies reach ingress's namespace is the mirror of ipvs-loopback.ts. */
export const copyForgotten = (aliasRange: Cidr): KernelObject[] => {
  const family = familyOf(aliasRange);
  return [
    {
      kind: 'chain',
      family,
      table: 'mangle',
      name: 'SKEP-FORGOTTEN',
      rules: [
        `-s ${aliasRange} ! -o ${hostLinkName} -p tcp -j TEE --gateway ${mirrorAddresses[family]}`,
        `-s ${aliasRange} ! -o ${hostLinkName} -j DROP`,
      ],
    },
    jump(family, 'mangle', 'POSTROUTING', 'SKEP-FORGOTTEN'),
  ];
};

/** In the host's FORWARD: resets on their way from ingress's namespace to a task. */
export const acceptResets = (aliasRange: Cidr): string =>
  `-d ${aliasRange} -i ${hostLinkName} -o ${hostLinkName} -j ACCEPT`;

/** In ingress's namespace. Where copies come to, they are routed back to the host, so that they pass FORWARD. */
export const resetForgotten = (state: NodeNetworkState, { subnet, own }: Overlay): KernelObject[] => {
  const ownAliases = nodeAliasCidr(state.aliasRange, subnet, own.address);
  const family = familyOf(subnet);
  return [
    {
      kind: 'route',
      table: mainTable,
      type: 'unicast',
      destination: ownAliases,
      device: bridgeName,
      via: own.address,
      source: null,
    },
    {
      kind: 'chain',
      family,
      table: 'filter',
      name: 'SKEP-FORGOTTEN',
      rules: [`-s ${ownAliases} -i ${bridgeName} -p tcp -j REJECT --reject-with tcp-reset`],
    },
    jump(family, 'filter', 'FORWARD', 'SKEP-FORGOTTEN'),
  ];
};
