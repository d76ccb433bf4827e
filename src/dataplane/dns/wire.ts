/**
 * DNS messages (RFC 1035, EDNS of RFC 6891): queries read with dns-packet, our answers written here because every answer
 * record can point at the question's name (dns-packet repeats it, and 512 octets would hold half as many tasks). Pure.
 */
import assert from 'node:assert';
import dnsPacket from 'dns-packet';
import type { Ip } from '../../model/addresses.js';
import { addressBits, familyOf, ipToNumber } from '../../model/addresses.js';
import type { DnsQuestion, DnsRecord } from './resolve.js';

const headerBytes = 12;
/** What a client without EDNS takes over UDP. */
const udpBytesDefault = 512;
/** Largest UDP answer: fits an overlay's MTU without fragments. */
const udpBytesMax = 1232;

/** Those above 15 have their upper bits in the OPT record. */
export const rcodes = {
  noError: 0,
  formatError: 1,
  serverFailure: 2,
  unknownName: 3,
  notImplemented: 4,
  badVersion: 16,
} as const;
export type Rcode = keyof typeof rcodes;

export type Transport = 'udp' | 'tcp';

export interface DnsQuery {
  /** The message as received. */
  readonly bytes: Buffer;
  readonly question: DnsQuestion & { readonly class: string };
  /** End of the question section, where answers begin. */
  readonly questionEnd: number;
  readonly edns: boolean;
  /** Octets the client takes over UDP. */
  readonly udpBytes: number;
}

export type ParsedQuery =
  | { readonly kind: 'query'; readonly query: DnsQuery }
  /** A request that is answered with an error at once. */
  | { readonly kind: 'refuse'; readonly response: Buffer }
  /** Not a request at all; answering could loop. */
  | { readonly kind: 'drop' };

export function parseQuery(bytes: Buffer): ParsedQuery {
  if (bytes.length < headerBytes || bytes.readUInt16BE(2) & 0x8000) return { kind: 'drop' };
  const opcode = (bytes.readUInt16BE(2) >> 11) & 0xf;
  if (opcode !== 0) return { kind: 'refuse', response: formatHeader(bytes, 'notImplemented') };
  try {
    const packet = dnsPacket.decode(bytes);
    const [question] = packet.questions ?? [];
    if (packet.questions?.length !== 1 || !question)
      return { kind: 'refuse', response: formatHeader(bytes, 'formatError') };
    const opts = packet.additionals?.filter((record) => record.type === 'OPT') ?? [];
    if (opts.length > 1) return { kind: 'refuse', response: formatHeader(bytes, 'formatError') };
    const [opt] = opts;
    const asked = opt?.udpPayloadSize ?? udpBytesDefault;
    const query = {
      bytes,
      question: { name: question.name, type: question.type, class: question.class ?? 'IN' },
      questionEnd: skipName(bytes, headerBytes) + 4,
      edns: opt !== undefined,
      udpBytes: Math.min(Math.max(asked, udpBytesDefault), udpBytesMax),
    };
    if (opt && opt.ednsVersion !== 0) return { kind: 'refuse', response: formatFailure(query, 'badVersion') };
    return { kind: 'query', query };
  } catch {
    return { kind: 'refuse', response: formatHeader(bytes, 'formatError') };
  }
}

const recordTypes = { A: 1, AAAA: 28, PTR: 12 } as const satisfies Record<DnsRecord['type'], number>;

/**
 * The answer to a query. Records that do not fit are left out and the TC bit says so; the client then asks by TCP.
 * @param bytesMax octets of the whole message
 */
export function formatAnswer(
  query: DnsQuery,
  records: readonly DnsRecord[],
  ttlS: number,
  bytesMax: number,
): Buffer {
  const opt = formatOpt(query, 'noError');
  const parts: Buffer[] = [];
  let room = bytesMax - query.questionEnd - opt.length;
  for (const record of records) {
    const part = formatRecord(record, ttlS);
    room -= part.length;
    if (room < 0) break;
    parts.push(part);
  }
  const header = formatHeader(query.bytes, 'noError');
  header.writeUInt16BE(header.readUInt16BE(2) | 0x0400 | (parts.length < records.length ? 0x0200 : 0), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(parts.length, 6);
  header.writeUInt16BE(query.edns ? 1 : 0, 10);
  return Buffer.concat([header, query.bytes.subarray(headerBytes, query.questionEnd), ...parts, opt]);
}

/** A failure with the question repeated. That nobody has the name is said with authority. */
export function formatFailure(query: DnsQuery, rcode: Rcode): Buffer {
  const header = formatHeader(query.bytes, rcode);
  if (rcode === 'unknownName') header.writeUInt16BE(header.readUInt16BE(2) | 0x0400, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(query.edns ? 1 : 0, 10);
  const question = query.bytes.subarray(headerBytes, query.questionEnd);
  return Buffer.concat([header, question, formatOpt(query, rcode)]);
}

/** `response`, or where it is too long for UDP its head with the TC bit: the client then asks by TCP. */
export function fitUdp(query: DnsQuery, response: Buffer): Buffer {
  if (response.length <= query.udpBytes) return response;
  const cut = formatFailure(query, 'noError');
  cut.writeUInt16BE(response.readUInt16BE(2) | 0x0200, 2);
  return cut;
}

/** An OPT record for a client that sent one: root name, type 41, our UDP size, version 0, no flags, no options. */
function formatOpt({ edns }: DnsQuery, rcode: Rcode): Buffer {
  if (!edns) return Buffer.alloc(0);
  return Buffer.from([0, 0, 41, udpBytesMax >> 8, udpBytesMax & 0xff, rcodes[rcode] >> 4, 0, 0, 0, 0, 0]);
}

/** A header alone: the query's id, opcode and RD; QR and RA set; all counts 0. */
function formatHeader(query: Buffer, rcode: Rcode): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt16BE(query.readUInt16BE(0), 0);
  header.writeUInt16BE(0x8080 | (query.readUInt16BE(2) & 0x7900) | (rcodes[rcode] & 0xf), 2);
  return header;
}

function formatRecord({ type, data }: DnsRecord, ttlS: number): Buffer {
  const value = type === 'PTR' ? formatName(data) : formatAddress(data as Ip);
  const record = Buffer.allocUnsafe(12 + value.length);
  record.writeUInt16BE(0xc000 | headerBytes, 0); // a pointer to the question's name
  record.writeUInt16BE(recordTypes[type], 2);
  record.writeUInt16BE(1, 4);
  record.writeUInt32BE(ttlS, 6);
  record.writeUInt16BE(value.length, 10);
  value.copy(record, 12);
  return record;
}

function formatAddress(ip: Ip): Buffer {
  if (familyOf(ip) === 4) return Buffer.from(ip.split('.').map(Number));
  const digits = addressBits(familyOf(ip)) / 4;
  return Buffer.from(ipToNumber(ip).toString(16).padStart(digits, '0'), 'hex');
}

function formatName(name: string): Buffer {
  const labels = name.split('.').map((label) => {
    const text = Buffer.from(label);
    assert(text.length > 0 && text.length < 64, `not a name: ${name}`);
    return Buffer.concat([Buffer.of(text.length), text]);
  });
  return Buffer.concat([...labels, Buffer.of(0)]);
}

/** The offset behind the name at `offset`. Throws when it runs out of the message. */
export function skipName(message: Buffer, offset: number): number {
  for (;;) {
    const length = message.readUInt8(offset);
    if (length === 0) return offset + 1;
    if ((length & 0xc0) === 0xc0) return offset + 2;
    offset += 1 + length;
  }
}

/** Offsets of the TTL fields of all records but OPT. Throws when the message is cut short. */
export function ttlOffsets(message: Buffer): number[] {
  const count = (offset: number): number => message.readUInt16BE(offset);
  let offset = headerBytes;
  for (let i = count(4); i > 0; i--) offset = skipName(message, offset) + 4;
  const offsets: number[] = [];
  for (let i = count(6) + count(8) + count(10); i > 0; i--) {
    offset = skipName(message, offset);
    if (message.readUInt16BE(offset) !== 41) offsets.push(offset + 4);
    offset += 10 + message.readUInt16BE(offset + 8);
  }
  assert(offset <= message.length, 'message cut short');
  return offsets;
}
