/** The functions of templates: Go's, but `js` and `call`, and Swarm's `join`. Each throws an Error with Go's reason. */
import type { Value } from './values.js';
import { isTrue, show, Struct, typeOf } from './values.js';

export interface TemplateFunction {
  readonly argumentsMin: number;
  readonly argumentsMax?: number;
  /** Whether every argument is a string, which is said of the argument then. */
  readonly ofStrings?: true;
  readonly call: (args: readonly Value[]) => Value;
}

/** Of a width or a precision. */
const widthMax = 1_000;

export const functions: ReadonlyMap<string, TemplateFunction> = new Map(
  Object.entries<TemplateFunction>({
    and: { argumentsMin: 1, call: (args) => args.find((arg) => !isTrue(arg)) ?? last(args) },
    or: { argumentsMin: 1, call: (args) => args.find(isTrue) ?? last(args) },
    not: { argumentsMin: 1, argumentsMax: 1, call: ([arg = null]) => !isTrue(arg) },
    len: { argumentsMin: 1, argumentsMax: 1, call: ([arg = null]) => BigInt(lengthOf(arg)) },
    index: { argumentsMin: 1, call: ([of = null, ...keys]) => keys.reduce(index, of) },
    slice: { argumentsMin: 1, argumentsMax: 3, call: ([of = null, ...bounds]) => slice(of, bounds) },
    join: {
      argumentsMin: 0,
      ofStrings: true,
      call: ([separator, ...texts]) => {
        if (separator === undefined) throw new Error('runtime error: slice bounds out of range [1:0]');
        return texts.map(textOf).join(textOf(separator));
      },
    },
    print: { argumentsMin: 0, call: print },
    println: { argumentsMin: 0, call: (args) => `${args.map(show).join(' ')}\n` },
    printf: { argumentsMin: 1, call: ([format = '', ...args]) => printf(textOf(format), args) },
    html: {
      argumentsMin: 0,
      call: (args) => print(args).replace(/[&'"<>\0]/g, (sign) => entities[sign] ?? ''),
    },
    urlquery: { argumentsMin: 0, call: (args) => queryEscape(print(args)) },
    eq: { argumentsMin: 1, call: equals },
    ne: { argumentsMin: 2, argumentsMax: 2, call: ([a = null, b = null]) => !isEqual(a, b) },
    lt: { argumentsMin: 2, argumentsMax: 2, call: ([a = null, b = null]) => isLess(a, b) },
    le: { argumentsMin: 2, argumentsMax: 2, call: ([a = null, b = null]) => isLess(a, b) || isEqual(a, b) },
    gt: { argumentsMin: 2, argumentsMax: 2, call: ([a = null, b = null]) => isLess(b, a) },
    ge: { argumentsMin: 2, argumentsMax: 2, call: ([a = null, b = null]) => isLess(b, a) || isEqual(a, b) },
  }),
);

const last = (args: readonly Value[]): Value => args.at(-1) ?? null;

const entities: Readonly<Record<string, string>> = {
  ...{ '&': '&amp;', "'": '&#39;', '"': '&#34;', '<': '&lt;', '>': '&gt;', '\0': '\uFFFD' },
};

const queryEscape = (text: string): string =>
  encodeURIComponent(text)
    .replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+');

function textOf(value: Value): string {
  if (typeof value !== 'string')
    throw new Error(`wrong type for value; expected string; got ${typeOf(value)}`);
  return value;
}

function lengthOf(value: Value): number {
  if (typeof value === 'string') return Buffer.byteLength(value);
  if (typeof value === 'object' && value !== null && !(value instanceof Struct)) return value.size;
  throw new Error(value === null ? 'len of nil pointer' : `len of type ${typeOf(value)}`);
}

/** Of a map the empty text where there is none. */
function index(of: Value, key: Value): Value {
  if (typeof of === 'string') {
    if (typeof key !== 'bigint') throw new Error(`cannot index slice/array with type ${typeOf(key)}`);
    const byte = Buffer.from(of)[Number(key)];
    if (byte === undefined) throw new Error(`index out of range: ${key}`);
    return BigInt(byte);
  }
  if (typeof of !== 'object' || of === null || of instanceof Struct)
    throw new Error(of === null ? 'index of untyped nil' : `can't index item of type ${typeOf(of)}`);
  if (typeof key !== 'string') throw new Error(`value has type ${typeOf(key)}; should be string`);
  return of.get(key) ?? '';
}

function slice(of: Value, bounds: readonly Value[]): string {
  if (typeof of !== 'string') throw new Error(`can't slice item of type ${typeOf(of)}`);
  const bytes = Buffer.from(of);
  const [from = 0, to = bytes.length] = bounds.map((bound) => {
    if (typeof bound !== 'bigint') throw new Error(`cannot index slice/array with type ${typeOf(bound)}`);
    if (bound < 0n || bound > BigInt(bytes.length)) throw new Error(`index out of range: ${bound}`);
    return Number(bound);
  });
  if (from > to) throw new Error(`invalid slice index: ${from} > ${to}`);
  return bytes.subarray(from, to).toString();
}

/** With blanks between operands neither of which is a text. */
function print(args: readonly Value[]): string {
  return args
    .map((arg, at) => {
      const before = args[at - 1];
      const blank = at > 0 && typeof arg !== 'string' && typeof before !== 'string';
      return (blank ? ' ' : '') + show(arg);
    })
    .join('');
}

/** What can be compared: Go's basic kinds. */
function kindOf(value: Value): string {
  if (value === null || typeof value === 'object') throw new Error('non-comparable type');
  return typeof value;
}

function isEqual(a: Value, b: Value): boolean {
  if (kindOf(a) !== kindOf(b)) throw new Error('incompatible types for comparison');
  return a === b;
}

function equals([first = null, ...others]: readonly Value[]): boolean {
  if (others.length === 0) throw new Error('missing argument for comparison');
  return others.some((other) => isEqual(first, other));
}

function isLess(a: Value, b: Value): boolean {
  if (kindOf(a) !== kindOf(b)) throw new Error('incompatible types for comparison');
  if (typeof a === 'boolean') throw new Error('invalid type for comparison');
  return (a as string) < (b as string);
}

/** The verbs v, s, q, d, x, X, c, t and %, with flags, width and precision. */
function printf(format: string, args: readonly Value[]): string {
  const rest = [...args];
  const text = format.replace(
    /%([-+# 0]*)(\d*)(?:\.(\d*))?([^]?)/g,
    (_, flags: string, width: string, precision: string | undefined, verb: string) => {
      if (verb === '') throw new Error('printf: no verb at the end of the format');
      if (verb === '%') return '%';
      if (Number(width) > widthMax || Number(precision ?? 0) > widthMax)
        throw new Error(`printf: more than ${widthMax} characters wide`);
      const arg = rest.shift();
      if (arg === undefined) return `%!${verb}(MISSING)`;
      const digits = precision === undefined ? undefined : Number(precision);
      const shown = formatAs(verb, arg, flags.includes('+'), digits);
      const zeros = flags.includes('0') && !flags.includes('-') && typeof arg !== 'string';
      if (zeros) {
        const [, sign = '', number = ''] = /^([+-]?)([^]*)$/.exec(shown) ?? [];
        return sign + number.padStart(Number(width) - sign.length, '0');
      }
      return flags.includes('-') ? shown.padEnd(Number(width)) : shown.padStart(Number(width));
    },
  );
  if (rest.length === 0) return text;
  return `${text}%!(EXTRA ${rest.map((arg) => `${typeOf(arg)}=${show(arg)}`).join(', ')})`;
}

function formatAs(verb: string, arg: Value, signed: boolean, precision: number | undefined): string {
  const number = typeof arg === 'bigint' || typeof arg === 'number';
  const sign = signed && number && arg >= 0 ? '+' : '';
  switch (verb) {
    case 'v':
      return sign + show(arg);
    case 's':
      if (typeof arg === 'string')
        return precision === undefined ? arg : [...arg].slice(0, precision).join('');
      return typeof arg === 'object' && arg !== null ? show(arg) : wrongVerb(verb, arg);
    case 'q':
      return typeof arg === 'string' ? JSON.stringify(arg) : wrongVerb(verb, arg);
    case 'd':
      return typeof arg === 'bigint' ? sign + String(arg) : wrongVerb(verb, arg);
    case 'f':
      return typeof arg === 'number'
        ? sign + arg.toFixed(Math.min(precision ?? 6, 100))
        : wrongVerb(verb, arg);
    case 'x':
    case 'X': {
      const shown =
        typeof arg === 'string'
          ? Buffer.from(arg).toString('hex')
          : typeof arg === 'bigint'
            ? arg.toString(16)
            : undefined;
      if (shown === undefined) return wrongVerb(verb, arg);
      return verb === 'X' ? shown.toUpperCase() : shown;
    }
    case 'c':
      return typeof arg === 'bigint' && arg >= 0n && arg <= 0x10ffffn
        ? String.fromCodePoint(Number(arg))
        : wrongVerb(verb, arg);
    case 't':
      return typeof arg === 'boolean' ? String(arg) : wrongVerb(verb, arg);
    default:
      return wrongVerb(verb, arg);
  }
}

const wrongVerb = (verb: string, arg: Value): string => `%!${verb}(${typeOf(arg)}=${show(arg)})`;
