/**
 * Expands a template as Go's text/template does with `missingkey=error`, errors included. Bounded: labels within labels must not
 * keep a manager or an agent busy.
 */
import { functions } from './functions.js';
import type { TemplateFunction } from './functions.js';
import type { Command, Operand, Pipeline, Template, TemplateNode } from './syntax.js';
import { parse } from './syntax.js';
import { placeOf, syntaxError, TemplateError } from './tokens.js';
import type { Value } from './values.js';
import { entriesOf, isTrue, show, Struct, typeOf } from './values.js';

/** Operands that are evaluated, and characters that come of them; an argument of a process is at most 128 KiB. */
const stepsMax = 50_000;
const lengthMax = 1 << 20;

/**
 * @param more functions besides those of every template
 * @throws TemplateError
 */
export function expand(
  source: string,
  root: Value,
  more: ReadonlyMap<string, TemplateFunction> = new Map(),
): string {
  // Nearly every field of nearly every service.
  if (!source.includes('{{')) return source;
  const template = parse(source);
  return new Expansion(template, root, more).run();
}

type Jump = 'break' | 'continue' | undefined;

class Expansion {
  #output = '';
  #steps = 0;
  readonly #variables: { readonly name: string; value: Value }[];

  constructor(
    private readonly template: Template,
    root: Value,
    private readonly more: ReadonlyMap<string, TemplateFunction>,
  ) {
    this.#variables = [{ name: '$', value: root }];
    this.#dot = root;
  }

  #dot: Value;

  run(): string {
    this.#list(this.template.nodes);
    return this.#output;
  }

  #list(nodes: readonly TemplateNode[]): Jump {
    for (const node of nodes) {
      const jump = this.#node(node);
      if (jump !== undefined) return jump;
    }
    return undefined;
  }

  #node(node: TemplateNode): Jump {
    switch (node.kind) {
      case 'text':
        this.#write(node.text);
        return undefined;
      case 'action': {
        const value = this.#pipeline(node.pipeline);
        this.#set(node.pipeline, value);
        if (node.pipeline.sets.length === 0) this.#write(value === null ? '<no value>' : show(value));
        return undefined;
      }
      case 'break':
      case 'continue':
        return node.kind;
      default:
        return this.#control(node);
    }
  }

  #control(node: TemplateNode & { readonly kind: 'if' | 'with' | 'range' }): Jump {
    const inSight = this.#variables.length;
    const dot = this.#dot;
    const value = this.#pipeline(node.pipeline);
    try {
      if (node.kind === 'range') return this.#range(node, value);
      this.#set(node.pipeline, value);
      if (!isTrue(value)) return this.#list(node.otherwise);
      if (node.kind === 'with') this.#dot = value;
      return this.#list(node.body);
    } finally {
      this.#dot = dot;
      this.#variables.length = inSight;
    }
  }

  #range(node: TemplateNode & { readonly kind: 'if' | 'with' | 'range' }, over: Value): Jump {
    const { pipeline } = node;
    if (typeof over !== 'object' || over === null || over instanceof Struct)
      throw this.#error(pipeline.commands[0], `range can't iterate over ${show(over)}`);
    const entries = entriesOf(over);
    if (entries.length === 0) return this.#list(node.otherwise);
    const inSight = this.#variables.length;
    for (const [key, text] of entries) {
      this.#variables.length = inSight;
      const values = pipeline.sets.length === 2 ? [key, text] : [text];
      pipeline.sets.forEach((name, at) => this.#setVariable(name, values[at] ?? null, pipeline.declares));
      this.#dot = text;
      if (this.#list(node.body) === 'break') break;
    }
    return undefined;
  }

  #set({ sets, declares }: Pipeline, value: Value): void {
    for (const name of sets) this.#setVariable(name, value, declares);
  }

  #setVariable(name: string, value: Value, declares: boolean): void {
    const held = declares ? undefined : this.#variables.findLast((variable) => variable.name === name);
    if (held) held.value = value;
    else this.#variables.push({ name, value });
  }

  /** The value of the last command, each taking that of the one before for its last argument. */
  #pipeline({ commands }: Pipeline): Value {
    let value: Value | undefined;
    for (const command of commands) value = this.#command(command, value);
    return value ?? null;
  }

  #command(command: Command, piped: Value | undefined): Value {
    const [first, ...operands] = command.operands;
    if (first.of.kind === 'function' && first.path.length === 0)
      return this.#call(first.of.name, command, operands, piped);
    if (operands.length > 0 || piped !== undefined) {
      const field = first.path.at(-1);
      if (field === undefined) throw this.#error(first, `can't give argument to non-function ${first.shown}`);
      throw this.#error(first, `${field} has arguments but cannot be invoked as function`);
    }
    if (first.of.kind === 'nil') throw this.#error(first, 'nil is not a command');
    return this.#operand(first);
  }

  #call(name: string, command: Command, operands: readonly Operand[], piped: Value | undefined): Value {
    const called = this.#function(name, command.at);
    const { argumentsMin: min, argumentsMax: max } = called;
    const given = operands.length + (piped === undefined ? 0 : 1);
    if (given < min || given > (max ?? Infinity)) {
      const want = min === max ? String(min) : `at least ${min}`;
      throw this.#error(command, `wrong number of args for ${name}: want ${want} got ${given}`);
    }
    const args = operands.map((operand) => this.#argument(operand, called));
    if (piped !== undefined) args.push(piped);
    try {
      return called.call(args);
    } catch (err) {
      throw this.#error(command, `error calling ${name}: ${(err as Error).message}`);
    }
  }

  #argument(operand: Operand, { ofStrings }: TemplateFunction): Value {
    const value = this.#operand(operand);
    if (ofStrings && typeof value !== 'string')
      throw this.#error(operand, `wrong type for value; expected string; got ${typeOf(value)}`);
    return value;
  }

  #operand(operand: Operand): Value {
    if (++this.#steps > stepsMax) throw this.#error(operand, `more than ${stepsMax} steps`);
    return operand.path.reduce<Value>((of, name) => this.#field(of, name, operand), this.#base(operand));
  }

  #base(operand: Operand): Value {
    const { of } = operand;
    switch (of.kind) {
      case 'constant':
        return of.value;
      case 'nil':
        return null;
      case 'dot':
        return this.#dot;
      case 'variable':
        return this.#variables.findLast(({ name }) => name === of.name)?.value ?? null;
      case 'function':
        return this.#call(of.name, { at: operand.at, shown: of.name, operands: [operand] }, [], undefined);
      case 'pipeline': {
        const value = this.#pipeline(of.pipeline);
        this.#set(of.pipeline, value);
        return value;
      }
    }
  }

  #field(of: Value, name: string, operand: Operand): Value {
    if (of instanceof Struct) {
      const found = of.fields.get(name);
      if (found !== undefined) return found;
    } else if (typeof of === 'object' && of !== null) {
      const found = of.get(name);
      if (found === undefined) throw this.#error(operand, `map has no entry for key ${JSON.stringify(name)}`);
      return found;
    }
    throw this.#error(operand, `can't evaluate field ${name} in type ${typeOf(of)}`);
  }

  #function(name: string, at: number): TemplateFunction {
    const found = this.more.get(name) ?? functions.get(name);
    if (!found) throw syntaxError(this.template.source, at, `function ${JSON.stringify(name)} not defined`);
    return found;
  }

  #write(text: string): void {
    if (this.#output.length + text.length > lengthMax)
      throw new TemplateError(`template: more than ${lengthMax} characters`);
    this.#output += text;
  }

  #error(where: Command | Operand | undefined, reason: string): TemplateError {
    const place = placeOf(this.template.source, where?.at ?? 0, true);
    return new TemplateError(
      `template: ${place}: executing "expansion" at <${where?.shown ?? ''}>: ${reason}`,
    );
  }
}
