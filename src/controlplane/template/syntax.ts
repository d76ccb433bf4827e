/** What a template says, as a tree. Named templates (`define`, `template`, `block`) are refused: nobody needs them in a field. */
import { split, syntaxError } from './tokens.js';
import type { Part, Token } from './tokens.js';

export interface Operand {
  /** Where Go says that it stands. */
  readonly at: number;
  /** As Go writes it in errors. */
  readonly shown: string;
  readonly of:
    | { readonly kind: 'constant'; readonly value: string | bigint | number | boolean }
    | { readonly kind: 'nil' }
    | { readonly kind: 'dot' }
    | { readonly kind: 'function'; readonly name: string }
    | { readonly kind: 'variable'; readonly name: string }
    | { readonly kind: 'pipeline'; readonly pipeline: Pipeline };
  /** Fields of it. */
  readonly path: readonly string[];
}

/** An operand, or a function and its arguments. */
export interface Command {
  readonly at: number;
  readonly shown: string;
  readonly operands: readonly [Operand, ...Operand[]];
}

export interface Pipeline {
  /** Variables that it sets: new ones, or those that there are. */
  readonly sets: readonly string[];
  readonly declares: boolean;
  readonly commands: readonly Command[];
}

export type TemplateNode =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'action'; readonly pipeline: Pipeline }
  | {
      readonly kind: 'if' | 'with' | 'range';
      readonly pipeline: Pipeline;
      readonly body: readonly TemplateNode[];
      readonly otherwise: readonly TemplateNode[];
    }
  | { readonly kind: 'break' | 'continue' };

export interface Template {
  readonly source: string;
  readonly nodes: readonly TemplateNode[];
}

/** Levels of actions and parentheses within one another. */
const depthMax = 50;

/** @throws TemplateError */
export function parse(source: string): Template {
  return { source, nodes: new Parser(source).parse() };
}

class Parser {
  readonly #parts: readonly Part[];
  #part = 0;
  #tokens: readonly Token[] = [];
  #token = 0;
  #depth = 0;
  #ranges = 0;
  /** Variables in sight, innermost last. */
  readonly #variables: string[] = ['$'];

  constructor(private readonly source: string) {
    this.#parts = split(source);
  }

  parse(): readonly TemplateNode[] {
    const nodes = this.#list([]);
    return nodes;
  }

  /** Nodes up to an action that is one of `ends`, whose word has been read then; to the end of the source without any. */
  #list(ends: readonly string[]): TemplateNode[] {
    const nodes: TemplateNode[] = [];
    for (;;) {
      const part = this.#parts[this.#part++];
      if (part === undefined) {
        if (ends.length > 0) throw this.#error('unexpected EOF', this.source.length);
        return nodes;
      }
      if (typeof part === 'string') {
        nodes.push({ kind: 'text', text: part });
        continue;
      }
      this.#tokens = part;
      this.#token = 0;
      const word = this.#peek.kind === 'identifier' ? this.#peek.text : '';
      if (ends.includes(word)) return nodes;
      nodes.push(this.#action(word));
    }
  }

  #action(word: string): TemplateNode {
    switch (word) {
      case 'if':
      case 'with':
      case 'range':
        this.#next();
        return this.#control(word);
      case 'break':
      case 'continue':
        this.#next();
        if (this.#ranges === 0) throw this.#error(`{{${word}}} outside {{range}}`);
        this.#end(word);
        return { kind: word };
      case 'end':
      case 'else':
        throw this.#error(`unexpected {{${word}}}`);
      case 'define':
      case 'template':
      case 'block':
        throw this.#error(`{{${word}}} is not supported here`);
      default: {
        const pipeline = this.#pipeline('command', false);
        this.#end('command');
        return { kind: 'action', pipeline };
      }
    }
  }

  #control(kind: 'if' | 'with' | 'range'): TemplateNode {
    const inSight = this.#variables.length;
    this.#enter();
    const pipeline = this.#pipeline(kind, kind === 'range');
    this.#end(kind);
    if (kind === 'range') this.#ranges += 1;
    const body = this.#list(['else', 'end']);
    if (kind === 'range') this.#ranges -= 1;
    const otherwise = this.#otherwise(kind);
    this.#depth -= 1;
    this.#variables.length = inSight;
    return { kind, pipeline, body, otherwise };
  }

  /** At `else` or `end`. */
  #otherwise(kind: string): readonly TemplateNode[] {
    if (this.#next().text === 'end') {
      this.#end('end');
      return [];
    }
    if (kind === 'if' && this.#peek.text === 'if') {
      this.#next();
      return [this.#control('if')];
    }
    this.#end('else');
    const nodes = this.#list(['end']);
    this.#next();
    this.#end('end');
    return nodes;
  }

  /** @param inRange whether there may be two variables */
  #pipeline(context: string, inRange: boolean): Pipeline {
    const { sets, declares } = this.#sets(inRange);
    const commands: Command[] = [];
    for (;;) {
      if (this.#ends()) throw this.#error(`missing value for ${context}`);
      const command = this.#command();
      const [first] = command.operands;
      if (
        commands.length > 0 &&
        ['constant', 'nil', 'dot'].includes(first.of.kind) &&
        first.path.length === 0
      )
        throw this.#error(`non executable command in pipeline stage ${commands.length + 1}`);
      commands.push(command);
      if (this.#peek.text !== '|' || this.#peek.kind !== 'punctuation') break;
      this.#next();
    }
    // A variable is in sight only behind its declaration.
    if (declares) this.#variables.push(...sets);
    return { sets, declares, commands };
  }

  #sets(inRange: boolean): Pick<Pipeline, 'sets' | 'declares'> {
    const [first, second, third, fourth] = this.#tokens.slice(this.#token, this.#token + 4);
    const isSign = (token: Token | undefined): boolean => token?.text === ':=' || token?.text === '=';
    if (first?.kind !== 'variable') return { sets: [], declares: false };
    const pair = inRange && second?.text === ',' && third?.kind === 'variable' && isSign(fourth);
    const sign = pair ? fourth : second;
    if (!isSign(sign)) return { sets: [], declares: false };
    const sets = [first.text, ...(pair ? [third.text] : [])];
    const declares = sign?.text === ':=';
    if (!declares) for (const name of sets) this.#requireVariable(name);
    this.#token += pair ? 4 : 2;
    return { sets, declares };
  }

  #requireVariable(name: string): void {
    if (!this.#variables.includes(name)) throw this.#error(`undefined variable ${JSON.stringify(name)}`);
  }

  #ends(): boolean {
    const { kind, text } = this.#peek;
    return kind === 'end' || (kind === 'punctuation' && (text === '|' || text === ')'));
  }

  #command(): Command {
    const { at } = this.#peek;
    const first = this.#operand();
    const operands: [Operand, ...Operand[]] = [first];
    while (!this.#ends()) {
      if (!this.#peek.spaced) throw this.#unexpected('operand');
      operands.push(this.#operand());
    }
    return { at, shown: operands.map(({ shown }) => shown).join(' '), operands };
  }

  #operand(): Operand {
    const { at } = this.#peek;
    const of = this.#term();
    const fields: Token[] = [];
    if (of.kind === 'field') fields.push(of.token);
    while (this.#peek.kind === 'field' && !this.#peek.spaced) fields.push(this.#next());
    const path = fields.map(({ text }) => text.slice(1));
    const suffix = fields.map(({ text }) => text).join('');
    if (of.kind === 'field')
      // Go places a chain of fields at its second.
      return { at: (fields[1] ?? of.token).at, shown: suffix, of: { kind: 'dot' }, path };
    const { shown, ...term } = of;
    if (path.length > 0 && ['constant', 'nil', 'dot'].includes(term.kind))
      throw this.#error(`unexpected . after term ${JSON.stringify(shown)}`);
    return { at: fields[0]?.at ?? at, shown: shown + suffix, of: term, path };
  }

  #term(): { readonly kind: 'field'; readonly token: Token } | (Operand['of'] & { readonly shown: string }) {
    const token = this.#peek;
    const { kind, text: shown } = token;
    if (kind === 'end' || (kind === 'punctuation' && shown !== '(')) throw this.#unexpected('command');
    this.#next();
    switch (kind) {
      case 'field':
        return { kind, token };
      case 'dot':
        return { kind, shown };
      case 'variable':
        this.#requireVariable(shown);
        return { kind, name: shown, shown };
      case 'string':
        return { kind: 'constant', value: this.#string(token), shown };
      case 'number':
        return { kind: 'constant', value: this.#number(token), shown };
      case 'identifier':
        if (shown === 'nil') return { kind: 'nil', shown };
        if (shown === 'true' || shown === 'false')
          return { kind: 'constant', value: shown === 'true', shown };
        return { kind: 'function', name: shown, shown };
      default: {
        this.#enter();
        const pipeline = this.#pipeline('parenthesized pipeline', false);
        if (this.#peek.text !== ')') throw this.#error('unclosed left paren');
        this.#next();
        this.#depth -= 1;
        const commands = pipeline.commands.map((command) => command.shown).join(' | ');
        return { kind: 'pipeline', pipeline, shown: `(${commands})` };
      }
    }
  }

  #string({ text, at }: Token): string {
    if (text.startsWith('`')) return text.slice(1, -1).replaceAll('\r', '');
    return this.#unquote(text.slice(1, -1), at);
  }

  /** Go's escapes, but those of single bytes. */
  #unquote(text: string, at: number): string {
    return text.replace(/\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^])/g, (_, escape: string) => {
      const simple = escapes[escape];
      if (simple !== undefined) return simple;
      const point = escape.length > 1 ? parseInt(escape.slice(1), 16) : NaN;
      if (!(point <= 0x10ffff)) throw syntaxError(this.source, at, 'invalid syntax');
      return String.fromCodePoint(point);
    });
  }

  #number({ text, at }: Token): bigint | number {
    if (text.startsWith("'")) {
      const [point, ...more] = [...this.#unquote(text.slice(1, -1), at)];
      if (point === undefined || more.length > 0)
        throw syntaxError(this.source, at, `malformed character constant: ${text}`);
      return BigInt(point.codePointAt(0) ?? 0);
    }
    const [, sign = '', digits = ''] = /^([+-]?)(.*)$/.exec(text) ?? [];
    const plain = digits.replaceAll('_', '');
    const octal = /^0[0-7]+$/.test(plain) ? `0o${plain.slice(1)}` : plain;
    if (/^(?:0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|\d+)$/.test(octal) && octal.length <= 64) {
      const value = sign === '-' ? -BigInt(octal) : BigInt(octal);
      if (BigInt.asIntN(64, value) === value) return value;
    } else if (/^(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(plain) && isFinite(Number(plain)))
      return sign === '-' ? -Number(plain) : Number(plain);
    throw syntaxError(this.source, at, `bad number syntax: ${JSON.stringify(text)}`);
  }

  get #peek(): Token {
    // The last token of an action is never passed.
    return this.#tokens[this.#token] ?? { kind: 'end', text: '}}', at: this.source.length, spaced: false };
  }

  #next(): Token {
    const token = this.#peek;
    if (token.kind !== 'end') this.#token += 1;
    return token;
  }

  #end(context: string): void {
    if (this.#peek.kind !== 'end') throw this.#unexpected(context);
  }

  #enter(): void {
    this.#depth += 1;
    if (this.#depth > depthMax) throw this.#error(`more than ${depthMax} levels`);
  }

  #unexpected(context: string): Error {
    const { text, kind } = this.#peek;
    return this.#error(`unexpected ${kind === 'end' ? '"}}"' : JSON.stringify(text)} in ${context}`);
  }

  #error(reason: string, at = this.#peek.at): Error {
    return syntaxError(this.source, at, reason);
  }
}

const escapes: Readonly<Record<string, string>> = {
  ...{ n: '\n', t: '\t', r: '\r', a: '\x07', b: '\b', f: '\f', v: '\v' },
  ...{ '\\': '\\', '"': '"', "'": "'" },
};
