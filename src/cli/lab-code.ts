/** Whether the code of `skep lab` is here: a package has its help alone, since a lab is made of a checkout, with the tests' tools. */
import { existsSync } from 'node:fs';
import { CommandError } from './command.js';

/** Throws CommandError where `directory`, that of the lab's code, is not there. */
export function requireLabCode(directory: URL = new URL('../lab/', import.meta.url)): void {
  if (existsSync(directory)) return;
  throw new CommandError(2, 'this is a package of Skep, and labs are made from a checkout', {
    means: 'What makes a lab is not in the package. Nothing was done.',
    todo: 'Run bin/skep lab in a checkout of Skep, after its scripts/setup.sh.',
  });
}
