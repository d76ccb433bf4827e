/** IPv4 addresses as the numbers of `be32` fields, without the big integers that addresses of both families need. */
import assert from 'node:assert';
import type { Ip } from '../../model/addresses.js';

/** The number of a canonical IPv4 address; another text is a bug. */
export function ipv4Number(text: string): number {
  let value = 0;
  let octet = 0;
  let octets = 1;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x2e) {
      value = value * 256 + octet;
      octet = 0;
      octets += 1;
    } else octet = code >= 0x30 && code <= 0x39 ? octet * 10 + code - 0x30 : NaN;
  }
  value = value * 256 + octet;
  assert(octets === 4 && value <= 0xffffffff, `${text} is no IPv4 address`);
  return value;
}

export const ipv4Text = (value: number): Ip =>
  `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}` as Ip;
