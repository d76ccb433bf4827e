/**
 * The options of a host: the environment's word, else the file's, else the default. Reading never fails: what is wrong is a finding and
 * counts as not said, and whether to go on with that is for who reads to decide.
 */
import { parse, TomlError } from 'smol-toml';
import { SkepError } from '../model/errors.js';
import { tomlText, typeOf } from './data.js';
import type { Finding } from './finding.js';
import { notStarting } from './finding.js';
import { lawFindings } from './laws.js';
import type { Statement } from './statements.js';
import { lineOf, statementsOf } from './statements.js';
import type { NamedOption, OptionName, OptionValues } from './table.js';
import { daemonNames, options } from './table.js';
import { tableNames, unknownKey, unknownTable } from './unknown.js';

export type Environment = Readonly<Record<string, string | undefined>>;
export type Origin = 'environment' | 'file' | 'default';

export interface ReadOptions {
  readonly values: OptionValues;
  readonly origins: Readonly<Record<OptionName, Origin>>;
  readonly findings: readonly Finding[];
}

type Values = Partial<Record<OptionName, unknown>>;

/**
 * @param text of the file; undefined: there is none
 * @param env {} for what the file says by itself
 */
export function readOptions(text: string | undefined, env: Environment): ReadOptions {
  const file = readFileText(text ?? '');
  const environment = readEnvironment(env);
  const all = options.map((option) => {
    const { name } = option;
    if (Object.hasOwn(environment.values, name))
      return { name, value: environment.values[name], origin: 'environment' };
    if (Object.hasOwn(file.values, name)) return { name, value: file.values[name], origin: 'file' };
    return { name, value: option.default, origin: 'default' };
  });
  return {
    values: Object.fromEntries(all.map(({ name, value }) => [name, value])) as OptionValues,
    origins: Object.fromEntries(all.map(({ name, origin }) => [name, origin])) as ReadOptions['origins'],
    findings: [...file.findings, ...environment.findings],
  };
}

interface Said {
  readonly values: Values;
  readonly findings: readonly Finding[];
}

function readFileText(text: string): Said {
  let root: Record<string, unknown>;
  try {
    root = parse(text);
  } catch (err) {
    if (err instanceof TomlError) return { values: {}, findings: [notToml(err)] };
    throw err;
  }
  const statements = statementsOf(text);
  const values: Values = {};
  const findings: Finding[] = [];
  for (const [table, keys] of Object.entries(root)) {
    const line = lineOf(statements, [table]);
    if (!tableNames.includes(table)) findings.push(unknownTable(table, line));
    else if (typeOf(keys) !== 'a table') findings.push(noTable(table, keys, line));
    else readTable(table, Object.entries(keys as object), statements, { values, findings });
  }
  const laws = lawFindings({
    values: { ...defaults, ...values } as OptionValues,
    isSaid: (name) => Object.hasOwn(values, name),
    lineOf: (name) => lineOf(statements, name.split('.')),
  });
  const inOrder = [...findings, ...laws].sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
  return { values, findings: inOrder };
}

const defaults = Object.fromEntries(options.map((option) => [option.name, option.default]));

function readTable(
  table: string,
  entries: readonly (readonly [string, unknown])[],
  statements: readonly Statement[],
  into: { readonly values: Values; readonly findings: Finding[] },
): void {
  for (const [key, data] of entries) {
    const line = lineOf(statements, [table, key]);
    const option = options.find((each) => each.table === table && each.key === key);
    if (option === undefined) {
      into.findings.push(unknownKey(table, key, line));
      continue;
    }
    try {
      into.values[option.name] = option.kind.parse(data);
    } catch (err) {
      into.findings.push(wrongValue(option, wordsOf(err), line));
    }
  }
}

function readEnvironment(env: Environment): Said {
  const values: Values = {};
  const findings: Finding[] = [];
  for (const option of options) {
    const text = env[option.env];
    if (text === undefined) continue;
    try {
      values[option.name] = option.kind.parseText(text);
    } catch (err) {
      const words = wordsOf(err);
      const { wrongInEnvironment } = option;
      if (wrongInEnvironment) values[option.name] = wrongInEnvironment.value;
      findings.push({
        from: 'environment',
        daemons: option.daemons,
        ...(wrongInEnvironment && { tolerated: true }),
        what: `${option.env}: ${words}`,
        means: wrongInEnvironment?.means ?? notStarting(option.daemons),
        todo: `unset ${option.env}, or set it to ${option.kind.name.replaceAll('`', '')}`,
      });
    }
  }
  return { values, findings };
}

const wordsOf = (err: unknown): string => {
  if (err instanceof SkepError) return err.message;
  throw err;
};

const wrongValue = (option: NamedOption, words: string, line: number | undefined): Finding => ({
  from: 'file',
  ...(line !== undefined && { line }),
  daemons: option.daemons,
  what: `[${option.table}] ${option.key}: ${words}`,
  means: notStarting(option.daemons),
  todo: `say for example ${option.key} = ${tomlText(option.example)}, or remove it for ${tomlText(option.kind.toData(option.default))}`,
});

const noTable = (table: string, data: unknown, line: number | undefined): Finding => ({
  from: 'file',
  ...(line !== undefined && { line }),
  daemons: daemonNames,
  what: `${table} is ${typeOf(data)} and not a table of options`,
  means: notStarting(daemonNames),
  todo: `begin the table once with [${table}], and say its options below`,
});

/** The error's other lines show the document, in which there may be anything. */
const notToml = ({ message, line, column }: TomlError): Finding => ({
  ...{ from: 'file', line, daemons: daemonNames },
  what: `column ${column}: ${(message.split('\n')[0] ?? '').replace(/^Invalid TOML document: /, '')}`,
  means: `the file is no TOML and nothing in it can be read; ${notStarting(daemonNames)}`,
  todo: 'mend that line; `skep config example` prints how a file is written',
});
