/**
 * Reads fields out of unknown values, saying which field is wrong. Used for what crosses a border as JSON or protobuf:
 * the state, the files beside it and the engine's plugin calls. A path such as `overlays[0].vni` names the field.
 */
import type { Cidr, Ip, Mac } from '../model/addresses.js';
import { isIp, isMac, normalizeCidr, parseIp } from '../model/addresses.js';
import { SkepError } from '../model/errors.js';
import { isInterfaceName } from '../model/publishing.js';

/** Throws `invalidArgument`: `<path>: <why>`. */
export function refuse(path: string, why: string): never {
  throw new SkepError('invalidArgument', `${path}: ${why}`);
}

const show = (value: unknown): string => (JSON.stringify(value) ?? 'undefined').slice(0, 80);
const join = (path: string, key: string): string => (path === '' ? key : `${path}.${key}`);

/** An object's fields, one reader method a type. With `known`, a field not named there is refused. */
export class Fields {
  readonly #fields: Readonly<Record<string, unknown>>;

  constructor(
    value: unknown,
    readonly path: string,
    known?: readonly string[],
  ) {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      refuse(path || 'value', `expected an object, got ${show(value)}`);
    this.#fields = value as Record<string, unknown>;
    for (const key of known ? Object.keys(value) : [])
      if (!known?.includes(key)) refuse(join(path, key), 'unknown field');
  }

  at(key: string): string {
    return join(this.path, key);
  }

  raw(key: string): unknown {
    return Object.hasOwn(this.#fields, key) ? this.#fields[key] : undefined;
  }

  string(key: string, lengthMax = 255): string {
    const value = this.raw(key);
    if (typeof value !== 'string') refuse(this.at(key), `expected text, got ${show(value)}`);
    if (value.length > lengthMax) refuse(this.at(key), `longer than ${lengthMax} characters`);
    return value;
  }

  /** Absent, null and empty text all mean "not given". */
  optionalString(key: string, lengthMax = 255): string | undefined {
    const value = this.raw(key);
    return value === undefined || value === null ? undefined : this.string(key, lengthMax) || undefined;
  }

  /** An identifier: one path-safe word. */
  id(key: string): string {
    const value = this.string(key, 64);
    return /^[0-9A-Za-z_-]+$/.test(value) ? value : refuse(this.at(key), `not an identifier: ${show(value)}`);
  }

  /** A DNS name or a service's name: printable, without blanks. */
  name(key: string): string {
    const value = this.string(key);
    return /^[\x21-\x7e]+$/.test(value) ? value : refuse(this.at(key), `not a name: ${show(value)}`);
  }

  boolean(key: string): boolean {
    const value = this.raw(key);
    return typeof value === 'boolean'
      ? value
      : refuse(this.at(key), `expected true or false, got ${show(value)}`);
  }

  /** Absent and null mean "not given". */
  optionalBoolean(key: string): boolean | undefined {
    const value = this.raw(key);
    return value === undefined || value === null ? undefined : this.boolean(key);
  }

  /** What must not be shown is not part of the refusal. */
  octets(key: string, length: number): Uint8Array {
    const value = this.raw(key);
    return value instanceof Uint8Array && value.length === length
      ? value
      : refuse(this.at(key), `expected ${length} octets`);
  }

  integer(key: string, min: number, max: number): number {
    const value = this.raw(key);
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max)
      refuse(this.at(key), `expected a whole number from ${min} to ${max}, got ${show(value)}`);
    return value;
  }

  /** Absent, null and 0 (proto3 has no absent number) all mean "not given". */
  optionalInteger(key: string, min: number, max: number): number | undefined {
    const value = this.raw(key);
    return value === undefined || value === null || value === 0 ? undefined : this.integer(key, min, max);
  }

  ip(key: string): Ip {
    const value = this.string(key);
    return isIp(value) ? parseIp(value) : refuse(this.at(key), `not an IP address: ${show(value)}`);
  }

  /** A subnet whose host bits are zero. */
  cidr(key: string): Cidr {
    const value = this.string(key);
    try {
      if (normalizeCidr(value) === value) return value as Cidr;
    } catch {
      // Falls through to the refusal that names the field.
    }
    return refuse(this.at(key), `not a subnet: ${show(value)}`);
  }

  /** A network device's name. */
  interfaceName(key: string): string {
    const value = this.string(key);
    return isInterfaceName(value)
      ? value
      : refuse(this.at(key), `not a name of an interface: ${show(value)}`);
  }

  /** A unicast MAC in lower case. */
  mac(key: string): Mac {
    const value = this.string(key);
    if (!isMac(value) || value === '00:00:00:00:00:00' || (parseInt(value.slice(0, 2), 16) & 1) === 1)
      refuse(this.at(key), `not a unicast MAC address: ${show(value)}`);
    return value;
  }

  oneOf<T extends string>(key: string, allowed: readonly T[]): T {
    const value = this.raw(key);
    return (
      allowed.find((one) => one === value) ??
      refuse(this.at(key), `expected ${allowed.join(' or ')}, got ${show(value)}`)
    );
  }

  object(key: string, known?: readonly string[]): Fields {
    return new Fields(this.raw(key), this.at(key), known);
  }

  /** As {@link list}; absent and null are an empty one. */
  optionalList<T>(key: string, read: (item: unknown, path: string) => T): T[] {
    const value = this.raw(key);
    return value === undefined || value === null ? [] : this.list(key, read);
  }

  list<T>(key: string, read: (item: unknown, path: string) => T): T[] {
    const value = this.raw(key);
    if (!Array.isArray(value)) refuse(this.at(key), `expected a list, got ${show(value)}`);
    return value.map((item, index) => read(item, `${this.at(key)}[${index}]`));
  }
}

/** Remembers who took which value, and refuses the second taker. */
export class Unique<T> {
  readonly #takers = new Map<T, string>();

  /** @param takenBefore by whom; undefined: by nobody */
  constructor(private readonly takenBefore: (value: T) => string | undefined = () => undefined) {}

  take(value: T, path: string): void {
    const taker = this.#takers.get(value) ?? this.takenBefore(value);
    if (taker !== undefined) refuse(path, `${String(value)} is already taken by ${taker}`);
    this.#takers.set(value, path);
  }
}
