/** `skep completion SHELL`: prints the script of a shell, made of the table of commands. */
import { readCommandLine } from '../arguments.js';
import type { ExitCode, Terminal } from '../command.js';
import { commands, skep } from '../commands.js';
import type { CommandAt } from '../command-spec.js';
import { bashScript } from './bash.js';
import { fishScript } from './fish.js';
import type { Shell } from './shells.js';
import { zshScript } from './zsh.js';

const scripts: Readonly<Record<Shell, (root: CommandAt) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

export async function completion(args: readonly string[], { out }: Terminal): Promise<ExitCode> {
  const { SHELL } = readCommandLine(commands.completion, args).arguments;
  out(scripts[SHELL](skep).trimEnd());
  return 0;
}
