/** The `ipvs` engine: the kernel's own balancer, its tables in each namespace. They go with their namespace. */
import { Ipvs } from '../netlink/ipvs.js';
import { isErrno } from '../netlink/netlink-error.js';
import { ipvsPlan } from '../plan/ipvs.js';
import { isOurMark } from '../plan/names.js';
import type { BalancerEngine } from './engine.js';
import { IpvsTable } from './ipvs-table.js';

export const ipvsEngine: BalancerEngine = {
  name: 'ipvs',
  plan: ipvsPlan,
  open: ({ netns }) => IpvsTable.open(netns),
  programs: async () => new Map(),
  overlays: () => [],
  forgetOverlay: async () => undefined,
  release: async () => undefined,
  expireFlows: async () => 0,
  [Symbol.dispose]: () => undefined,
};

/**
 * True where this kernel has IPVS; asking loads the module where it can be loaded.
 * @param netns path of the host's namespace, null for this process's own
 */
export async function hasIpvs(netns: string | null): Promise<boolean> {
  try {
    using _ipvs = await Ipvs.open(netns);
    return true;
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return false;
    throw err;
  }
}

/**
 * Whether this kernel's IPVS has virtual servers of ours. Rejects with NetlinkError, KernelError.
 * @param netns as for {@link hasIpvs}, and of every overlay
 */
export async function ipvsBalances(netns: readonly (string | null)[]): Promise<boolean> {
  for (const path of netns) {
    using table = await IpvsTable.open(path);
    if ((await table.observe()).some((object) => object.kind === 'virtualServer' && isOurMark(object.mark)))
      return true;
  }
  return false;
}
