/** What the commands of `skep` share: how they print, what their exit codes mean, and how they say that something is wrong. */
import type { Advice } from '../model/errors.js';

export interface Terminal {
  readonly out: (line: string) => void;
  readonly err: (line: string) => void;
  readonly env: NodeJS.ProcessEnv;
  /** Standard error where it is a terminal, for lines that are written anew (progress.ts). */
  readonly screen?: Screen;
}

export interface Screen {
  /** At the moment; more than 0. */
  readonly columns: number;
  readonly write: (text: string) => void;
}

/** The code of a command: given its words after its name, it returns its exit code. */
export type Run = (args: readonly string[], terminal: Terminal) => Promise<number>;

/** 0: as asked. 1: the answer is no. 2: no answer, or the command line makes no sense. */
export type ExitCode = 0 | 1 | 2;

/** An error that ends a command: what happened (the message), what it means, what to do, and the exit code. */
export class CommandError extends Error {
  override readonly name: string = 'CommandError';

  constructor(
    readonly exitCode: ExitCode,
    message: string,
    readonly advice: Advice,
    options: { readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
  }
}

const nothingDone = 'The command line makes no sense as it is, so nothing was done.';

/** A command line that makes no sense; the text says why. Without a todo, the command's usage is it. */
export class UsageError extends Error {
  override readonly name = 'UsageError';

  constructor(
    message: string,
    readonly means: string = nothingDone,
    readonly todo?: string,
  ) {
    super(message);
  }
}
