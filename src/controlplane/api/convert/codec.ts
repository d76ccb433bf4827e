/**
 * The pieces every table of convert/ is built from. A codec reads Docker's JSON into the model and writes it back;
 * one table per Docker struct therefore describes both directions, and they cannot drift apart.
 *
 * Reading follows Go's encoding/json: unknown fields are ignored, keys match case-insensitively, null leaves the
 * zero value, a wrong type is refused with Go's text, and only the first such fault is reported. What is well typed
 * but means nothing (an unknown RestartCondition) is refused after that, as dockerd converts after it decodes.
 * Writing follows section 4's rules: a field marked `omit` is dropped when empty, structs never are.
 */
import assert from 'node:assert';
import { SkepError } from '../../../model/errors.js';
import type { Labels } from '../../../model/service-spec.js';
import { JsonNumber, JsonObject } from './json.js';
import type { Json } from './json.js';

export interface Codec<T> {
  /** The Go type, as it appears in error texts. */
  readonly go: string;
  zero(): T;
  /** `json` is never null. */
  decode(json: NonNullable<Json>, at: Decoding): T;
  /** @param engineMinor the minor API version of the engine that is spoken for: later fields are not shown */
  encode(value: T, engineMinor: number): unknown;
  /** What `omitempty` drops. */
  isEmpty(value: T): boolean;
  /** Called instead of decode when the field was not sent, for what must be. */
  missing?(at: Decoding): void;
}

/** Where decoding stands, and what it found wrong so far. */
export class Decoding {
  /** Name of the innermost Go struct. */
  struct = '';
  readonly path: string[] = [];
  fault: string | undefined;
  refusal: SkepError | undefined;

  /** Minor API versions of the request and of the engine that is spoken for: newer fields than these are ignored. */
  constructor(
    readonly minor: number,
    readonly engineMinor: number,
  ) {}

  knows({ request, engine }: Since): boolean {
    return request <= this.minor && engine <= this.engineMinor;
  }

  mismatch(json: NonNullable<Json>, go: string): void {
    const place = this.path.length === 0 ? 'value' : `struct field ${this.struct}.${this.path.join('.')}`;
    this.fault ??= `json: cannot unmarshal ${describe(json, go)} into Go ${place} of type ${go}`;
  }

  refuse(error: SkepError): void {
    this.refusal ??= error;
  }
}

/** Decodes a whole document; throws `invalidArgument` with Go's text, or the first refusal. */
export function decodeAs<T>(codec: Codec<T>, json: Json, minor: number, prefix = '', engineMinor = minor): T {
  const at = new Decoding(minor, engineMinor);
  // A null document is Go's zero value, which still lacks what must be there.
  const value = codec.decode(json ?? new JsonObject([]), at);
  if (at.fault !== undefined) throw new SkepError('invalidArgument', prefix + at.fault);
  if (at.refusal) throw at.refusal;
  return value;
}

const plain = (message: string): SkepError => new SkepError('invalidArgument', message);

export const text: Codec<string> = textOf('string');

/** A text by another name of Go's. */
export function textOf(go: string): Codec<string> {
  return {
    go,
    zero: () => '',
    decode: (json, at) => {
      if (typeof json === 'string') return json;
      at.mismatch(json, go);
      return '';
    },
    encode: (value) => value,
    isEmpty: (value) => value === '',
  };
}

export const bool: Codec<boolean> = {
  go: 'bool',
  zero: () => false,
  decode: (json, at) => {
    if (typeof json === 'boolean') return json;
    at.mismatch(json, 'bool');
    return false;
  },
  encode: (value) => value,
  isEmpty: (value) => !value,
};

/** A whole number of Go type `go` between the bounds. */
function integer(go: string, min: bigint, max: bigint): Codec<number> {
  return {
    go,
    zero: () => 0,
    decode: (json, at) => {
      if (json instanceof JsonNumber && /^-?\d+$/.test(json.text)) {
        const exact = BigInt(json.text);
        if (exact >= min && exact <= max) return Number(exact);
      }
      at.mismatch(json, go);
      return 0;
    },
    encode: (value) => value,
    isEmpty: (value) => value === 0,
  };
}

const int64Bound = 1n << 63n;
export const int64 = integer('int64', -int64Bound, int64Bound - 1n);
export const uint32 = integer('uint32', 0n, (1n << 32n) - 1n);
/** Counts: beyond 2^53 a number here would no longer be the one written, so it is refused as out of range. */
export const uint64 = integer('uint64', 0n, BigInt(Number.MAX_SAFE_INTEGER));
export const int = integer('int', -int64Bound, int64Bound - 1n);
/** Nanoseconds. Above 104 days they are rounded to a few nanoseconds. */
export const duration = integer('time.Duration', -int64Bound, int64Bound - 1n);
export const fileMode = integer('os.FileMode', 0n, (1n << 32n) - 1n);

export const float32: Codec<number> = {
  go: 'float32',
  zero: () => 0,
  decode: (json, at) => {
    if (json instanceof JsonNumber) return Number(json.text);
    at.mismatch(json, 'float32');
    return 0;
  },
  encode: (value) => value,
  isEmpty: (value) => value === 0,
};

/** Milliseconds since the epoch as RFC 3339 with nanoseconds, trailing zeros cut as Go does. Written only. */
export const time: Codec<number> = {
  go: 'time.Time',
  zero: () => 0,
  decode: () => 0,
  encode: (ms) => formatTime(ms),
  isEmpty: () => false,
};

export const formatTime = (ms: number): string =>
  ms === 0 ? '0001-01-01T00:00:00Z' : new Date(ms).toISOString().replace(/\.?0+Z$/, 'Z');

/**
 * One of a few words. Empty means `absent`; anything else is refused with `refuse`, or taken as `absent` where
 * dockerd does so.
 */
export function choice<const T extends string>(options: {
  readonly go: string;
  readonly values: readonly T[];
  readonly absent: NoInfer<T>;
  /** Makes the text of a 400; without it an unknown word counts as absent. */
  readonly refuse?: (word: string) => string;
  /** Whether letters may be of either case. */
  readonly anyCase?: boolean;
  /** Whether the empty word is refused as well. */
  readonly required?: boolean;
}): Codec<T> {
  const words = textOf(options.go);
  return {
    go: options.go,
    zero: () => options.absent,
    decode: (json, at) => {
      const word = words.decode(json, at);
      const meant = options.anyCase === true ? word.toLowerCase() : word;
      const found = options.values.find((value) => value === meant);
      if (found === undefined && (word !== '' || options.required === true) && options.refuse)
        at.refuse(plain(options.refuse(word)));
      return found ?? options.absent;
    },
    encode: (value) => value,
    isEmpty: () => false,
    missing: (at) => {
      if (options.required === true && options.refuse) at.refuse(plain(options.refuse('')));
    },
  };
}

/** A Go pointer: presence matters, and an empty value is written. */
export const ptr = <T>(inner: Codec<T>): Codec<T | undefined> => ({
  go: inner.go,
  zero: () => undefined,
  decode: (json, at) => inner.decode(json, at),
  encode: (value, engineMinor) => (value === undefined ? null : inner.encode(value, engineMinor)),
  isEmpty: (value) => value === undefined,
});

/** A plain Go value that the model keeps absent while empty. */
export const opt = <T>(inner: Codec<T>): Codec<T | undefined> => ({
  go: inner.go,
  zero: () => undefined,
  decode: (json, at) => {
    const value = inner.decode(json, at);
    return inner.isEmpty(value) ? undefined : value;
  },
  encode: (value, engineMinor) => inner.encode(value ?? inner.zero(), engineMinor),
  isEmpty: (value) => value === undefined || inner.isEmpty(value),
});

/** Go's []byte: standard base64, in which encoding/base64 passes over line ends. Held without them. */
export const bytes: Codec<string> = {
  ...text,
  go: '[]uint8',
  decode: (json, at) => {
    const encoded = textOf('[]uint8').decode(json, at);
    const plainText = encoded.replace(/[\r\n]/g, '');
    if (/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(plainText)) return plainText;
    at.fault ??= `illegal base64 data at input byte ${base64Fault(encoded)}`;
    return '';
  },
};

/** Where encoding/base64 stops in what is none. */
function base64Fault(encoded: string): number {
  /** Letters of the group at hand, and the padding behind them. */
  let [letters, pads] = [0, 0];
  for (const [at, sign] of [...encoded].entries()) {
    if (sign === '\r' || sign === '\n') continue;
    if (pads > 0 && letters + pads === 4) return at;
    if (sign === '=' && letters >= 2) pads += 1;
    else if (pads > 0) return at - 1;
    else if (/[A-Za-z0-9+/]/.test(sign)) letters = (letters + 1) % 4;
    else return at;
  }
  return pads > 0 ? encoded.length : encoded.length - letters;
}

export const list = <T>(item: Codec<T>): Codec<readonly T[]> => ({
  go: `[]${item.go}`,
  zero: () => [],
  decode: (json, at) => {
    if (!Array.isArray(json)) {
      at.mismatch(json, `[]${item.go}`);
      return [];
    }
    return (json as readonly Json[]).map((each) => (each === null ? item.zero() : item.decode(each, at)));
  },
  encode: (values, engineMinor) => values.map((value) => item.encode(value, engineMinor)),
  isEmpty: (values) => values.length === 0,
});

export const strings = list(text);

export const labels: Codec<Labels> = {
  go: 'map[string]string',
  zero: () => ({}),
  decode: (json, at) => {
    const result: Record<string, string> = {};
    if (!(json instanceof JsonObject)) at.mismatch(json, 'map[string]string');
    else
      for (const [key, value] of json.entries)
        define(result, key, value === null ? '' : text.decode(value, at));
    return result;
  },
  encode: (value) => value,
  isEmpty: (value) => Object.keys(value).length === 0,
};

/** The same value in another shape: `to` after reading (it may refuse), `from` before writing. */
export const via = <A, B>(
  inner: Codec<A>,
  to: (value: A, at: Decoding) => B,
  from: (value: B) => A,
): Codec<B> => ({
  go: inner.go,
  zero: () => to(inner.zero(), new Decoding(0, 0)),
  decode: (json, at) => to(inner.decode(json, at), at),
  encode: (value, engineMinor) => inner.encode(from(value), engineMinor),
  isEmpty: (value) => inner.isEmpty(from(value)),
  missing: (at) => {
    inner.missing?.(at);
    to(inner.zero(), at);
  },
});

/** `via` for what is never read. */
export const written = <A, B>(inner: Codec<A>, from: (value: B) => A): Codec<B> =>
  via<A, B>(inner, () => assert.fail(`${inner.go} is only written`), from);

/** A struct that Docker writes as `{}` while the model has none. */
export const orEmpty = <T>(inner: Codec<T>): Codec<T | undefined> => ({
  ...ptr(inner),
  encode: (value, engineMinor) => (value === undefined ? {} : inner.encode(value, engineMinor)),
  isEmpty: () => false,
});

/** A slice or map that Docker writes as null while it is empty. */
export const orNull = <T>(inner: Codec<T>): Codec<T> => ({
  ...inner,
  encode: (value, engineMinor) => (inner.isEmpty(value) ? null : inner.encode(value, engineMinor)),
});

/** The minor API versions that brought a field. */
export interface Since {
  /** Requests of older versions cannot set it. */
  readonly request: number;
  /** Engines of older versions have none such: it is neither taken nor shown, whatever the request speaks. */
  readonly engine: number;
}

/** The one version that brought it, or two where requests of any version may set what a newer engine has. */
type Version = number | Since;
const sinceOf = (version: Version): Since =>
  typeof version === 'number' ? { request: version, engine: version } : version;

/** One row of a table. */
export interface Field<T> {
  /** Docker's key; dots lead into nested structs that the model does not have. Empty: not in Docker's JSON. */
  readonly key: string;
  readonly codec: Codec<T>;
  /** Engines of minor versions before this drop it when empty. */
  readonly omitBefore: number;
  readonly since: Since;
}

/** `key` with `omitempty`. */
export const field = <T>(key: string, codec: Codec<T>, since: Version = 0): Field<T> => ({
  key,
  codec,
  omitBefore: Infinity,
  since: sinceOf(since),
});
/** `key` that is written even when empty. */
export const always = <T>(key: string, codec: Codec<T>, since: Version = 0): Field<T> => ({
  key,
  codec,
  omitBefore: 0,
  since: sinceOf(since),
});
/** `key` with `omitempty`, and without it from this minor version of the engine on. */
export const alwaysSince = <T>(engineMinor: number, key: string, codec: Codec<T>): Field<T> => ({
  ...always(key, codec),
  omitBefore: engineMinor,
});
/** What the model has and Docker's JSON never shows. */
export const hidden = <T>(zero: T): Field<T> => ({
  key: '',
  codec: { go: '', zero: () => zero, decode: () => zero, encode: () => undefined, isEmpty: () => true },
  omitBefore: Infinity,
  since: sinceOf(0),
});

/** Every field of the model's T has exactly one row. */
export type Fields<T> = {
  readonly [K in keyof T]-?: Field<Exclude<T[K], undefined>> | Field<T[K] | undefined>;
};

interface Branch {
  readonly key: string;
  readonly struct: string;
  readonly children: Map<string, Branch | Leaf>;
}
interface Leaf {
  readonly key: string;
  readonly name: string;
  readonly field: Field<unknown>;
}

export interface StructOptions {
  /** Go names of nested structs, by their dotted key, for error texts; default: the key itself. */
  readonly inner?: Readonly<Record<string, string>>;
  /** Go package in error texts. */
  readonly package?: string;
  /** Written with every value and ignored when read. */
  readonly constants?: Readonly<Record<string, unknown>>;
  /** Fields that Docker has and the model cannot hold, by dotted key: says what such a value is refused with. */
  readonly refused?: Readonly<Record<string, (json: NonNullable<Json>) => SkepError | undefined>>;
}

/** A Go struct as a table of its fields. */
export function struct<T extends object>(
  name: string,
  fields: Fields<T>,
  options: StructOptions = {},
): Codec<T> {
  const go = `${options.package ?? 'swarm'}.${name}`;
  const root: Branch = { key: '', struct: name, children: new Map() };
  const add = (dotted: string, leaf: Omit<Leaf, 'key'>): void => {
    const keys = dotted.split('.');
    const last = keys.pop();
    assert(last !== undefined);
    let branch = root;
    keys.forEach((key, depth) => {
      const path = keys.slice(0, depth + 1).join('.');
      const found = branch.children.get(key.toLowerCase());
      assert(found === undefined || 'children' in found, `${path} is both a field and a struct`);
      const next = found ?? { key, struct: options.inner?.[path] ?? key, children: new Map() };
      branch.children.set(key.toLowerCase(), next);
      branch = next;
    });
    assert(!branch.children.has(last.toLowerCase()), `${dotted} is there twice`);
    branch.children.set(last.toLowerCase(), { key: last, ...leaf });
  };
  const rows: [string, Field<unknown>][] = Object.entries(fields);
  for (const [property, row] of rows) if (row.key !== '') add(row.key, { name: property, field: row });
  for (const [dotted, judge] of Object.entries(options.refused ?? {}))
    add(dotted, { name: '', field: field(dotted, refusing(judge)) });

  const decodeBranch = (
    branch: Branch,
    json: NonNullable<Json>,
    into: Record<string, unknown>,
    seen: Set<string>,
    at: Decoding,
  ): void => {
    if (!(json instanceof JsonObject))
      return at.mismatch(json, branch === root ? go : `${options.package ?? 'swarm'}.${branch.struct}`);
    const outer = at.struct;
    for (const [key, value] of json.entries) {
      const child = branch.children.get(key.toLowerCase());
      if (!child || value === null) continue;
      at.struct = branch.struct;
      at.path.push(child.key);
      if ('children' in child) decodeBranch(child, value, into, seen, at);
      else if (at.knows(child.field.since)) {
        seen.add(child.name);
        const decoded = child.field.codec.decode(value, at);
        if (child.name !== '' && decoded !== undefined) into[child.name] = decoded;
      }
      at.path.pop();
    }
    at.struct = outer;
  };
  const isShown = ({ name, field: row }: Leaf, value: unknown, engineMinor: number): boolean =>
    name !== '' &&
    row.since.engine <= engineMinor &&
    !(engineMinor < row.omitBefore && row.codec.isEmpty(value));
  const encodeBranch = (
    branch: Branch,
    value: Record<string, unknown>,
    engineMinor: number,
  ): Record<string, unknown> => {
    const result: Record<string, unknown> = {};
    for (const child of branch.children.values())
      if ('children' in child) result[child.key] = encodeBranch(child, value, engineMinor);
      else if (isShown(child, value[child.name], engineMinor))
        result[child.key] = child.field.codec.encode(value[child.name], engineMinor);
    return result;
  };
  const zero = (): T => {
    const result: Record<string, unknown> = {};
    for (const [property, row] of rows) {
      const value = row.codec.zero();
      if (value !== undefined) result[property] = value;
    }
    return result as T;
  };
  return {
    go,
    zero,
    decode: (json, at) => {
      const result = zero();
      const seen = new Set<string>();
      decodeBranch(root, json, result as Record<string, unknown>, seen, at);
      for (const [property, row] of rows) if (!seen.has(property)) row.codec.missing?.(at);
      return result;
    },
    encode: (value, engineMinor) => ({
      ...encodeBranch(root, value as Record<string, unknown>, engineMinor),
      ...options.constants,
    }),
    isEmpty: () => false,
  };
}

function refusing(judge: (json: NonNullable<Json>) => SkepError | undefined): Codec<undefined> {
  return {
    go: '',
    zero: () => undefined,
    decode: (json, at) => {
      const refusal = judge(json);
      if (refusal) at.refuse(refusal);
      return undefined;
    },
    encode: () => undefined,
    isEmpty: () => true,
  };
}

/** Go's word for a JSON value; numbers that do not fit a numeric type are shown. */
export function describe(json: NonNullable<Json>, go: string): string {
  if (json instanceof JsonNumber) {
    const numeric = /^(u?int|float|time\.Duration|os\.FileMode)/.test(go);
    return numeric ? `number ${json.text}` : 'number';
  }
  if (json instanceof JsonObject) return 'object';
  if (typeof json === 'boolean') return 'bool';
  return typeof json === 'string' ? 'string' : 'array';
}

/** Sets a key that may be `__proto__`. */
function define(target: Record<string, string>, key: string, value: string): void {
  Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
}
