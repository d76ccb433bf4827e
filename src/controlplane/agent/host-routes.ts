/**
 * Where this host has routes to, for the managers to keep overlays clear of: the kernel's main table and the host's own
 * addresses, default routes (halves of everything, as VPNs set them, included) and our own aside. What lies in another
 * one's destination is left out, and very many are told as fewer, larger ones: too much is kept clear of then, never too little.
 */
import { readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import type { Family } from '../../model/addresses.js';
import { addressBits, formatCidr, ipToNumber, parseCidr } from '../../model/addresses.js';
import type { HostRoute } from '../../model/host-routes.js';
import { hostRoutesMax } from '../../model/host-routes.js';
import { hostLinkName } from '../../dataplane/plan/names.js';

interface Extent {
  readonly family: Family;
  readonly base: bigint;
  readonly prefixLength: number;
  readonly device: string;
}

/** An address of one of the host's devices, with the length of its prefix. */
interface HeldAddress {
  readonly device: string;
  readonly cidr: string;
}

/** Of this process's network namespace. A host without IPv6 has no table of it. */
export const readHostRoutes = (): Promise<HostRoute[]> => new HostRoutes().read();

/**
 * Reads them again and again. The kernel tells of devices' addresses under a lock that an engine which makes containers holds for
 * seconds, and Node asks for them without giving way meanwhile: so that is asked only where the tables of what is local, which
 * take no lock, are not as they were.
 */
export class HostRoutes {
  #local: string | null = null;
  #held: readonly HeldAddress[] = [];

  /** @param interfaces as of node:os */
  constructor(private readonly interfaces: typeof networkInterfaces = networkInterfaces) {}

  /** Rejects where the kernel's tables cannot be read. */
  async read(): Promise<HostRoute[]> {
    const [v4 = '', v6 = '', trie = '', own6 = ''] = await Promise.all(
      ['route', 'ipv6_route', 'fib_trie', 'if_inet6'].map(readTable),
    );
    const local = localAddresses(trie, own6);
    if (local !== this.#local) {
      this.#held = Object.entries(this.interfaces()).flatMap(([device, entries]) =>
        (entries ?? []).flatMap(({ cidr }) => (cidr === null ? [] : [{ device, cidr }])),
      );
      this.#local = local;
    }
    return hostRoutes(v4, v6, this.#held);
  }
}

async function readTable(name: string): Promise<string> {
  try {
    return await readFile(`/proc/self/net/${name}`, 'utf8');
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw err;
  }
}

/**
 * What tells whether the host's addresses are those of another time.
 * @param trie text of /proc/net/fib_trie, in which a line with an address stands above one a route to it
 * @param own6 text of /proc/net/if_inet6
 */
export function localAddresses(trie: string, own6: string): string {
  const lines = trie.split('\n');
  return [
    ...lines.map((line, at) =>
      /^\s*\/\d+ host LOCAL/.test(line) ? `${lines[at - 1]?.trim()}${line.trim()}` : '',
    ),
    // Each link that comes up brings a link-local one.
    ...own6.split('\n').filter((line) => !/^fe[89ab]/.test(line)),
  ]
    .filter((line) => line !== '')
    .sort()
    .join('\n');
}

/**
 * Pure part of {@link HostRoutes}, in a stable order.
 * @param v4 text of /proc/net/route
 * @param v6 text of /proc/net/ipv6_route
 * @param addresses of the host's devices, `address/prefix`
 */
export function hostRoutes(v4: string, v6: string, addresses: readonly HeldAddress[]): HostRoute[] {
  const found = [
    ...v4.split('\n').slice(1).flatMap(parseRoute4),
    ...v6.split('\n').flatMap(parseRoute6),
    ...addresses.map(({ device, cidr }): Extent => ({ ...parseCidr(cidr), device })),
  ].filter((extent) => extent.device !== hostLinkName && !isEverywhere(extent) && !isLinkLocal(extent));
  return atMost(hostRoutesMax, found).map((extent) => ({
    destination: formatCidr(extent),
    device: extent.device,
  }));
}

/** `eth0 0032A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0`: destination and mask are little-endian. */
function parseRoute4(line: string): Extent[] {
  const [device = '', destination = '', , , , , , mask = ''] = line.trim().split(/\s+/);
  if (mask === '') return [];
  const bytes = (text: string): number[] => [...Buffer.from(text, 'hex').reverse()];
  const prefixLength = bytes(mask).reduce(
    (sum, byte) => sum + byte.toString(2).replaceAll('0', '').length,
    0,
  );
  return [{ family: 4, base: ipToNumber(bytes(destination).join('.')), prefixLength, device }];
}

/** `fd00…0000 40 … flags eth0`: destination and prefix length in hex. */
function parseRoute6(line: string): Extent[] {
  const words = line.trim().split(/\s+/);
  const [destination = '', length = ''] = words;
  const device = words.at(-1);
  if (words.length < 10 || device === undefined) return [];
  return [{ family: 6, base: BigInt(`0x${destination}`), prefixLength: parseInt(length, 16), device }];
}

const isEverywhere = ({ prefixLength }: Extent): boolean => prefixLength <= 1;
/** fe80::/10 and multicast, which every device has. */
const isLinkLocal = ({ family, base }: Extent): boolean =>
  family === 6 && (base >> 118n === 0xfe80n >> 6n || base >> 120n === 0xffn);

/** Those that lie in no other; while they are too many, the longest prefixes lose a bit. */
function atMost(max: number, extents: readonly Extent[]): Extent[] {
  let kept = outermost(extents);
  while (kept.length > max) {
    const longest = Math.max(...kept.map(({ prefixLength }) => prefixLength));
    kept = outermost(
      kept.map((extent) =>
        extent.prefixLength === longest ? { ...extent, prefixLength: longest - 1 } : extent,
      ),
    );
  }
  return kept;
}

function outermost(extents: readonly Extent[]): Extent[] {
  const aligned = extents.map((extent): Extent => {
    const hostBits = BigInt(addressBits(extent.family) - extent.prefixLength);
    return { ...extent, base: (extent.base >> hostBits) << hostBits };
  });
  aligned.sort(
    (a, b) =>
      a.family - b.family ||
      (a.base < b.base ? -1 : a.base > b.base ? 1 : 0) ||
      a.prefixLength - b.prefixLength ||
      (a.device < b.device ? -1 : 1),
  );
  const kept: Extent[] = [];
  for (const extent of aligned) {
    const last = kept.at(-1);
    const hostBits = BigInt(addressBits(extent.family) - (last?.prefixLength ?? 0));
    const inside = last?.family === extent.family && extent.base >> hostBits === last.base >> hostBits;
    if (!inside) kept.push(extent);
  }
  return kept;
}
