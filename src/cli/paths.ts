/** Where Skep's parts meet on a host, as its options say. */
import { OutsideError } from '../model/errors.js';
import { optionsPath, optionsText } from '../options/file.js';
import { readOptions } from '../options/read.js';
import type { OptionValues } from '../options/table.js';

/**
 * What can be read of the host's options: what is wrong in the file counts as not said, so that a host whose file is broken can be looked
 * at all the same. `skep config check` tells of it.
 */
export function hostOptions(env: NodeJS.ProcessEnv): OptionValues {
  let text: string | undefined;
  try {
    text = optionsText(optionsPath(env));
  } catch (err) {
    if (!(err instanceof OutsideError)) throw err;
  }
  return readOptions(text, env).values;
}

export const runDir = (env: NodeJS.ProcessEnv): string => hostOptions(env)['paths.run-dir'];
export const dataplaneSocket = (env: NodeJS.ProcessEnv): string => `${runDir(env)}/dataplane.sock`;
export const apiSocket = (env: NodeJS.ProcessEnv): string => `${runDir(env)}/docker.sock`;
export const engineAddress = (env: NodeJS.ProcessEnv): string => hostOptions(env)['engine.address'];
