/** What templates compute with: Go's values as far as they occur, and how Go prints them. */

/** `typeName`: Go's, in errors. */
export class Struct {
  constructor(
    readonly typeName: string,
    readonly fields: ReadonlyMap<string, Value>,
  ) {}
}

export type StringMap = ReadonlyMap<string, string>;

/** `bigint` is int, `number` is float64, null is nil. */
export type Value = string | bigint | number | boolean | null | StringMap | Struct;

export function typeOf(value: Value): string {
  if (value === null) return 'nil';
  if (value instanceof Struct) return value.typeName;
  if (typeof value === 'object') return 'map[string]string';
  const names = { bigint: 'int', number: 'float64', boolean: 'bool', string: 'string' } as const;
  return names[typeof value as keyof typeof names];
}

export const isTrue = (value: Value): boolean =>
  value instanceof Struct || (typeof value === 'object' && value !== null ? value.size > 0 : Boolean(value));

/** In the order of Go: by key. */
export const entriesOf = (map: StringMap): [string, string][] =>
  [...map].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));

/** As %v. */
export function show(value: Value): string {
  if (value === null) return '<nil>';
  if (value instanceof Struct) return `{${[...value.fields.values()].map(show).join(' ')}}`;
  if (typeof value === 'object')
    return `map[${entriesOf(value)
      .map(([key, text]) => `${key}:${text}`)
      .join(' ')}]`;
  return String(value);
}
