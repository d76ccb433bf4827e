/** Tables and keys that mean nothing, and what was meant by them. */
import { nearest } from '../runtime/nearest.js';
import { quoted } from './data.js';
import type { Finding } from './finding.js';
import { notStarting } from './finding.js';
import type { DaemonName } from './table.js';
import { daemonNames, options, tableSummaries } from './table.js';

export const tableNames: readonly string[] = Object.keys(tableSummaries);
const everyOption = 'docs/configuration.md has every option';

/** Something at the root of the file that is no table of ours. */
export function unknownTable(name: string, line: number | undefined): Finding {
  const belongs = elsewhere(name);
  const near = nearest(name, tableNames);
  return finding(line, daemonNames, {
    what: `there is no table ${quoted(name)}`,
    todo: belongs
      ? `say ${belongs}`
      : near
        ? `did you mean [${near}]? Then rename it`
        : `remove it, or choose among ${tableNames.map((each) => `[${each}]`).join(', ')}; ${everyOption}`,
  });
}

/** Whoever reads something of the table could have been meant. */
export function unknownKey(table: string, key: string, line: number | undefined): Finding {
  const here = options.filter((option) => option.table === table);
  const near = nearest(
    key,
    here.map((option) => option.key),
  );
  const belongs = elsewhere(key);
  const readers = daemonNames.filter((daemon) => here.some(({ daemons }) => daemons.includes(daemon)));
  return finding(line, readers, {
    what: `[${table}] has no option ${quoted(key)}`,
    todo: belongs
      ? `say ${belongs}`
      : near
        ? `did you mean ${near}? Then rename it`
        : `remove it, or choose among ${here.map((option) => option.key).join(', ')}; ${everyOption}`,
  });
}

/** Known in another table, or by the name of its environment variable. */
function elsewhere(name: string): string | undefined {
  const same = options.filter(({ key, env }) => key === name || env === name);
  return same.length === 0
    ? undefined
    : `${same.map(({ key }) => key).join(' or ')} below [${same[0]?.table ?? ''}]`;
}

const finding = (
  line: number | undefined,
  daemons: readonly DaemonName[],
  { what, todo }: { readonly what: string; readonly todo: string },
): Finding => ({
  ...{ from: 'file', what, todo, daemons, ...(line !== undefined && { line }) },
  means: `it would be without effect; ${notStarting(daemons)}`,
});
