/** The configuration file of an engine that a test starts on this machine itself. */
import assert from 'node:assert';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Engines before this one make an identity key in /etc/docker; later ones refuse to be told of another place. */
const firstWithoutKey = 25;

/**
 * Writes an engine's `daemon.json`, and gives its path for `--config-file`. The engine takes nothing from the
 * machine's own file, and leaves nothing under /etc: no flag moves its identity key, only the file does.
 *
 * @param directory of the engine, which exists
 */
export function writeEngineConfig(directory: string): string {
  const version = execFileSync('dockerd', ['--version'], { encoding: 'utf8' });
  const major = /version (\d+)\./.exec(version)?.[1];
  assert(major !== undefined, `the version of dockerd: ${version}`);
  const config =
    Number(major) < firstWithoutKey ? { 'deprecated-key-path': join(directory, 'key.json') } : {};
  const file = join(directory, 'daemon.json');
  writeFileSync(file, JSON.stringify(config));
  return file;
}
