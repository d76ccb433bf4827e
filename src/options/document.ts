/** docs/configuration.md, made of the table of options. */
import { tomlText } from './data.js';
import type { NamedOption } from './table.js';
import { options, tableSummaries } from './table.js';

const head = `# Configuration

Generated from \`src/options/table.ts\` by \`SKEP_UPDATE=1 npx vitest run --project unit options\`; do not edit.

Both daemons read \`/etc/skep/skep.toml\` ([TOML](https://toml.io)) when they start; \`SKEP_CONFIG\` names another file. No file, or an option that is not in it, means the default.
An environment variable goes before the file, for a daemon that has it: \`systemctl edit skepd\`, or \`/etc/default/skepd\`, which skepd's unit reads.

\`\`\`
skep config example      # the file with every option as a comment
skep config check        # what is wrong in /etc/skep/skep.toml, with lines; of another: skep config check FILE
skep config show         # every option, and where its value is from
systemctl restart skepd skep-dataplane
\`\`\`

A restart stops no container and no packet. A daemon does not start with a file that is no TOML, that has a table or an option which does not exist, or a value that an option of
this daemon cannot have: its log says which line and what to do, and systemd starts it again each second, so that a file that was mended is taken at once. What is wrong with options of the other daemon alone it only logs.
What containers and the kernel have stays as it is meanwhile; a host that boots with such a file gets its network only when the file is mended, so check first.

No option is a secret: those of TLS are paths of files.
`;

const cell = (text: string): string => text.replaceAll('|', '\\|');
const code = (text: string): string => `\`${text}\``;

const section = ([table, summary]: readonly [string, string]): string =>
  [`## [${table}]`, '', summary, '', ...options.filter((option) => option.table === table).map(entry)].join(
    '\n',
  );

const entry = ({ key, kind, default: value, env, daemons, summary, example }: NamedOption): string =>
  [
    `### ${key}`,
    '',
    summary,
    '',
    '| type | default | for example | environment | read by |',
    '| --- | --- | --- | --- | --- |',
    `| ${[kind.name, code(tomlText(kind.toData(value))), code(tomlText(example)), code(env), daemons.join(', ')].map(cell).join(' | ')} |`,
    '',
  ].join('\n');

export const configurationDocument = (): string =>
  [head, ...Object.entries(tableSummaries).map(section)].join('\n');
