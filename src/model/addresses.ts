/**
 * Addresses as text brands plus the little arithmetic that allocation needs. Nothing here is IPv4-shaped:
 * an address is a number of `addressBits(family)` bits.
 */
import assert from 'node:assert';
import { SkepError } from './errors.js';

/** An IPv4 or IPv6 address in canonical text. */
export type Ip = string & { readonly __brand: 'Ip' };
/** `address/prefix` with the host bits zero. */
export type Cidr = string & { readonly __brand: 'Cidr' };
/** Six hex octets, lower case, with colons. */
export type Mac = string & { readonly __brand: 'Mac' };
export type Family = 4 | 6;

export const families = [4, 6] as const satisfies readonly Family[];

/** Of an address or a network. */
export const familyOf = (ip: string): Family => (ip.includes(':') ? 6 : 4);
export const addressBits = (family: Family): number => (family === 4 ? 32 : 128);

/** `host:port`, with brackets around an IPv6 address. The host may be a name, too. */
export const addressAndPort = (host: string, port: number): string =>
  familyOf(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;

/** The network of one address: `/32` or `/128`. */
export const hostCidr = (ip: Ip): Cidr => `${ip}/${addressBits(familyOf(ip))}` as Cidr;

/** The network of all addresses: `0.0.0.0/0` or `::/0`. */
export const anyCidr = (family: Family): Cidr => formatCidr({ family, base: 0n, prefixLength: 0 });

/** Addresses that no packet between machines has (RFC 1122, RFC 4291). */
export const loopbackNetworks: Readonly<Record<Family, Cidr>> = {
  4: '127.0.0.0/8' as Cidr,
  6: '::1/128' as Cidr,
};

/** True when the network reaches into the loopback network of its family. */
export const overlapsLoopback = (cidr: Cidr): boolean => cidrsOverlap(cidr, loopbackNetworks[familyOf(cidr)]);

/** The address as a number; throws `invalidArgument` for text that is none. */
export function ipToNumber(text: string): bigint {
  if (familyOf(text) === 4) return BigInt(ipv4ToNumber(text));
  const halves = text.split('::');
  if (halves.length > 2) invalid(text);
  const groups = (half: string | undefined): string[] => (half ? half.split(':') : []);
  const head = groups(halves[0]);
  const tail = groups(halves[1]);
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) invalid(text);
  const all = [...head, ...Array.from({ length: missing }, () => '0'), ...tail];
  if (!all.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) invalid(text);
  return all.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}

/** An IPv4 address as a number, read octet by octet: networks have a hundred thousand of them. Throws as {@link ipToNumber}. */
export function ipv4ToNumber(text: string): number {
  let value = 0;
  let octet = 0;
  let digits = 0;
  let octets = 0;
  for (let at = 0; at <= text.length; at += 1) {
    const digit = text.charCodeAt(at) - zero;
    if (digit >= 0 && digit <= 9) {
      octet = octet * 10 + digit;
      digits += 1;
      continue;
    }
    const isEnd = at === text.length || text[at] === '.';
    if (!isEnd || digits < 1 || digits > 3 || octet > 255) invalid(text);
    value = value * 256 + octet;
    octets += 1;
    octet = digits = 0;
  }
  return octets === 4 ? value : invalid(text);
}

const zero = '0'.charCodeAt(0);

/** The canonical text of an address number. */
export function numberToIp(value: bigint, family: Family): Ip {
  assert(value >= 0n && value < 1n << BigInt(addressBits(family)), 'address out of range');
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join('.') as Ip;
  const groups = Array.from({ length: 8 }, (_, i) =>
    ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16),
  );
  // RFC 5952: the first longest run of two or more zero groups becomes `::`.
  let best = { start: -1, length: 1 };
  for (let i = 0; i < 8; i++) {
    let j = i;
    while (j < 8 && groups[j] === '0') j++;
    if (j - i > best.length) best = { start: i, length: j - i };
  }
  if (best.start < 0) return groups.join(':') as Ip;
  const before = groups.slice(0, best.start).join(':');
  const after = groups.slice(best.start + best.length).join(':');
  return `${before}::${after}` as Ip;
}

/** Checks and canonicalises an address. */
export const parseIp = (text: string): Ip => numberToIp(ipToNumber(text), familyOf(text));

export const isIp = (text: string): boolean => {
  try {
    ipToNumber(text);
    return true;
  } catch {
    return false;
  }
};

export interface ParsedCidr {
  readonly family: Family;
  /** Network address as a number, host bits zero. */
  readonly base: bigint;
  readonly prefixLength: number;
  /** The address as written, host bits kept. */
  readonly address: bigint;
}

/** Parses `address/prefix`; the error text is that of Go's net.ParseCIDR, which clients see. */
export function parseCidr(text: string): ParsedCidr {
  const bad = (): never => {
    throw new SkepError('invalidArgument', `invalid CIDR address: ${text}`);
  };
  const slash = text.indexOf('/');
  const host = text.slice(0, slash);
  const length = text.slice(slash + 1);
  if (slash < 0 || !isIp(host) || !/^\d{1,3}$/.test(length)) return bad();
  const family = familyOf(host);
  const prefixLength = Number(length);
  if (prefixLength > addressBits(family)) return bad();
  const address = ipToNumber(host);
  const hostBits = BigInt(addressBits(family) - prefixLength);
  return { family, prefixLength, address, base: (address >> hostBits) << hostBits };
}

export const formatCidr = ({ family, base, prefixLength }: Omit<ParsedCidr, 'address'>): Cidr =>
  `${numberToIp(base, family)}/${prefixLength}` as Cidr;

/** Canonical text with the host bits cleared. */
export const normalizeCidr = (text: string): Cidr => formatCidr(parseCidr(text));

export function cidrContains(cidr: string, ip: string): boolean {
  const { family, base, prefixLength } = parseCidr(cidr);
  if (familyOf(ip) !== family) return false;
  const hostBits = BigInt(addressBits(family) - prefixLength);
  return ipToNumber(ip) >> hostBits === base >> hostBits;
}

export function cidrsOverlap(a: string, b: string): boolean {
  const [x, y] = [parseCidr(a), parseCidr(b)];
  if (x.family !== y.family) return false;
  const shared = BigInt(addressBits(x.family) - Math.min(x.prefixLength, y.prefixLength));
  return x.base >> shared === y.base >> shared;
}

/** The host part of an address within its subnet, e.g. 5 for 10.0.1.5 in 10.0.1.0/24. */
export function hostPart(cidr: string, ip: string): bigint {
  assert(cidrContains(cidr, ip), `${ip} is not in ${cidr}`);
  return ipToNumber(ip) - parseCidr(cidr).base;
}

export const macToBytes = (mac: string): Uint8Array =>
  Uint8Array.from(mac.split(':').map((octet) => parseInt(octet, 16)));

export function bytesToMac(bytes: Uint8Array): Mac {
  assert(bytes.length === 6, 'a MAC has six octets');
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':') as Mac;
}

export const isMac = (text: string): text is Mac => /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(text);

function invalid(text: string): never {
  throw new SkepError('invalidArgument', `invalid IP address: ${text}`);
}
