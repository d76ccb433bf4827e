/** Manual pages in roff with the macros of man(7), made of the tables of commands and daemons. Pure. */
import { commandsBelow, optionsOf, visibleCommands } from './command-spec.js';
import type { CommandAt, OptionSpec } from './command-spec.js';
import type { DaemonSpec } from './daemons.js';
import { optionMeaning } from './help.js';

/** A page as a file of a directory that `man -l` or a man path takes. */
export interface ManualPage {
  readonly file: string;
  readonly roff: string;
}

/** One for each command that users see, and one for each daemon. */
export function manualPages(root: CommandAt, daemons: readonly DaemonSpec[], version: string): ManualPage[] {
  const commands = commandsBelow(root);
  return [
    ...commands.map((at) => ({ file: `${pageName(at)}.1`, roff: commandPage(at, commands, version) })),
    ...daemons.map((daemon) => ({ file: `${daemon.name}.8`, roff: daemonPage(daemon, version) })),
  ];
}

const pageName = ({ path }: CommandAt): string => path.join('-');
const reference = (at: CommandAt): string => `${pageName(at)}(1)`;

function commandPage(at: CommandAt, all: readonly CommandAt[], version: string): string {
  const { path, spec } = at;
  const name = pageName(at);
  const isBelow = (other: CommandAt): boolean =>
    other.path.length === path.length + 1 && path.every((word, place) => other.path[place] === word);
  const isAbove = (other: CommandAt): boolean =>
    other.path.length === path.length - 1 && other.path.every((word, place) => path[place] === word);
  const related = all.filter((other) => isBelow(other) || isAbove(other)).map(reference);
  const seeAlso = [...related, ...(path.length === 1 ? ['skepd(8)', 'skep-dataplane(8)', 'docker(1)'] : [])];
  return page(name, 1, spec.summary, version, [
    ['SYNOPSIS', [synopsis(at)]],
    ['DESCRIPTION', paragraphs(spec.description)],
    [
      'COMMANDS',
      visibleCommands(spec).flatMap(([word, { summary }]) =>
        item(`${bold(`${path.join(' ')} ${word}`)}`, `${summary}; see ${name}-${word}(1)`),
      ),
    ],
    [
      'ARGUMENTS',
      [
        ...spec.arguments.flatMap(({ name: argument, meaning, values }) =>
          item(italic(argument), values === undefined ? meaning : `${meaning} (${values.join(', ')})`),
        ),
        ...(spec.command === undefined
          ? []
          : item(`${bold('--')} ${italic('CMD...')}`, `a command line, which ${spec.command}`)),
      ],
    ],
    [
      'OPTIONS',
      optionsOf(spec).flatMap(([word, option]) => item(optionTag(word, option), optionMeaning(option))),
    ],
    ['EXIT STATUS', spec.exits.flatMap(([code, meaning]) => item(bold(code), meaning))],
    ['ENVIRONMENT', (spec.environment ?? []).flatMap(([word, meaning]) => item(bold(word), meaning))],
    [
      'EXAMPLES',
      spec.examples.flatMap(([line, meaning]) => [
        '.PP',
        text(`${meaning}:`),
        '.PP',
        '.RS 4',
        '.nf',
        text(line),
        '.fi',
        '.RE',
      ]),
    ],
    ['SEE ALSO', [text(seeAlso.join(', '))]],
  ]);
}

const daemonPage = (daemon: DaemonSpec, version: string): string =>
  page(daemon.name, 8, daemon.summary, version, [
    ['SYNOPSIS', [bold(daemon.name)]],
    ['DESCRIPTION', paragraphs(daemon.description)],
    [
      'ENVIRONMENT',
      [
        text('A variable overrides the option of the same meaning in /etc/skep/skep.toml.'),
        ...daemon.environment.flatMap(([word, meaning]) => item(bold(word), meaning)),
      ],
    ],
    ['FILES', daemon.files.flatMap(([path, meaning]) => item(italic(path), meaning))],
    ['SEE ALSO', [text(daemon.seeAlso.join(', '))]],
  ]);

type Section = readonly [title: string, lines: readonly string[]];

/** Without a date, so that the same tree makes the same pages. */
function page(
  name: string,
  section: 1 | 8,
  summary: string,
  version: string,
  sections: readonly Section[],
): string {
  return [
    `.\\" Made of the tables of commands in src/; changes are lost.`,
    `.TH "${name.toUpperCase()}" "${section}" "" "skep ${version}" "Skep"`,
    // Ragged: paths and JSON are too long for lines to be filled.
    '.ad l',
    '.SH NAME',
    `${text(name)} \\- ${text(summary)}`,
    ...sections.flatMap(([title, lines]) => (lines.length === 0 ? [] : [`.SH ${title}`, ...lines])),
    '',
  ].join('\n');
}

function synopsis({ path, spec }: CommandAt): string {
  const options = optionsOf(spec).map(([name, option]) => `[${optionWord(`--${name}`, option)}]`);
  const words = spec.arguments.map(({ name, optional }) => (optional ? `[${italic(name)}]` : italic(name)));
  return [
    bold(path.join(' ')),
    ...(spec.commands ? [italic('COMMAND')] : []),
    ...words,
    ...options,
    ...(spec.command === undefined ? [] : [`${bold('--')} ${italic('CMD...')}`]),
  ].join(' ');
}

const optionWord = (flag: string, { value }: OptionSpec): string =>
  `${bold(flag)}${value === undefined ? '' : ` ${italic(value)}`}`;

const optionTag = (name: string, option: OptionSpec): string =>
  [...(option.short === undefined ? [] : [bold(`-${option.short}`)]), optionWord(`--${name}`, option)].join(
    ', ',
  );

const paragraphs = (all: readonly string[]): string[] =>
  all.flatMap((paragraph, at) => [...(at === 0 ? [] : ['.PP']), text(paragraph)]);

const item = (tag: string, meaning: string): string[] => [
  '.TP',
  tag,
  text(meaning.endsWith('.') ? meaning : `${meaning}.`),
];

const bold = (words: string): string => `\\fB${escaped(words)}\\fR`;
const italic = (words: string): string => `\\fI${escaped(words)}\\fR`;

/** A line of its own: one that begins with a dot or a quote would be a request. */
const text = (words: string): string => escaped(words).replace(/^([.'])/, '\\&$1');

/** Dashes and quotes that can be copied into a shell. */
const escaped = (words: string): string =>
  words
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('"', '\\(dq')
    .replaceAll('`', '\\(ga')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti');
