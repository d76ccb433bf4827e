/**
 * Which line of a TOML document says what: its reader gives values without their places. Lines are put together until the
 * reader takes them, which is when a statement ends, whatever strings and lists it has. Only for documents that it takes as a whole.
 */
import { parse } from 'smol-toml';

export interface Statement {
  /** Names from the document's root, such as ['api', 'hosts']. */
  readonly path: readonly string[];
  /** Of its first line, from 1. */
  readonly line: number;
}

/** What must be in the last line of a statement that has several. */
const end = /[\]}]|"""|'''/;
/** An attempt costs as much as what was put together; more than this are no file of options, and what comes behind has no line. */
const attemptsMax = 200;

/** A table's header and each key in it, inline tables' keys, too, in the document's order. */
export function statementsOf(text: string): readonly Statement[] {
  const found: Statement[] = [];
  let table: readonly string[] = [];
  let [pending, begun, attempts] = ['', 1, 0];
  for (const [at, row] of text.split('\n').entries()) {
    const isFirst = pending === '';
    if (isFirst) begun = at + 1;
    pending += `${row}\n`;
    if (!isFirst && !end.test(row)) continue;
    const said = parsed(pending);
    if (said === undefined) {
      attempts += 1;
      if (attempts > attemptsMax) break;
      continue;
    }
    const paths = pathsIn(said);
    const isHeader = pending.trimStart().startsWith('[');
    if (isHeader) table = paths.at(-1) ?? [];
    for (const path of paths) found.push({ path: isHeader ? path : [...table, ...path], line: begun });
    pending = '';
  }
  return found;
}

/** The line where something at or below the path is said first. */
export const lineOf = (statements: readonly Statement[], path: readonly string[]): number | undefined =>
  statements.find((statement) => path.every((name, at) => statement.path[at] === name))?.line;

function parsed(text: string): unknown {
  try {
    return parse(text);
  } catch {
    return undefined;
  }
}

/** Of a table and all below it, the outer first. A list of tables counts by its last. */
function pathsIn(data: unknown): string[][] {
  const table: unknown = Array.isArray(data) ? data.at(-1) : data;
  if (typeof table !== 'object' || table === null || table instanceof Date) return [];
  return Object.entries(table).flatMap(([name, value]) => [
    [name],
    ...pathsIn(value).map((path) => [name, ...path]),
  ]);
}
