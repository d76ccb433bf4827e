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

/** The value as text again, numbers as they were written. Not by recursion, for the reason that {@link Reader} has. */
export function formatJson(value: Json): string {
  let text = '';
  /** Yet to be written, what comes next at the end. */
  const pending: (Json | Written)[] = [value];
  for (let next; (next = pending.pop()) !== undefined;) {
    if (next instanceof Written || next instanceof JsonNumber) text += next.text;
    else if (next instanceof JsonObject) {
      text += '{';
      pending.push(new Written('}'));
      for (const [at, [key, each]] of [...next.entries.entries()].reverse())
        pending.push(each, new Written(`${at === 0 ? '' : ','}${JSON.stringify(key)}:`));
    } else if (isList(next)) {
      text += '[';
      pending.push(new Written(']'));
      for (const [at, each] of [...next.entries()].reverse()) {
        pending.push(each);
        if (at > 0) pending.push(new Written(','));
      }
    } else text += JSON.stringify(next);
  }
  return text;
}

/** Text that goes out as it is. */
class Written {
  constructor(readonly text: string) {}
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
  const value = reader.value();
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

/** A list or an object that is being read; a key that waits for its value. */
type Open = { readonly items: Json[] } | { readonly entries: [string, Json][]; key: string };

/** Keeps its own stack: with calls, a body of 4,000 levels overflows that of the process, which Go's limit allows. */
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

  value(): Json {
    const stack: Open[] = [];
    for (;;) {
      const opened = this.#open();
      if (opened !== undefined) {
        if (stack.length >= maxDepth) throw new SkepError('invalidArgument', 'exceeded max depth');
        stack.push(opened);
        if (!this.#ends(opened)) continue;
      }
      let value = opened === undefined ? this.#scalar() : closed(stack.pop() as Open);
      for (;;) {
        const around = stack.at(-1);
        if (around === undefined) return value;
        if (this.#goesOn(around, value)) break;
        value = closed(stack.pop() as Open);
      }
    }
  }

  /** A list or an object that begins here; undefined when something else does. */
  #open(): Open | undefined {
    this.#space();
    const char = this.#peek();
    if (char !== '{' && char !== '[') return undefined;
    this.#at++;
    return char === '[' ? { items: [] } : { entries: [], key: '' };
  }

  /** @returns whether what was just opened is empty; otherwise its first value is next */
  #ends(opened: Open): boolean {
    this.#space();
    const empty = this.#peek() === ('items' in opened ? ']' : '}');
    if (empty) this.#at++;
    else if ('entries' in opened) opened.key = this.#key();
    return empty;
  }

  /** Takes a value into what is around it. @returns whether another one follows there */
  #goesOn(around: Open, value: Json): boolean {
    if ('items' in around) around.items.push(value);
    else around.entries.push([around.key, value]);
    this.#space();
    const next = this.#peek();
    if (next !== ',' && next !== ('items' in around ? ']' : '}'))
      this.#bad('items' in around ? 'after array element' : 'after object key:value pair');
    this.#at++;
    if (next === ',' && 'entries' in around) around.key = this.#key();
    return next === ',';
  }

  #key(): string {
    this.#space();
    if (this.#peek() !== '"') this.#bad('looking for beginning of object key string');
    const key = this.#string();
    this.#space();
    if (this.#peek() !== ':') this.#bad('after object key');
    this.#at++;
    return key;
  }

  #scalar(): Json {
    const char = this.#peek();
    if (char === '"') return this.#string();
    if (char === 't') return this.#literal('true', true);
    if (char === 'f') return this.#literal('false', false);
    if (char === 'n') return this.#literal('null', null);
    if (char === '-' || isDigit(char)) return this.#number();
    return this.#bad('looking for beginning of value');
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

const closed = (open: Open): Json => ('items' in open ? open.items : new JsonObject(open.entries));

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
