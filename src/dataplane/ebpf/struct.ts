/**
 * C structs as values: fields in C's order at C's offsets (natural alignment), each read and written through one small
 * table. Numbers are of the machine's byte order; those of packets' order are marked `be`.
 */
import { endianness } from 'node:os';
import type { Mac } from '../../model/addresses.js';

/** One field, or a whole struct, which is a field as well. */
export interface Field<T> {
  readonly bytes: number;
  readonly align: number;
  /** No part of the value. */
  readonly isPadding?: true;
  get(view: DataView, at: number): T;
  set(view: DataView, at: number, value: T): void;
}

type Fields = Readonly<Record<string, Field<unknown>>>;

/** What a struct holds as a value: every field but padding. */
export type ValueOf<F extends Fields> = {
  readonly [Name in keyof F as F[Name] extends Field<never> ? never : Name]: F[Name] extends Field<infer T>
    ? T
    : never;
};

export interface Struct<T> extends Field<T> {
  /** Every field with its offset in bytes, in order, padding included. */
  readonly fields: readonly { readonly name: string; readonly offset: number; readonly bytes: number }[];
  /** The value in octets of its own. */
  encode(value: T): Buffer;
  decode(buffer: Buffer, at?: number): T;
}

/** A view of a buffer's octets, for reading many values out of it. */
export const viewOf = (buffer: Buffer): DataView =>
  new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);

const little = endianness() === 'LE';

const number = (
  bytes: 1 | 2 | 4,
  get: (view: DataView, at: number) => number,
  set: (view: DataView, at: number, value: number) => void,
): Field<number> => ({ bytes, align: bytes, get, set });

export const u8 = number(
  1,
  (view, at) => view.getUint8(at),
  (view, at, value) => view.setUint8(at, value),
);
export const u16 = number(
  2,
  (view, at) => view.getUint16(at, little),
  (view, at, value) => view.setUint16(at, value, little),
);
export const u32 = number(
  4,
  (view, at) => view.getUint32(at, little),
  (view, at, value) => view.setUint32(at, value, little),
);
export const be16 = number(
  2,
  (view, at) => view.getUint16(at),
  (view, at, value) => view.setUint16(at, value),
);
export const be32 = number(
  4,
  (view, at) => view.getUint32(at),
  (view, at, value) => view.setUint32(at, value),
);
export const u64: Field<bigint> = {
  bytes: 8,
  align: 8,
  // Most counters are 0, and each bigint is an object of its own.
  get: (view, at) =>
    view.getUint32(at) === 0 && view.getUint32(at + 4) === 0 ? 0n : view.getBigUint64(at, little),
  set: (view, at, value) => view.setBigUint64(at, value, little),
};

/** The octets of one number: an index as a key, or the value of a map of indices. */
export function u32Octets(value: number): Buffer {
  const octets = Buffer.alloc(4);
  u32.set(viewOf(octets), 0, value);
  return octets;
}

export const u32Of = (octets: Buffer): number => u32.get(viewOf(octets), 0);

/** Padding of `of`'s size: no part of the value, left zero. */
export const padding = (of: Field<number>): Field<never> => ({
  bytes: of.bytes,
  align: of.align,
  isPadding: true,
  get: () => undefined as never,
  set: () => undefined,
});

const hex = Array.from({ length: 256 }, (_, octet) => octet.toString(16).padStart(2, '0'));
const digit = (text: string, at: number): number => {
  const code = text.charCodeAt(at);
  return code <= 0x39 ? code - 0x30 : (code | 0x20) - 0x57;
};

export const mac: Field<Mac> = {
  bytes: 6,
  align: 1,
  get: (view, at) => {
    let text = hex[view.getUint8(at)] ?? '';
    for (let i = 1; i < 6; i++) text += `:${hex[view.getUint8(at + i)]}`;
    return text as Mac;
  },
  set: (view, at, value) => {
    for (let i = 0; i < 6; i++) view.setUint8(at + i, (digit(value, 3 * i) << 4) | digit(value, 3 * i + 1));
  },
};

export const array = <T>(of: Field<T>, length: number): Field<readonly T[]> => ({
  bytes: of.bytes * length,
  align: of.align,
  get: (view, at) => Array.from({ length }, (_, i) => of.get(view, at + i * of.bytes)),
  set: (view, at, value) => value.forEach((item, i) => of.set(view, at + i * of.bytes, item)),
});

const aligned = (offset: number, align: number): number => Math.ceil(offset / align) * align;

/** A struct of these fields, laid out as the C compiler does. */
export function struct<F extends Fields>(members: F): Struct<ValueOf<F>> {
  let end = 0;
  const placed = Object.entries(members).map(([name, field]) => {
    const offset = aligned(end, field.align);
    end = offset + field.bytes;
    return { name, offset, bytes: field.bytes, field };
  });
  const align = Math.max(...placed.map(({ field }) => field.align));
  const bytes = aligned(end, align);

  const held = placed.filter(({ field }) => !field.isPadding);
  type Value = ValueOf<F>;
  const get = (view: DataView, at: number): Value => {
    const value: Record<string, unknown> = {};
    for (const { name, offset, field } of held) value[name] = field.get(view, at + offset);
    return value as Value;
  };
  const set = (view: DataView, at: number, value: Value): void => {
    for (const { name, offset, field } of held)
      field.set(view, at + offset, (value as Record<string, unknown>)[name]);
  };
  return {
    bytes,
    align,
    fields: placed.map(({ name, offset, bytes: size }) => ({ name, offset, bytes: size })),
    get,
    set,
    encode: (value) => {
      const buffer = Buffer.alloc(bytes);
      set(viewOf(buffer), 0, value);
      return buffer;
    },
    decode: (buffer, at = 0) => get(viewOf(buffer), at),
  };
}
