/** TCP resets as they stand in packets (RFC 791, RFC 9293). Pure. */
import type { Ip, Mac } from '../../model/addresses.js';
import { macToBytes, numberToIp } from '../../model/addresses.js';
import { classicBpf } from '../classic-bpf.js';

export const tcpProtocol = 6;
const resetFlag = 0x04;
const flagsOffset = 13;
const checksumOffset = 16;
const headerBytesMin = 20;
const etherTypeIpv4 = 0x0800;

/** Of an IPv4 packet of TCP: resets, whole. */
export const resetFilter: Buffer = classicBpf([
  [0xb1, 0, 0, 0], // x = length of the IP header
  [0x50, 0, 0, flagsOffset], // a = octet at x + 13
  [0x45, 0, 1, resetFlag], // a & RST ? next : the one after
  [0x06, 0, 0, 0xffff], // take it
  [0x06, 0, 0, 0], // leave it
]);

export interface TcpReset {
  readonly destination: Ip;
  /** The IP packet, its checksum of TCP made anew: one that never left the machine may have none yet. */
  readonly packet: Buffer;
}

/** Null for what is no whole reset over IPv4. */
export function parseReset(received: Buffer): TcpReset | null {
  if (received.length < headerBytesMin || received.readUInt8(0) >> 4 !== 4) return null;
  const transport = (received.readUInt8(0) & 0x0f) * 4;
  const bytes = received.readUInt16BE(2);
  const isFragment = (received.readUInt16BE(6) & 0x3fff) !== 0;
  if (transport < headerBytesMin || isFragment || received.readUInt8(9) !== tcpProtocol) return null;
  if (bytes > received.length || bytes < transport + headerBytesMin) return null;
  if ((received.readUInt8(transport + flagsOffset) & resetFlag) === 0) return null;
  const packet = Buffer.from(received.subarray(0, bytes));
  packet.writeUInt16BE(0, transport + checksumOffset);
  const pseudoHeader = Buffer.alloc(12);
  packet.copy(pseudoHeader, 0, 12, 20);
  pseudoHeader.writeUInt8(tcpProtocol, 9);
  pseudoHeader.writeUInt16BE(bytes - transport, 10);
  const sum = internetChecksum(Buffer.concat([pseudoHeader, packet.subarray(transport)]));
  packet.writeUInt16BE(sum, transport + checksumOffset);
  return { destination: numberToIp(BigInt(packet.readUInt32BE(16)), 4), packet };
}

/** The reset in an Ethernet frame. */
export function resetFrame({ packet }: TcpReset, from: Mac, to: Mac): Buffer {
  const type = Buffer.alloc(2);
  type.writeUInt16BE(etherTypeIpv4);
  return Buffer.concat([macToBytes(to), macToBytes(from), type, packet]);
}

/** RFC 1071. */
export function internetChecksum(data: Buffer): number {
  let sum = 0;
  for (let at = 0; at + 1 < data.length; at += 2) sum += data.readUInt16BE(at);
  if (data.length % 2 === 1) sum += data.readUInt8(data.length - 1) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
