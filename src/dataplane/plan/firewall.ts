/**
 * What the engines' chains have in common, in the words that `iptables-save` prints them in, so that observed text compares
 * equal. The number of rules does not grow with services: which address or port is balanced is not in chains.
 */
import type { Cidr, Family } from '../../model/addresses.js';
import { adminChain, hostLinkName } from './names.js';
import type { Chain, Jump, KernelObject } from './objects.js';

export const jump = (family: Family, table: Jump['table'], chain: string, target: string): Jump => ({
  kind: 'jump',
  family,
  table,
  chain,
  target,
  first: true,
});

/** The administrator's, ahead of our accepts; he may drop there what he likes. */
export const chainOfAdmin = (family: Family): Chain => ({
  kind: 'chain',
  family,
  table: 'filter',
  name: adminChain,
});

export const jumpToAdmin = `-j ${adminChain}`;

/** Replies of tasks on their way back to clients. */
export const acceptReplies = (aliasRange: Cidr): string => `-s ${aliasRange} -i ${hostLinkName} -j ACCEPT`;

/** True when the administrator has rules of his own in the way of forwarded packets of the family. */
export const adminFilters = (family: Family, observed: readonly KernelObject[]): boolean =>
  observed.some(
    (object) =>
      object.kind === 'chain' &&
      object.family === family &&
      object.table === 'filter' &&
      object.name === adminChain &&
      (object.rules?.length ?? 0) > 0,
  );
