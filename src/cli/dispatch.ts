/** One command line of `skep`: finds the command in the table, answers help and version, runs the code, and prints the error if there is one. */
import { nearest } from '../runtime/nearest.js';
import { asksForHelp, asksForJson } from './arguments.js';
import type { Run, Terminal } from './command.js';
import { UsageError } from './command.js';
import type { CommandAt } from './command-spec.js';
import { visibleCommands } from './command-spec.js';
import { skep } from './commands.js';
import { complaintOf, printComplaint } from './complaint.js';
import { helpText } from './help.js';

/** Code of commands by the words that lead to it, without `skep`: `verify`, `lab up`. Loaded when asked for. */
export type Loaders = Readonly<Record<string, (() => Promise<Run>) | undefined>>;

/** Exit code of `skep lab exec` and `client` for errors of their own, so that they are told from the command's, as docker's. */
const notRunExitCode = 125;

export interface Host {
  readonly terminal: Terminal;
  readonly loaders: Loaders;
  readonly version: () => string;
}

/** Returns the exit code. */
export async function runCommandLine(argv: readonly string[], host: Host): Promise<number> {
  const { terminal } = host;
  const { at, rest } = commandOf(argv);
  try {
    return await run(at, rest, host);
  } catch (err) {
    const complaint = complaintOf(err, at);
    const exitCode = at.spec.command === undefined ? complaint.exitCode : notRunExitCode;
    printComplaint(terminal, { ...complaint, exitCode }, asksForJson(rest));
    return exitCode;
  }
}

async function run(at: CommandAt, rest: readonly string[], host: Host): Promise<number> {
  const { out, err } = host.terminal;
  const name = at.path.slice(1).join(' ');
  const isNamed = !at.spec.commands || (rest[0]?.startsWith('-') ?? false);
  if (isNamed && asksForHelp(rest)) {
    out(helpText(at));
    return 0;
  }
  if (name === 'version' || (name === '' && rest[0] === '--version')) {
    if (rest[name === '' ? 1 : 0] !== undefined) throw new UsageError('it takes no argument');
    out(host.version());
    return 0;
  }
  if (name === 'help') {
    const asked = commandOf(rest);
    if (asked.rest[0] !== undefined) throw unknownCommand(asked.at, asked.rest[0]);
    out(helpText(asked.at));
    return 0;
  }
  if (at.spec.commands) {
    const [word] = rest;
    if (word !== undefined) throw unknownCommand(at, word);
    err(helpText(at));
    return 2;
  }
  const load = host.loaders[name];
  if (!load) throw new Error(`no code for "${name}"`);
  const command = await load();
  return command(rest, host.terminal);
}

/** The command that the first words name, as far as they name one, and the words after them. */
function commandOf(argv: readonly string[]): { readonly at: CommandAt; readonly rest: readonly string[] } {
  let at = skep;
  let rest = argv;
  for (;;) {
    const [word = '', ...others] = rest;
    const { commands } = at.spec;
    const spec = commands && Object.hasOwn(commands, word) ? commands[word] : undefined;
    if (spec) {
      at = { path: [...at.path, word], spec };
      rest = others;
    } else if (commands && word === 'help') return { at, rest: ['--help'] };
    else return { at, rest };
  }
}

function unknownCommand(at: CommandAt, word: string): UsageError {
  const path = at.path.join(' ');
  const near = nearest(
    word,
    visibleCommands(at.spec).map(([name]) => name),
  );
  const isOption = word.startsWith('-');
  return new UsageError(
    `unknown ${isOption ? 'option' : 'command'} "${word}"`,
    isOption ? `Options of a command follow its name. Nothing was done.` : undefined,
    near === undefined ? `Write "${path} COMMAND".` : `Did you mean "${path} ${near}"?`,
  );
}
