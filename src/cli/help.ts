/** The text of `--help`, made of the table. Pure. */
import { optionsOf, usageLine, visibleCommands } from './command-spec.js';
import type { CommandAt, OptionSpec } from './command-spec.js';

const columns = 100;
/** Names longer than this have their meaning on the next line. */
const nameColumnsMax = 26;

/** Ends without a line feed. */
export function helpText(at: CommandAt): string {
  const { path, spec } = at;
  const commands = visibleCommands(spec);
  return [
    `Usage: ${wrapped(usageLine(at), '       ').trimStart()}`,
    '',
    `${spec.summary.charAt(0).toUpperCase()}${spec.summary.slice(1)}.`,
    ...spec.description.flatMap((paragraph) => ['', wrapped(paragraph, '')]),
    ...section(
      'Commands',
      commands.map(([name, { summary }]) => [name, summary]),
    ),
    ...section('Arguments', [
      ...spec.arguments.map(({ name, meaning, values }): Row => [name, `${meaning}${oneOf(values)}`]),
      ...(spec.command === undefined ? [] : [['-- CMD...', `a command line, which ${spec.command}`] as Row]),
    ]),
    ...section(
      'Options',
      optionsOf(spec).map(([name, option]) => [optionName(name, option), optionMeaning(option)]),
    ),
    ...section('Exit codes', spec.exits),
    ...section('Environment', spec.environment ?? []),
    ...(spec.examples.length === 0
      ? []
      : [
          '',
          'Examples:',
          ...spec.examples.flatMap(([line, meaning]) => [`  ${line}`, wrapped(meaning, '      ')]),
        ]),
    ...(commands.length === 0 ? [] : ['', `"${path.join(' ')} COMMAND --help" says more of a command.`]),
  ].join('\n');
}

type Row = readonly [name: string, meaning: string];

/** `-q, --quiet`, `--name NAME`. */
export const optionName = (name: string, { short, value }: OptionSpec): string =>
  `${short === undefined ? '' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`;

/** With all that it can be and what it is without the option. */
export const optionMeaning = ({ meaning, values, default: fallback = '' }: OptionSpec): string =>
  `${meaning}${oneOf(values)}${fallback === '' ? '' : ` (default ${fallback})`}`;

const oneOf = (values: readonly string[] | undefined): string =>
  values === undefined ? '' : ` (${values.join(', ')})`;

function section(title: string, rows: readonly Row[]): string[] {
  if (rows.length === 0) return [];
  const width = Math.max(
    ...rows.map(([name]) => name.length).filter((length) => length <= nameColumnsMax),
    0,
  );
  const indent = ' '.repeat(width + 4);
  return [
    '',
    `${title}:`,
    ...rows.map(([name, meaning]) =>
      name.length > width
        ? `  ${name}\n${wrapped(meaning, indent)}`
        : `  ${name.padEnd(width)}  ${wrapped(meaning, indent).trimStart()}`,
    ),
  ];
}

/** Lines of at most {@link columns}, each after the indent; a word that is longer has a line of its own. */
function wrapped(text: string, indent: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent.length + line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line].map((one) => `${indent}${one}`).join('\n');
}
