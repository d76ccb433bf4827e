/** The file of options on a host, and a daemon's look at it when it starts. */
import { readFileSync } from 'node:fs';
import { OutsideError } from '../model/errors.js';
import type { Log } from '../runtime/log.js';
import { findingText, OptionsError } from './finding.js';
import type { Environment, ReadOptions } from './read.js';
import { readOptions } from './read.js';
import type { DaemonName } from './table.js';
import { options } from './table.js';

const pathDefault = '/etc/skep/skep.toml';
/** The file with every option explained takes a tenth of it. */
const sizeMaxBytes = 64 * 1024;

/** `SKEP_CONFIG`, else /etc/skep/skep.toml. */
export const optionsPath = (env: Environment): string => env['SKEP_CONFIG'] ?? pathDefault;

/** Undefined: there is none. Throws OutsideError for one that cannot be read. */
export function optionsText(path: string): string | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unreadable(path, (cause as Error).message, cause);
  }
  if (bytes.length > sizeMaxBytes) throw unreadable(path, `it is larger than ${sizeMaxBytes} bytes`);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw unreadable(path, 'it is not UTF-8', cause);
  }
}

const unreadable = (path: string, why: string, cause?: unknown): OutsideError =>
  new OutsideError(
    `cannot read the options in ${path}: ${why}; a daemon does not start without knowing them, what runs goes on; ` +
      'make it a readable file, or remove it for the defaults',
    false,
    { cause },
  );

/** Throws OutsideError for a file that cannot be read. */
export const readHostOptions = (env: Environment): ReadOptions =>
  readOptions(optionsText(optionsPath(env)), env);

/**
 * The options a daemon starts with. Throws OptionsError for what is wrong and concerns it, OutsideError for a file that cannot be read.
 * What is wrong and concerns the other daemon alone is logged: a host's network must not stay down over a word for its control plane.
 * From here on the log has the level that they say.
 */
export function startingOptions(daemon: DaemonName, env: Environment, log: Log): ReadOptions {
  const file = optionsPath(env);
  const read = readHostOptions(env);
  const concerns = ({ daemons }: { readonly daemons: readonly DaemonName[] }): boolean =>
    daemons.includes(daemon);
  const fatal = read.findings.filter((finding) => concerns(finding) && !finding.tolerated);
  if (fatal.length > 0) throw new OptionsError(file, fatal);
  log.level = read.values['log.level'];
  for (const finding of read.findings)
    log[concerns(finding) ? 'error' : 'warn']({ finding }, findingText(finding, file));
  const said = options.filter((option) => concerns(option) && read.origins[option.name] !== 'default');
  const from = Object.fromEntries(said.map(({ name }) => [name, read.origins[name]]));
  log.info({ file, said: from }, 'options read');
  return read;
}
