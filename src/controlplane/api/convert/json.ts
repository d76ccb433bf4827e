/**
 * JSON as Go reads it: numbers keep their text (so `1.0` is no integer and 64-bit values are not rounded before
 * they are judged), duplicate keys keep their order, and refusals carry the text of encoding/json, which clients show.
 */
import { SkepError } from '../../../model/errors.js';

/** A number exactly as written. */
export class JsonNumber {
  constructor(readonly text: string) {}
}

/** An object as the pairs written, in order. */
export class JsonObject {
  constructor(readonly entries: readonly (readonly [string, Json])[]) {}
}

export type Json = null | boolean | string | JsonNumber | readonly Json[] | JsonObject;

/** The value under a key as Go finds it: in any case, the last one wins; undefined when there is none. */
export const memberOf = (object: Json | undefined, key: string): Json | undefined =>
  object instanceof JsonObject
    ? object.entries.findLast(([each]) => each.toLowerCase() === key.toLowerCase())?.[1]
    : undefined;

/** The object with one value under that key; undefined takes it out. */
export function withMember(object: Json | undefined, key: string, value: Json | undefined): JsonObject {
  const entries = object instanceof JsonObject ? object.entries : [];
  const others = entries.filter(([each]) => each.toLowerCase() !== key.toLowerCase());
  return new JsonObject(value === undefined ? others : [...others, [key, value]]);
}

/** The value as text again, numbers as they were written. */
export function formatJson(value: Json): string {
  if (value instanceof JsonNumber) return value.text;
  if (value instanceof JsonObject)
    return `{${value.entries.map(([key, each]) => `${JSON.stringify(key)}:${formatJson(each)}`).join()}}`;
  if (isList(value)) return `[${value.map(formatJson).join()}]`;
  return JSON.stringify(value);
}

const isList = (value: Json): value is readonly Json[] => Array.isArray(value);

/** Nesting beyond this is refused as Go 1.15 and later do. */
const maxDepth = 10_000;

const escapes: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

/** What truncated input is called: `unexpected EOF` by a Decoder, the longer text by Unmarshal. */
export interface ParseOptions {
  readonly truncated: 'unexpected EOF' | 'unexpected end of JSON input';
  /** The offset behind the value is the caller's business when true; otherwise anything but white space is refused. */
  readonly allowTrailing: boolean;
}

/** Reads one value; throws `invalidArgument` with encoding/json's text. */
export function parseJson(text: string, options: ParseOptions): Json {
  const reader = new Reader(text, options.truncated);
  const value = reader.value(0);
  if (!options.allowTrailing) reader.end();
  return value;
}

/** A body that goes on to the engine; undefined for what that will have its own words for. */
export function jsonOf(body: Buffer): Json | undefined {
  try {
    return parseJson(body.toString('utf8'), { truncated: 'unexpected EOF', allowTrailing: true });
  } catch {
    return undefined;
  }
}

class Reader {
  #at = 0;

  constructor(
    private readonly text: string,
    private readonly truncated: string,
  ) {}

  end(): void {
    this.#space();
    if (this.#at < this.text.length) this.#bad('after top-level value');
  }

  value(depth: number): Json {
    if (depth > maxDepth) throw new SkepError('invalidArgument', 'exceeded max depth');
    this.#space();
    const char = this.#peek();
    if (char === '{') return this.#object(depth);
    if (char === '[') return this.#array(depth);
    if (char === '"') return this.#string();
    if (char === 't') return this.#literal('true', true);
    if (char === 'f') return this.#literal('false', false);
    if (char === 'n') return this.#literal('null', null);
    if (char === '-' || isDigit(char)) return this.#number();
    return this.#bad('looking for beginning of value');
  }

  #object(depth: number): JsonObject {
    const entries: [string, Json][] = [];
    this.#at++;
    this.#space();
    if (this.#peek() === '}') {
      this.#at++;
      return new JsonObject(entries);
    }
    for (;;) {
      this.#space();
      if (this.#peek() !== '"') this.#bad('looking for beginning of object key string');
      const key = this.#string();
      this.#space();
      if (this.#peek() !== ':') this.#bad('after object key');
      this.#at++;
      entries.push([key, this.value(depth + 1)]);
      this.#space();
      const next = this.#peek();
      if (next !== ',' && next !== '}') this.#bad('after object key:value pair');
      this.#at++;
      if (next === '}') return new JsonObject(entries);
    }
  }

  #array(depth: number): Json[] {
    const items: Json[] = [];
    this.#at++;
    this.#space();
    if (this.#peek() === ']') {
      this.#at++;
      return items;
    }
    for (;;) {
      items.push(this.value(depth + 1));
      this.#space();
      const next = this.#peek();
      if (next !== ',' && next !== ']') this.#bad('after array element');
      this.#at++;
      if (next === ']') return items;
    }
  }

  #string(): string {
    let result = '';
    this.#at++;
    for (;;) {
      // Nearly all of a string at once: contents of configs are of a million characters.
      plainCharacters.lastIndex = this.#at;
      const run = plainCharacters.exec(this.text)?.[0] ?? '';
      result += run;
      this.#at += run.length;
      const char = this.#peek();
      if (char < ' ') this.#bad('in string literal');
      this.#at++;
      if (char === '"') return result;
      result += this.#escape();
    }
  }

  #escape(): string {
    const char = this.#peek();
    if (char === 'u') {
      this.#at++;
      let code = '';
      for (let i = 0; i < 4; i++) {
        if (!/[0-9a-fA-F]/.test(this.#peek())) this.#bad('in \\u hexadecimal character escape');
        code += this.text[this.#at++];
      }
      return String.fromCharCode(parseInt(code, 16));
    }
    const meaning = escapes[char];
    if (meaning === undefined) return this.#bad('in string escape code');
    this.#at++;
    return meaning;
  }

  #number(): JsonNumber {
    const start = this.#at;
    if (this.text[this.#at] === '-') {
      this.#at++;
      if (!isDigit(this.#peek())) this.#bad('in numeric literal');
    }
    if (this.text[this.#at] === '0') this.#at++;
    else this.#digits();
    if (this.text[this.#at] === '.') {
      this.#at++;
      if (!isDigit(this.#peek())) this.#bad('after decimal point in numeric literal');
      this.#digits();
    }
    if (/[eE]/.test(this.text[this.#at] ?? '')) {
      this.#at++;
      if (/[+-]/.test(this.#peek())) this.#at++;
      if (!isDigit(this.#peek())) this.#bad('in exponent of numeric literal');
      this.#digits();
    }
    return new JsonNumber(this.text.slice(start, this.#at));
  }

  #digits(): void {
    while (isDigit(this.text[this.#at] ?? '')) this.#at++;
  }

  #literal<T>(word: string, value: T): T {
    for (const expected of word) {
      if (this.#peek() !== expected) this.#bad(`in literal ${word} (expecting ${quote(expected)})`);
      this.#at++;
    }
    return value;
  }

  #space(): void {
    while (/[ \t\r\n]/.test(this.text[this.#at] ?? '')) this.#at++;
  }

  /** The next character; truncated input ends here. */
  #peek(): string {
    const char = this.text[this.#at];
    if (char === undefined) throw new SkepError('invalidArgument', this.truncated);
    return char;
  }

  #bad(context: string): never {
    const char = String.fromCodePoint(this.text.codePointAt(this.#at) ?? 0);
    throw new SkepError('invalidArgument', `invalid character ${quote(char)} ${context}`);
  }
}

/** Up to a quote, an escape or what must not be in a string. */
// eslint-disable-next-line no-control-regex -- these are what is looked for
const plainCharacters = /[^"\\\u0000-\u001f]*/y;

const isDigit = (char: string): boolean => char >= '0' && char <= '9';

/** A character as encoding/json names it in its errors. */
function quote(char: string): string {
  if (char === "'") return `'\\''`;
  if (char === '"') return `'"'`;
  return `'${JSON.stringify(char).slice(1, -1)}'`;
}
