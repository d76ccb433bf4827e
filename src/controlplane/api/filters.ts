/**
 * The `filters` query parameter: `{"key":{"value":true}}`, or the older `{"key":["value"]}`. Values of one key are
 * alternatives, labels must all hold, names and ids match by prefix (semantics sheet, 1.4).
 */
import { SkepError } from '../../model/errors.js';
import type { ErrorKind } from '../../model/errors.js';
import type { Labels } from '../../model/service-spec.js';
import { describe } from './convert/codec.js';
import { JsonObject, parseJson } from './convert/json.js';
import type { Json } from './convert/json.js';
import type { ApiRequest } from './request.js';

export class Filters {
  constructor(private readonly byKey: ReadonlyMap<string, readonly string[]> = new Map()) {}

  get(key: string): readonly string[] {
    return this.byKey.get(key) ?? [];
  }

  has(key: string): boolean {
    return this.byKey.has(key);
  }

  /** True without the filter, or when one of its values is a prefix of the text. */
  prefix(key: string, text: string): boolean {
    return !this.has(key) || this.get(key).some((value) => text.startsWith(value));
  }

  /**
   * True without the filter, or when one of its values is the text or a regular expression that matches somewhere in it, as
   * `docker network ls --filter name=` takes them. What is no expression matches nothing; one that could take for ever
   * to match is refused.
   */
  pattern(key: string, text: string): boolean {
    return !this.has(key) || this.get(key).some((value) => value === text || compiled(value)?.test(text));
  }

  /** True without the filter, or when one of its values is the text. */
  exact(key: string, text: string): boolean {
    return !this.has(key) || this.get(key).includes(text);
  }

  /** True when every `k` or `k=v` of the filter holds. */
  labels(key: string, labels: Labels): boolean {
    return this.get(key).every((wanted) => {
      const equals = wanted.indexOf('=');
      const name = equals < 0 ? wanted : wanted.slice(0, equals);
      if (!Object.hasOwn(labels, name)) return false;
      return equals < 0 || labels[name] === wanted.slice(equals + 1);
    });
  }

  entries(): IterableIterator<[string, readonly string[]]> {
    return this.byKey.entries();
  }

  /** Back into the query parameter's form. */
  toString(): string {
    return JSON.stringify(Object.fromEntries(this.byKey));
  }
}

/** Node's expressions backtrack, Go's do not: repetitions of repetitions would take for ever. */
const repeatsMax = 4;

function compiled(pattern: string): RegExp | undefined {
  const plain = pattern.replace(/\\./g, '');
  const repeats = plain.match(/[*+?{]/g)?.length ?? 0;
  if (repeats > repeatsMax || /\)[*+?{]/.test(plain) || pattern.length > 256)
    throw new SkepError('invalidArgument', `invalid filter: the expression '${pattern}' is too complex`);
  try {
    return new RegExp(pattern);
  } catch {
    return undefined;
  }
}

export interface FilterRules {
  /** Those that may be there; absent: any. */
  readonly keys?: readonly string[];
  /** What 20.10 makes of text that is no JSON: 400 for services, 500 for the rest. */
  readonly malformed?: ErrorKind;
  /** What is refused between the two: text that is no JSON before it, unknown keys after it. */
  readonly before?: () => void;
}

/** Reads the request's filters; throws for malformed JSON and for unknown keys, in the words of the engine's version. */
export function parseFilters(
  request: ApiRequest,
  { keys, malformed = 'unknown', before = () => undefined }: FilterRules,
): Filters {
  const byKey = readFilters(request, malformed);
  before();
  for (const key of byKey.keys())
    if (keys && !keys.includes(key))
      throw new SkepError(
        'invalidArgument',
        request.modern ? `invalid filter '${key}'` : `Invalid filter '${key}'`,
      );
  return new Filters(byKey);
}

function readFilters(request: ApiRequest, malformed: ErrorKind): ReadonlyMap<string, readonly string[]> {
  const text = request.query.get('filters') ?? '';
  const byKey = new Map<string, readonly string[]>();
  if (text === '') return byKey;
  const bad = (message: string): never => {
    if (request.modern) throw new SkepError('invalidArgument', 'invalid filter');
    throw new SkepError(malformed, message);
  };
  let json;
  try {
    json = parseJson(text, { truncated: 'unexpected end of JSON input', allowTrailing: false });
  } catch (err) {
    return bad(err instanceof Error ? err.message : String(err));
  }
  const mismatch = (value: NonNullable<Json>, go: string): never =>
    bad(`json: cannot unmarshal ${describe(value, go)} into Go value of type ${go}`);
  if (json === null) return byKey;
  if (!(json instanceof JsonObject)) return mismatch(json, 'map[string]map[string]bool');
  for (const [key, value] of json.entries) {
    if (value === null) continue;
    else if (value instanceof JsonObject) {
      const odd = value.entries
        .map(([, each]) => each)
        .find((each) => each !== null && typeof each !== 'boolean');
      if (odd !== undefined && odd !== null) return mismatch(odd, 'bool');
      byKey.set(
        key,
        value.entries.map(([each]) => each),
      );
    } else if (Array.isArray(value) && value.every((each) => typeof each === 'string')) byKey.set(key, value);
    else return mismatch(value, 'map[string]bool');
  }
  return byKey;
}
