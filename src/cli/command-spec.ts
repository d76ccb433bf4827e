/**
 * What can be said of one command in data. The tables of commands (commands.ts, lab-commands.ts) are written in these types, and
 * reading of arguments, help, completion and manual pages are made of the tables alone, so that none of them can know of more or less.
 */

/** What a shell offers for a word: files, names of commands, or what `skep __complete` knows (complete.ts). */
export type Completes = 'file' | 'commands' | 'labs' | 'nodes' | 'services';

/** A word that a command takes by its place. */
export interface ArgumentSpec {
  /** In capitals, as usage shows it. */
  readonly name: string;
  readonly meaning: string;
  /** May be left out; only the last one may. */
  readonly optional?: true;
  /** All that it can be; absent: any word. */
  readonly values?: readonly string[];
  readonly completes?: Completes;
}

/** An option; its long name is its key in the table. */
export interface OptionSpec {
  readonly meaning: string;
  /** One letter. */
  readonly short?: string;
  /** What its value is called, in capitals; absent: a switch. */
  readonly value?: string;
  /** The value without the option. */
  readonly default?: string;
  /** As of an argument. */
  readonly values?: readonly string[];
  readonly completes?: Completes;
}

export type OptionTable = Readonly<Record<string, OptionSpec>>;

export interface CommandSpec {
  /** One line without a full stop, begins with a verb. */
  readonly summary: string;
  /** Paragraphs. */
  readonly description: readonly string[];
  readonly arguments: readonly ArgumentSpec[];
  readonly options: OptionTable;
  /** A command line of somebody else's that follows after `--`; the text says where it runs. */
  readonly command?: string;
  /** Exit codes and when. */
  readonly exits: readonly (readonly [code: string, meaning: string])[];
  readonly environment?: Environment;
  readonly examples: readonly (readonly [commandLine: string, meaning: string])[];
  /** Subcommands; such a command does nothing by itself. */
  readonly commands?: CommandTable;
  /** For scripts of ours: neither help nor completion nor manual has it. */
  readonly hidden?: true;
}

/** Names and meanings of environment variables. */
export type Environment = readonly (readonly [name: string, meaning: string])[];

/** Commands by name. */
export type CommandTable = Readonly<Record<string, CommandSpec>>;

type WordOf<S> = S extends { readonly values: readonly (infer Value)[] } ? Value : string;

type ValueOf<S extends OptionSpec> = S extends { readonly value: string }
  ? WordOf<S> | (S extends { readonly default: string } ? never : undefined)
  : boolean;

/** The options of a command as its code gets them. */
export type OptionValues<C extends CommandSpec> = {
  readonly [N in keyof C['options']]: ValueOf<C['options'][N]>;
};

/** The arguments of a command as its code gets them, by name. */
export type ArgumentValues<C extends CommandSpec> = {
  readonly [A in C['arguments'][number] as A['name']]:
    WordOf<A> | (A extends { readonly optional: true } ? undefined : never);
};

/** Options that several commands have, in the same words. */
export const sharedOptions = {
  json: { meaning: 'print JSON, one line; errors too, on standard error' },
  quiet: { short: 'q', meaning: 'show no progress' },
} as const satisfies OptionTable;

/** That every command has; the dispatcher answers it. */
export const helpOption = { short: 'h', meaning: 'show this help' } as const satisfies OptionSpec;

/** What every command that reads its arguments ends with when they make no sense. */
export const usageExit = ['2', 'the command line makes no sense; nothing was done'] as const;

/** The subcommands that users see, by name. */
export const visibleCommands = ({ commands = {} }: CommandSpec): [name: string, spec: CommandSpec][] =>
  Object.entries(commands).filter(([, { hidden }]) => hidden === undefined);

/** One of these commands, with the words that lead to it. */
export interface CommandAt {
  /** Begins with `skep`. */
  readonly path: readonly string[];
  readonly spec: CommandSpec;
}

/** The command itself and all below it that users see, parents first. */
export function commandsBelow(at: CommandAt): CommandAt[] {
  const children = visibleCommands(at.spec).map(([name, spec]) => ({ path: [...at.path, name], spec }));
  return [at, ...children.flatMap(commandsBelow)];
}

/** All options of a command, help included, by long name. */
export const optionsOf = ({ options }: CommandSpec): [name: string, spec: OptionSpec][] => [
  ...Object.entries(options),
  ['help', helpOption],
];

/** `skep lab up [--name NAME] … `, as a line. */
export function usageLine({ path, spec }: CommandAt): string {
  const options = Object.entries(spec.options).map(
    ([name, { value }]) => `[--${name}${value === undefined ? '' : ` ${value}`}]`,
  );
  const words = spec.arguments.map(({ name, optional }) => (optional ? `[${name}]` : name));
  return [
    ...path,
    ...(spec.commands ? ['COMMAND'] : []),
    ...words,
    ...options,
    ...(spec.command === undefined ? [] : ['-- CMD...']),
  ].join(' ');
}
