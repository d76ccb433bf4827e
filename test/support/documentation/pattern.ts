/**
 * The language in which pages say what a command prints: text as it is; a line `...` for any number of lines; `<name>` for what differs
 * each time, of the form that {@link forms} has for that name. Blanks count as one however many there are, since columns are as wide as what
 * is in them, and none at the end of a line.
 *
 * Some forms are bound: what a command has printed there is what the same name means in commands that follow.
 */

interface Form {
  /** A regular expression without groups. */
  readonly source: string;
  /** Commands may use what was printed. */
  readonly bound?: true;
}

/** Every placeholder there is. Each says as much as is so each time. */
export const forms: Readonly<Record<string, Form>> = {
  text: { source: String.raw`\S(?:.*\S)?` },
  number: { source: String.raw`\d+(?:\.\d+)?` },
  address: { source: String.raw`\d{1,3}(?:\.\d{1,3}){3}` },
  port: { source: String.raw`\d{1,5}` },
  age: { source: String.raw`(?:[Ll]ess than a|[Aa]bout an?|\d+) (?:second|minute|hour)s?(?: ago)?` },
  time: { source: String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z` },
  version: { source: String.raw`\d+\.\d+\.\d+\S*` },
  id: { source: '[0-9a-z]{25}' },
  'short-id': { source: '[0-9a-z]{12}' },
  hostname: { source: '[0-9a-f]{12}' },
  node: { source: String.raw`node[1-3]` },
  engine: { source: 'ipvs|ebpf' },
  'worker-token': { source: 'SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}', bound: true },
  'unlock-key': { source: 'SWMKEY-1-[A-Za-z0-9+/]{43}', bound: true },
};

const placeholder = /<([a-z](?:[a-z0-9 -]*[a-z0-9])?)>/g;
const anyLines = '...';

/** What bound placeholders stand for. */
export type Bound = ReadonlyMap<string, string>;

export type Match =
  { readonly matched: true; readonly bound: Bound } | { readonly matched: false; readonly why: string };

/** The names of the placeholders in a text. */
export const placeholdersOf = (text: string): string[] =>
  [...text.matchAll(placeholder)].map(([, name = '']) => name);

/** A command with what its placeholders stand for. @throws Error for one that nothing was printed for */
export const fillIn = (command: string, bound: Bound): string =>
  command.replace(placeholder, (_, name: string) => {
    const value = bound.get(name);
    if (value === undefined) throw new Error(`nothing has said what <${name}> is: ${command}`);
    return value;
  });

/** Whether the command printed what the page says. */
export function matchOutput(expected: readonly string[], output: string): Match {
  const actual = linesOf(output);
  const patterns = expected.map((line) => (line.trim() === anyLines ? anyLines : linePattern(line)));
  let furthest = 0;
  const dead = new Set<string>();
  // How a rest was found not to match is asked again for each length of each `...`.
  const walk = (at: number, row: number): Bound | undefined => {
    const place = `${at} ${row}`;
    if (dead.has(place)) return undefined;
    const found = step(at, row);
    if (found === undefined) dead.add(place);
    return found;
  };
  const step = (at: number, row: number): Bound | undefined => {
    const pattern = patterns[at];
    if (pattern === undefined) return row === actual.length ? new Map<string, string>() : undefined;
    if (pattern === anyLines) {
      furthest = Math.max(furthest, at + 1);
      for (let next = row; next <= actual.length; next += 1) {
        const rest = walk(at + 1, next);
        if (rest) return rest;
      }
      return undefined;
    }
    const line = actual[row];
    const values = line === undefined ? undefined : pattern.read(line);
    if (values === undefined) return undefined;
    furthest = Math.max(furthest, at + 1);
    const rest = walk(at + 1, row + 1);
    return rest && new Map([...values, ...rest]);
  };
  const bound = walk(0, 0);
  if (bound) return { matched: true, bound };
  const missed = expected[furthest];
  const why = missed === undefined ? 'more was printed than expected' : `not as expected: ${missed.trim()}`;
  return { matched: false, why: [why, '--- printed', ...actual].join('\n') };
}

const linesOf = (output: string): string[] => {
  const lines = output.split('\n').map(oneBlank);
  while (lines.at(-1) === '') lines.pop();
  return lines;
};

const oneBlank = (line: string): string => line.replace(/[ \t\r]+/g, ' ').trimEnd();

interface LinePattern {
  /** What the bound placeholders stand for; undefined: the line is another. */
  readonly read: (line: string) => ReadonlyMap<string, string> | undefined;
}

function linePattern(line: string): LinePattern {
  const names: string[] = [];
  const parts = oneBlank(line).split(placeholder);
  const source = parts.map((part, at) => {
    if (at % 2 === 0) return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    const form = forms[part];
    if (form === undefined) throw new Error(`<${part}> is no placeholder: ${line}`);
    names.push(part);
    return `(${form.source})`;
  });
  const expression = new RegExp(`^${source.join('')}$`);
  const read = (text: string): ReadonlyMap<string, string> | undefined => {
    const found = expression.exec(text);
    if (found === null) return undefined;
    return new Map(
      names.flatMap((name, at): [string, string][] =>
        forms[name]?.bound ? [[name, found[at + 1] ?? '']] : [],
      ),
    );
  };
  return { read };
}
