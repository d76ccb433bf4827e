/** Which commands and options of `skep` there are, read from the sources of the command itself. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkout } from './page.js';

const source = (path: string): string => readFileSync(join(checkout, path), 'utf8');

/** By command: the source that reads its options. */
function sources(): ReadonlyMap<string, string> {
  const main = source('src/cli/main.ts');
  const found = [...main.matchAll(/^ {2}(\w+): \{\n[^]*?import\('(\.[./\w-]+)\.js'\)/gm)];
  return new Map(found.map(([, name = '', path = '']) => [name, source(join('src/cli', `${path}.ts`))]));
}

/** Words that a shell takes for itself, or that stand for a user's own. */
const isOption = (word: string): boolean => /^--[a-z]/.test(word);

/**
 * What is wrong with the `skep` command lines in a text: no such command, no such option. Taken for one is `skep` as a word of its
 * own, or at the end of a path, and a name behind it; what comes after `--` is another's.
 * @param awaited commands that are to come
 */
export function faultsOfSkepCommands(text: string, awaited: readonly string[] = []): string[] {
  const known = sources();
  return [...text.matchAll(/(?:^|[\s/("'`$])skep ([a-z]+)\b([^\n|;&`]*)/g)].flatMap(
    ([line, name = '', rest = '']) => {
      if (awaited.includes(name)) return [];
      const code = known.get(name);
      if (code === undefined) return [`no such command: ${line.trim()}`];
      const [own = ''] = rest.split(' -- ');
      return own
        .split(/[\s[\]]+/)
        .filter(isOption)
        .map((word) => word.slice(2).split('=')[0] ?? '')
        .filter((option) => option !== 'help' && !isRead(code, option))
        .map((option) => `skep ${name} has no option --${option}: ${line.trim()}`);
    },
  );
}

/** As a property of what `parseArgs` is told. */
const isRead = (code: string, option: string): boolean =>
  new RegExp(`(^|[\\s{])('${option}'|${option}): (\\{ type:|address\\b)`, 'm').test(code);

/** Commands of `skep lab`, by the words of its own help. */
export const labVerbs = (): string[] =>
  [...source('src/lab/main.ts').matchAll(/^ {4}case '([a-z]+)':$/gm)].map(([, verb = '']) => verb);
