/** Text and actions of Go's text/template as tokens. Columns count bytes, as Go's do. */

export type TokenKind =
  'string' | 'number' | 'field' | 'variable' | 'identifier' | 'dot' | 'punctuation' | 'end';

export interface Token {
  readonly kind: TokenKind;
  /** As written. */
  readonly text: string;
  /** Of its first character in the template. */
  readonly at: number;
  /** Whether blanks come before it. */
  readonly spaced: boolean;
}

/** Text between actions, or the tokens of one; the last of these is of kind `end`. */
export type Part = string | readonly Token[];

/** What is wrong with a template, with its place, in Go's words. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
}

/** Swarm's name for every template. */
const templateName = 'expansion';

/** `expansion:1` or `expansion:1:7`. */
export function placeOf(source: string, at: number, withColumn: boolean): string {
  const lines = source.slice(0, at).split('\n');
  const column = Buffer.byteLength(lines.at(-1) ?? '');
  return `${templateName}:${lines.length}${withColumn ? `:${column}` : ''}`;
}

export const syntaxError = (source: string, at: number, reason: string): TemplateError =>
  new TemplateError(`template: ${placeOf(source, at, false)}: ${reason}`);

/** @throws TemplateError */
export function split(source: string): Part[] {
  const parts: Part[] = [];
  let at = 0;
  let trims = false;
  const addText = (end: number, trimsEnd: boolean): void => {
    let text = source.slice(at, end);
    if (trims) text = text.replace(/^[ \t\r\n]+/, '');
    if (trimsEnd) text = text.trimEnd();
    if (text !== '') parts.push(text);
  };
  for (;;) {
    const open = source.indexOf('{{', at);
    if (open < 0) {
      addText(source.length, false);
      return parts;
    }
    const trimsBefore = /^- |^-[\t\r\n]/.test(source.slice(open + 2, open + 4));
    addText(open, trimsBefore);
    const start = open + (trimsBefore ? 4 : 2);
    const comment = source.startsWith('/*', start);
    const action = comment ? skipComment(source, start) : tokenize(source, start);
    if (!comment) parts.push(action.tokens);
    ({ at, trims } = action);
  }
}

interface Action {
  readonly tokens: readonly Token[];
  /** Behind the closing braces. */
  readonly at: number;
  readonly trims: boolean;
}

function skipComment(source: string, start: number): Action {
  const end = source.indexOf('*/', start + 2);
  if (end < 0) throw syntaxError(source, start, 'unclosed comment');
  const trims = /^[ \t\r\n]-\}\}/.test(source.slice(end + 2, end + 6));
  const at = end + 2 + (trims ? 2 : 0);
  if (!source.startsWith('}}', at)) throw syntaxError(source, start, 'comment ends before closing delimiter');
  return { tokens: [], at: at + 2, trims };
}

/** By kind; the first that fits is taken. */
const shapes: readonly (readonly [TokenKind, RegExp])[] = [
  ['string', /"(?:[^"\\\n]|\\[^\n])*"|`[^`]*`/y],
  ['number', /'(?:[^'\\\n]|\\[^\n])*'|[+-]?(?:\d|\.\d)[\w.]*(?:(?<=[eE])[+-]\d+)?/y],
  ['field', /\.[\p{L}_][\p{L}\p{Nd}_]*/uy],
  ['variable', /\$[\p{L}\p{Nd}_]*/uy],
  ['identifier', /[\p{L}_][\p{L}\p{Nd}_]*/uy],
  ['dot', /\./y],
  ['punctuation', /:=|[=|(),]/y],
];

function tokenize(source: string, start: number): Action {
  const tokens: Token[] = [];
  let at = start;
  for (;;) {
    const blank = /[ \t\r\n]*/y;
    blank.lastIndex = at;
    const spaced = (blank.exec(source)?.[0].length ?? 0) > 0;
    at = blank.lastIndex;
    const trims = spaced && source.startsWith('-}}', at);
    if (trims || source.startsWith('}}', at)) {
      tokens.push({ kind: 'end', text: '}}', at, spaced });
      return { tokens, at: at + (trims ? 3 : 2), trims };
    }
    const token = readToken(source, at, spaced);
    tokens.push(token);
    at += token.text.length;
  }
}

function readToken(source: string, at: number, spaced: boolean): Token {
  for (const [kind, shape] of shapes) {
    shape.lastIndex = at;
    const text = shape.exec(source)?.[0];
    if (text !== undefined) return { kind, text, at, spaced };
  }
  const next = source[at];
  if (next === undefined) throw syntaxError(source, at, 'unclosed action');
  if (next === '"') throw syntaxError(source, at, 'unterminated quoted string');
  if (next === '`') throw syntaxError(source, at, 'unterminated raw quoted string');
  if (next === "'") throw syntaxError(source, at, 'unterminated character constant');
  throw syntaxError(source, at, `unexpected ${JSON.stringify(next)} in command`);
}
