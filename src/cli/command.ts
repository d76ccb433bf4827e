/** What the subcommands of `skep` share: how they print, and what their exit codes mean. */
export interface Terminal {
  readonly out: (line: string) => void;
  readonly err: (line: string) => void;
  readonly env: NodeJS.ProcessEnv;
}

/** 0: as asked. 1: the answer is no. 2: no answer, or the command line makes no sense. */
export type ExitCode = 0 | 1 | 2;

/** A command line that makes no sense; the text says why. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
