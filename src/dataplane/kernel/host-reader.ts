/**
 * What the host's namespace tells of callers, for `skep trace`: by which device they come in, and which rules of others have
 * dropped packets. Sockets are opened for each question: nobody asks often.
 */
import type { Family, Ip } from '../../model/addresses.js';
import { isKernelsOwn } from '../netlink/addresses.js';
import { isErrno } from '../netlink/netlink-error.js';
import { RouteNetlink } from '../netlink/route.js';
import { adminChain, isOurChain } from '../plan/names.js';
import type { HostDevice } from '../trace.js';
import type { HostReader } from '../tracer.js';
import { runTool } from './child.js';
import { firewallTools } from './iptables.js';
import { toKernelError } from './kernel-error.js';

/** @param netns path of the host's namespace, null for this process's own. Methods reject with KernelError. */
export const hostReader = (netns: string | null = null): HostReader => ({
  devices: () => inNamespace(netns, readDevices),
  deviceTo: (address) => inNamespace(netns, (netlink) => readDeviceTo(netlink, address)),
  addressesIn: async (path) => {
    try {
      const devices = await inNamespace(path, readDevices);
      return devices.filter(({ name }) => name !== 'lo').flatMap(({ addresses }) => addresses);
    } catch (err) {
      // The container has ended since.
      if (isErrno((err as Error).cause, 'ENOENT', 'EINVAL')) return [];
      throw err;
    }
  },
  foreignDrops: async (families) =>
    (await Promise.all(families.map((family) => readForeignDrops(netns, family)))).flat(),
});

async function inNamespace<T>(netns: string | null, read: (netlink: RouteNetlink) => Promise<T>): Promise<T> {
  try {
    using netlink = new RouteNetlink(netns);
    return await read(netlink);
  } catch (err) {
    throw toKernelError(`read ${netns ?? 'the host'}`, err);
  }
}

async function readDevices({ links, addresses }: RouteNetlink): Promise<HostDevice[]> {
  const [devices, held] = [await links.list(), await addresses.list()];
  return devices.map(({ index, name }) => ({
    name,
    addresses: held
      .filter((one) => one.index === index && !isKernelsOwn(one.address))
      .map(({ address }) => address),
  }));
}

const readForeignDrops = async (netns: string | null, family: Family): Promise<string[]> =>
  parseForeignDrops(await runTool(netns, [`${firewallTools[family]}-save`, '-c'], ''));

async function readDeviceTo({ links, routes }: RouteNetlink, address: Ip): Promise<string | null> {
  const way = await routes.find(address);
  if (way === null) return null;
  return way.isLocal ? 'lo' : ((await links.find(way.outIndex))?.name ?? null);
}

/**
 * Rules that drop or refuse, and policies that do, in chains that we do not fill, with how many packets they have had.
 * @param saved output of `iptables-save -c`, or of the other family's
 */
export function parseForeignDrops(saved: string): string[] {
  const drops: string[] = [];
  let table = '';
  const add = (packets: string | undefined, what: string): void => {
    if (Number(packets) > 0) drops.push(`${table} ${what}: ${packets} packets`);
  };
  for (const row of saved.split('\n')) {
    if (row.startsWith('*')) table = row.slice(1);
    const policy = /^:(\S+) DROP \[(\d+):/.exec(row);
    if (policy) add(policy[2], `${policy[1]} policy DROP`);
    const [, packets, chain = '', rule = ''] =
      /^\[(\d+):\d+\] -A (\S+) (.*-j (?:DROP|REJECT)\b.*)$/.exec(row) ?? [];
    if (chain !== '' && (!isOurChain(chain) || chain === adminChain)) add(packets, `${chain} ${rule}`);
  }
  return drops;
}
