/** A command's words, read by what its entry in the table says. Pure. */
import { parseArgs } from 'node:util';
import { nearest } from '../runtime/nearest.js';
import { UsageError } from './command.js';
import { optionsOf } from './command-spec.js';
import type { ArgumentSpec, ArgumentValues, CommandSpec, OptionSpec, OptionValues } from './command-spec.js';

/** What the words of a command line say. */
export interface CommandLine<C extends CommandSpec> {
  readonly options: OptionValues<C>;
  readonly arguments: ArgumentValues<C>;
  /** What follows `--` where the command takes a command line of somebody else's; not empty then. */
  readonly command: readonly string[];
}

/**
 * Reads the words after the command's name. Options may be anywhere before `--`; of one that is given twice the last one counts.
 * Throws UsageError for what the table has not, with the nearest of what it has.
 */
export function readCommandLine<C extends CommandSpec>(spec: C, words: readonly string[]): CommandLine<C> {
  const known = new Map(optionsOf(spec));
  const options = Object.fromEntries(
    [...known].map(([name, { short, value }]) => [
      name,
      {
        type: value === undefined ? ('boolean' as const) : ('string' as const),
        ...(short !== undefined && { short }),
      },
    ]),
  );
  // Not strict: its refusals are Node's words, without what to do.
  const { tokens } = parseArgs({
    args: [...words],
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values: Record<string, string | boolean | undefined> = Object.fromEntries(
    Object.entries(spec.options).map(([name, option]) => [
      name,
      option.value === undefined ? false : option.default,
    ]),
  );
  const positionals: string[] = [];
  const command: string[] = [];
  let isAfterDashes = false;
  for (const token of tokens) {
    if (token.kind === 'option-terminator') isAfterDashes = true;
    else if (token.kind === 'positional')
      (isAfterDashes && spec.command !== undefined ? command : positionals).push(token.value);
    else {
      const option = known.get(token.name);
      if (!option) throw unknownOption(token.rawName, [...known.keys()]);
      values[token.name] = valueOf(token.rawName, option, token.value, token.inlineValue === true);
    }
  }
  if (spec.command !== undefined && command.length === 0)
    throw new UsageError('it needs a command after --', `What follows -- is a command that ${spec.command}.`);
  return {
    options: values as OptionValues<C>,
    arguments: namedArguments(spec.arguments, positionals) as ArgumentValues<C>,
    command,
  };
}

/** Whether a command's help is asked for: it comes before all else that the words ask for. */
export const asksForHelp = (words: readonly string[]): boolean =>
  ownWords(words).some((word) => word === '--help' || word === '-h');

/** Whether errors are to be JSON. */
export const asksForJson = (words: readonly string[]): boolean => ownWords(words).includes('--json');

/** What follows `--` is somebody else's. */
function ownWords(words: readonly string[]): readonly string[] {
  const dashes = words.indexOf('--');
  return dashes < 0 ? words : words.slice(0, dashes);
}

function valueOf(
  rawName: string,
  { value, values }: OptionSpec,
  given: string | undefined,
  isInline: boolean,
): string | boolean {
  if (value === undefined) {
    if (given !== undefined) throw new UsageError(`${rawName} takes no value, and has ${quoted(given)}`);
    return true;
  }
  // A missing value looks like this: the next option is taken for it.
  if (given === undefined || (!isInline && /^-./.test(given)))
    throw new UsageError(
      `${rawName} needs a value`,
      `After ${rawName} comes ${value}. Nothing was done.`,
      `Write ${rawName} ${value}, or ${rawName}=${value} where it begins with a dash.`,
    );
  if (values && !values.includes(given)) throw notOneOf(rawName, given, values);
  return given;
}

function unknownOption(rawName: string, names: readonly string[]): UsageError {
  const near = rawName.startsWith('--') ? nearest(rawName.slice(2), names) : undefined;
  return new UsageError(
    `unknown option ${quoted(rawName)}`,
    undefined,
    near === undefined ? undefined : `Did you mean "--${near}"?`,
  );
}

function namedArguments(
  specs: readonly ArgumentSpec[],
  words: readonly string[],
): Record<string, string | undefined> {
  const extra = words[specs.length];
  if (extra !== undefined)
    throw new UsageError(
      `it takes ${specs.length === 0 ? 'no argument' : specs.map(({ name }) => name).join(' and ')}, and ${quoted(extra)} is one too many`,
    );
  return Object.fromEntries(
    specs.map(({ name, meaning, optional, values }, at) => {
      const word = words[at];
      if (word === undefined && !optional)
        throw new UsageError(`it needs ${name}`, `${name} is ${meaning}. Nothing was done.`);
      if (word !== undefined && values && !values.includes(word)) throw notOneOf(name, word, values);
      return [name, word];
    }),
  );
}

function notOneOf(what: string, given: string, values: readonly string[]): UsageError {
  const near = nearest(given, values);
  return new UsageError(
    `${what} must be one of ${values.join(', ')}, not ${quoted(given)}`,
    undefined,
    near === undefined ? undefined : `Did you mean "${near}"?`,
  );
}

const quoted = (text: string): string => JSON.stringify(text);
