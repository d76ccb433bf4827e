/**
 * Netlink attributes: 16-bit length, 16-bit type, value, padded to four octets; nested ones are attributes again.
 * Integers are in the host's byte order, which is little-endian on every platform the addon is built for (the socket
 * asserts it); the few in network order have accessors of their own. Pure.
 */
import assert from 'node:assert';
import type { Ip, Mac } from '../../model/addresses.js';
import {
  addressBits,
  bytesToMac,
  familyOf,
  ipToNumber,
  macToBytes,
  numberToIp,
} from '../../model/addresses.js';
import { NLA_F_NESTED, NLA_F_NET_BYTEORDER } from './constants.js';

const headerBytes = 4;
const typeMask = ~(NLA_F_NESTED | NLA_F_NET_BYTEORDER) & 0xffff;

/** Rounds up to the four octets that headers and attributes are aligned to. */
export const align = (length: number): number => (length + 3) & ~3;

/** Collects attributes in the order written; each method adds one and gives the writer back. */
export class AttributeWriter {
  readonly #parts: Buffer[] = [];

  bytes(type: number, value: Uint8Array): this {
    const length = headerBytes + value.length;
    assert(length <= 0xffff, 'attribute too long');
    const part = Buffer.alloc(align(length));
    part.writeUInt16LE(length, 0);
    part.writeUInt16LE(type, 2);
    part.set(value, headerBytes);
    this.#parts.push(part);
    return this;
  }

  flag(type: number): this {
    return this.bytes(type, Buffer.alloc(0));
  }

  u8(type: number, value: number): this {
    return this.bytes(type, Buffer.of(value));
  }

  u16(type: number, value: number): this {
    const buffer = Buffer.alloc(2);
    buffer.writeUInt16LE(value);
    return this.bytes(type, buffer);
  }

  u32(type: number, value: number): this {
    const buffer = Buffer.alloc(4);
    buffer.writeUInt32LE(value);
    return this.bytes(type, buffer);
  }

  /** 16 bits in network order, as ports are. */
  be16(type: number, value: number): this {
    const buffer = Buffer.alloc(2);
    buffer.writeUInt16BE(value);
    return this.bytes(type, buffer);
  }

  /** Text with the terminating NUL. */
  string(type: number, value: string): this {
    return this.bytes(type, Buffer.from(`${value}\0`));
  }

  mac(type: number, value: Mac): this {
    return this.bytes(type, macToBytes(value));
  }

  ip(type: number, value: Ip): this {
    return this.bytes(type, ipToBytes(value));
  }

  nested(type: number, fill: (inner: AttributeWriter) => void): this {
    const inner = new AttributeWriter();
    fill(inner);
    return this.bytes(type | NLA_F_NESTED, inner.toBuffer());
  }

  toBuffer(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

/** Attributes as received. Accessors give undefined when the attribute is absent; of duplicates the last one counts. */
export class Attributes {
  readonly #values = new Map<number, Buffer>();

  /** Throws an AssertionError when the kernel's bytes are no attribute list: then this codec has a bug. */
  constructor(data: Buffer) {
    for (let offset = 0; offset + headerBytes <= data.length;) {
      const length = data.readUInt16LE(offset);
      assert(length >= headerBytes && offset + length <= data.length, 'attribute out of bounds');
      this.#values.set(
        data.readUInt16LE(offset + 2) & typeMask,
        data.subarray(offset + headerBytes, offset + length),
      );
      offset += align(length);
    }
  }

  has(type: number): boolean {
    return this.#values.has(type);
  }

  /** Type numbers in the order received. */
  types(): number[] {
    return [...this.#values.keys()];
  }

  bytes(type: number): Buffer | undefined {
    return this.#values.get(type);
  }

  u8(type: number): number | undefined {
    return this.#values.get(type)?.readUInt8();
  }

  u16(type: number): number | undefined {
    return this.#values.get(type)?.readUInt16LE();
  }

  u32(type: number): number | undefined {
    return this.#values.get(type)?.readUInt32LE();
  }

  s32(type: number): number | undefined {
    return this.#values.get(type)?.readInt32LE();
  }

  u64(type: number): bigint | undefined {
    return this.#values.get(type)?.readBigUInt64LE();
  }

  be16(type: number): number | undefined {
    return this.#values.get(type)?.readUInt16BE();
  }

  string(type: number): string | undefined {
    const value = this.#values.get(type);
    if (!value) return undefined;
    const end = value.indexOf(0);
    return value.toString('utf8', 0, end < 0 ? value.length : end);
  }

  /** Undefined also for hardware addresses that are not six octets (tunnels have IP addresses there). */
  mac(type: number): Mac | undefined {
    const value = this.#values.get(type);
    return value?.length === 6 ? bytesToMac(value) : undefined;
  }

  /** An address of 4 or 16 octets. */
  ip(type: number): Ip | undefined {
    const value = this.#values.get(type);
    return value && bytesToIp(value);
  }

  nested(type: number): Attributes | undefined {
    const value = this.#values.get(type);
    return value && new Attributes(value);
  }

  /** The members of a kernel array: attributes numbered from one, each a list of its own. */
  array(type: number): Attributes[] {
    const inner = this.nested(type);
    return inner ? inner.types().map((index) => inner.nested(index) as Attributes) : [];
  }
}

/** The octets of an address in network order, 4 or 16 of them. */
export function ipToBytes(ip: Ip): Buffer {
  const size = addressBits(familyOf(ip)) / 8;
  return Buffer.from(
    ipToNumber(ip)
      .toString(16)
      .padStart(2 * size, '0'),
    'hex',
  );
}

export function bytesToIp(bytes: Uint8Array): Ip {
  assert(bytes.length === 4 || bytes.length === 16, 'an address has 4 or 16 octets');
  return numberToIp(BigInt(`0x${Buffer.from(bytes).toString('hex')}`), bytes.length === 4 ? 4 : 6);
}
