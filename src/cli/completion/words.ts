/** What the scripts of all shells are made of: the table of commands as paths, options and sources of words. Pure. */
import { commandsBelow, optionsOf, visibleCommands } from '../command-spec.js';
import type { ArgumentSpec, CommandAt, OptionSpec } from '../command-spec.js';

/** Where the words come from that an argument or a value can be. */
export type Source =
  | { readonly kind: 'words'; readonly words: readonly string[] }
  | { readonly kind: 'file' | 'labs' | 'nodes' | 'services' | 'anything' };

export interface CompletedOption extends OptionSpec {
  /** With its dashes, the long name first. */
  readonly flags: readonly string[];
  /** Undefined for a switch. */
  readonly source?: Source;
}

export interface CompletedCommand {
  /** `skep lab up`. */
  readonly path: string;
  readonly commands: readonly { readonly name: string; readonly summary: string }[];
  readonly options: readonly CompletedOption[];
  /** By place. */
  readonly arguments: readonly { readonly name: string; readonly source: Source }[];
  /** A command line of somebody else's follows after `--`. */
  readonly takesCommand: boolean;
}

/** Every command that users see, parents first. */
export function completedCommands(root: CommandAt): CompletedCommand[] {
  const names = visibleCommands(root.spec).map(([name]) => name);
  return commandsBelow(root).map(({ path, spec }) => ({
    path: path.join(' '),
    commands: visibleCommands(spec).map(([name, { summary }]) => ({ name, summary })),
    options: optionsOf(spec).map(([name, option]) => ({
      ...option,
      flags: [`--${name}`, ...(option.short === undefined ? [] : [`-${option.short}`])],
      ...(option.value !== undefined && { source: sourceOf(option, names) }),
    })),
    arguments: spec.arguments.map((argument) => ({
      name: argument.name,
      source: sourceOf(argument, names),
    })),
    takesCommand: spec.command !== undefined,
  }));
}

function sourceOf({ values, completes }: ArgumentSpec | OptionSpec, commands: readonly string[]): Source {
  if (values) return { kind: 'words', words: values };
  if (completes === 'commands') return { kind: 'words', words: commands };
  return { kind: completes ?? 'anything' };
}

/** In single quotes of a shell of the Bourne family, as one word. */
export const shellQuoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
