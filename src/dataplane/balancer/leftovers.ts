/**
 * What the other engine left behind when a host changed engines: two that balance the same packets would undo one another.
 * Chains, sets, rules and routes are observed whatever balances, so the first pass removes those; here goes what only the
 * other engine would see. Flows do not outlive a change of engines.
 */
import { removeOurFilters } from '../kernel/filters.js';
import { MissingModuleError } from '../kernel/kernel-error.js';
import { isErrno } from '../netlink/netlink-error.js';
import { RouteNetlink } from '../netlink/route.js';
import type { EngineName } from '../plan/balancing.js';
import { isOurMark } from '../plan/names.js';
import { IpvsTable } from './ipvs-table.js';

/**
 * Removes the leftovers of the engine that does not balance here.
 * @param netns paths of the host's namespace (null: this process's own) and of every overlay's
 * @returns how many objects were removed
 */
export async function removeLeftovers(
  engine: EngineName,
  netns: readonly (string | null)[],
): Promise<number> {
  let removed = 0;
  for (const path of netns)
    removed += engine === 'ipvs' ? await removeFilters(path) : await removeVirtualServers(path);
  return removed;
}

/** Rejects with NetlinkError. */
async function removeFilters(netns: string | null): Promise<number> {
  try {
    using netlink = new RouteNetlink(netns);
    return await removeOurFilters(netlink.tc);
  } catch (err) {
    // A kernel without traffic control has no filters.
    if (isErrno(err, 'EOPNOTSUPP')) return 0;
    throw err;
  }
}

/** Real servers go with theirs. Rejects with NetlinkError, KernelError. */
async function removeVirtualServers(netns: string | null): Promise<number> {
  try {
    using table = await IpvsTable.open(netns);
    const ops = (await table.observe()).flatMap((object) =>
      object.kind === 'virtualServer' && isOurMark(object.mark) ? [{ op: 'delete', object } as const] : [],
    );
    await table.apply(ops);
    return ops.length;
  } catch (err) {
    if (err instanceof MissingModuleError) return 0;
    throw err;
  }
}
