/**
 * `skep config`: the options of this host's daemons.
 *
 * What scripts may rely on: the exit codes; of `check --json` one line `{"file", "exists", "findings": [{"line", "daemons", "what", "means",
 * "todo"}]}`; of `show --json` one line `{"file", "exists", "options": [{"name", "value", "from", "variable"}], "findings": [...]}`, with
 * `from` one of environment, file and default.
 */
import { OutsideError } from '../model/errors.js';
import { exampleText } from '../options/example.js';
import { optionsPath, optionsText } from '../options/file.js';
import type { Finding } from '../options/finding.js';
import { findingLines } from '../options/finding.js';
import { tomlText } from '../options/data.js';
import { readOptions } from '../options/read.js';
import type { ReadOptions } from '../options/read.js';
import { options } from '../options/table.js';
import { readCommandLine } from './arguments.js';
import { CommandError } from './command.js';
import type { ExitCode, Run, Terminal } from './command.js';
import { commands } from './commands.js';

const { config } = commands;

/** Where skepd's unit takes variables from, which this command has not. */
const environmentFile = '/etc/default/skepd';

/** 0: fine; 1: something is wrong; 2: cannot tell. By the names of the table. */
export const configRuns: Readonly<Record<keyof typeof config.commands, Run>> = {
  check: async (args, terminal) => {
    const { options: asked, arguments: named } = readCommandLine(config.commands.check, args);
    return Promise.resolve(check(terminal, named.FILE, asked.json));
  },
  show: async (args, terminal) =>
    Promise.resolve(show(terminal, readCommandLine(config.commands.show, args).options.json)),
  example: async (args, { out }) => {
    readCommandLine(config.commands.example, args);
    out(exampleText().trimEnd());
    return Promise.resolve(0);
  },
};

/** The file by itself, as the daemons judge it, whatever this command's own environment says. */
function check(terminal: Terminal, named: string | undefined, json: boolean): ExitCode {
  const file = named ?? optionsPath(terminal.env);
  const text = textOf(file);
  const exists = text !== undefined;
  if (named !== undefined && !exists)
    throw new CommandError(2, `there is no file ${file}`, {
      means: 'Nothing was checked.',
      todo: 'Name one that is there, or none for the file that the daemons read.',
    });
  const { findings } = readOptions(text, {});
  if (json) terminal.out(JSON.stringify({ file, exists, findings: findings.map(findingJson) }));
  else {
    for (const line of findings.flatMap((finding) => findingLines(finding, file))) terminal.out(line);
    if (findings.length === 0)
      terminal.out(exists ? `${file} is fine.` : `There is no ${file}: every option has its default.`);
  }
  return findings.length === 0 ? 0 : 1;
}

function show(terminal: Terminal, json: boolean): ExitCode {
  const { env, out, err } = terminal;
  const file = optionsPath(env);
  const text = textOf(file);
  const read = readOptions(text, env);
  if (json) out(JSON.stringify({ file, exists: text !== undefined, ...shownJson(read) }));
  else {
    for (const line of shownLines(read, file)) out(line);
    for (const line of read.findings.flatMap((finding) => findingLines(finding, file))) err(line);
  }
  const overriding = variablesIn(textOf(environmentFile) ?? '');
  if (overriding.length > 0)
    err(
      `${environmentFile} sets ${overriding.join(', ')}: skepd takes that before the file, which is not shown here`,
    );
  return read.findings.length === 0 ? 0 : 1;
}

/** Rejects with CommandError, exit code 2, for a file that cannot be read. */
function textOf(file: string): string | undefined {
  try {
    return optionsText(file);
  } catch (cause) {
    if (!(cause instanceof OutsideError)) throw cause;
    throw new CommandError(
      2,
      cause.message,
      {
        means: 'What the daemons would make of it cannot be told.',
        todo: 'Make it a readable file of UTF-8, or run this as root.',
      },
      { cause },
    );
  }
}

const findingJson = ({ from, line, daemons, what, means, todo }: Finding): object => ({
  ...{ from, line: line ?? null, daemons, what, means, todo },
});

const shownJson = ({ values, origins, findings }: ReadOptions): object => ({
  options: options.map(({ name, kind, env }) => ({
    ...{ name, value: kind.toData(values[name]), from: origins[name], variable: env },
  })),
  findings: findings.map(findingJson),
});

/** TOML with a comment of where each value is from, so that it can be a file again. */
export function shownLines({ values, origins }: ReadOptions, file: string): string[] {
  const rows = options.map(({ name, table, key, kind, env }) => {
    const origin = origins[name];
    const from = { environment: `environment (${env})`, file, default: 'default' }[origin];
    return { table, text: `${key} = ${tomlText(kind.toData(values[name]))}`, from };
  });
  const width = Math.max(...rows.map(({ text }) => text.length));
  return rows.flatMap(({ table, text, from }, at) => [
    ...(table === rows[at - 1]?.table ? [] : [...(at === 0 ? [] : ['']), `[${table}]`]),
    `${text.padEnd(width)}  # ${from}`,
  ]);
}

/** Variables of options that a file of systemd's `EnvironmentFile=` sets. */
export const variablesIn = (text: string): string[] =>
  options.map(({ env }) => env).filter((env) => new RegExp(`^\\s*${env}\\s*=`, 'm').test(text));
