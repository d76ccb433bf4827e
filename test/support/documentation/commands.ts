/** Which commands and options of `skep` there are, by the table that its help is made of. */
import { commands } from '../../../src/cli/commands.js';
import type { CommandSpec, CommandTable } from '../../../src/cli/command-spec.js';

/** Words that a shell takes for itself, or that stand for a user's own. */
const isOption = (word: string): boolean => /^--[a-z]/.test(word);

/**
 * What is wrong with the `skep` command lines in a text: no such command, no such option. Taken for one is `skep` as a word of its
 * own, or at the end of a path, and a name behind it; what comes after `--` is another's.
 */
export function faultsOfSkepCommands(text: string): string[] {
  return [...text.matchAll(/(?:^|[\s/("'`$])skep ([a-z]+)\b([^\n|;&`]*)/g)].flatMap(
    ([line, name = '', rest = '']) => {
      const [own = ''] = rest.split(' -- ');
      const words = own.split(/[\s[\]]+/).filter((word) => word !== '');
      let table: CommandTable | undefined = commands;
      let spec: CommandSpec | undefined;
      for (const word of [name, ...words]) {
        const next: CommandSpec | undefined =
          table !== undefined && Object.hasOwn(table, word) ? table[word] : undefined;
        // A word that stands for a user's own is in capitals.
        if (next === undefined && table !== undefined && /^[a-z]+$/.test(word))
          return [`no such command: ${line.trim()}`];
        if (next === undefined) break;
        [spec, table] = [next, next.commands];
      }
      if (spec === undefined) return [];
      const known = spec.options;
      return words
        .filter(isOption)
        .map((word) => word.slice(2).split('=')[0] ?? '')
        .filter((option) => option !== 'help' && !Object.hasOwn(known, option))
        .map((option) => `skep ${name} has no option --${option}: ${line.trim()}`);
    },
  );
}

/** Commands of `skep lab`. */
export const labVerbs = (): string[] => Object.keys(commands.lab.commands);
