/** The skep.toml that a host gets: every option with its default as a comment, so that the file says nothing until it is edited. */
import { tomlText } from './data.js';
import type { NamedOption } from './table.js';
import { options, tableSummaries } from './table.js';

const columns = 100;

const head =
  'What skepd and skep-dataplane of this host are told when they start. Every option is here as a comment with its default. ' +
  'Remove the # before one to say it; what is not said is its default. An environment variable, where it is set for a daemon, goes before this file. ' +
  'A daemon does not start with a file that is wrong.';

export const exampleText = (): string =>
  [
    ...commentLines(head),
    '#',
    '#   skep config check                             finds what is wrong',
    '#   systemctl restart skepd skep-dataplane        has them read it again; no container and no packet stops',
    ...Object.entries(tableSummaries).flatMap(([table, summary]) => [
      '',
      ...commentLines(summary),
      `[${table}]`,
      ...options.filter((option) => option.table === table).flatMap(optionLines),
    ]),
    '',
  ].join('\n');

/** Text begins with `# `, an option with `#` alone, so that the two can be told apart by programs, too. */
const optionLines = ({
  summary,
  daemons,
  env,
  key,
  kind,
  example,
  default: value,
}: NamedOption): string[] => [
  '',
  ...commentLines(summary.replaceAll('`', '')),
  `# For ${daemons.join(' and ')}; environment: ${env}. Such as ${tomlText(example)}`,
  `#${key} = ${tomlText(kind.toData(value))}`,
];

function commentLines(text: string): string[] {
  const lines: string[] = [];
  let line = '#';
  for (const word of text.split(' ')) {
    if (line.length + 1 + word.length > columns) {
      lines.push(line);
      line = '#';
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}
