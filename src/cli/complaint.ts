/**
 * Errors as users read them: what happened, what it means, what to do. The one place that decides the words for errors which bring
 * none of their own, and the one that prints them.
 */
import type { Advice, ErrorKind } from '../model/errors.js';
import { OutsideError, SkepError } from '../model/errors.js';
import { CommandError, UsageError } from './command.js';
import type { Terminal } from './command.js';
import { usageLine } from './command-spec.js';
import type { CommandAt } from './command-spec.js';

export interface Complaint extends Advice {
  /** `skep lab up`. */
  readonly command: string;
  readonly what: string;
  readonly exitCode: number;
  /** Of a bug, for who mends it. */
  readonly stack?: string;
}

/** What refusals mean that say no more. */
const adviceOfKind: Readonly<Record<ErrorKind, Advice>> = {
  invalidArgument: {
    means: 'What was asked for cannot be. Nothing was done.',
    todo: 'Change what the message names, and try again.',
  },
  failedPrecondition: {
    means: 'That cannot be done as things are now. Nothing was done.',
    todo: 'Bring about what the message names, and try again.',
  },
  unauthenticated: {
    means: 'The other side does not know who asks.',
    todo: 'Use the certificate or key that it expects.',
  },
  permissionDenied: {
    means: 'You may not do that as the user that you are.',
    todo: 'Run it as root, with sudo for instance.',
  },
  notFound: {
    means: 'What was named is not here.',
    todo: 'Look for the name in a listing, and try again.',
  },
  alreadyExists: {
    means: 'It is there already and was left as it is.',
    todo: 'Use what is there, or another name.',
  },
  unimplemented: {
    means: 'The daemon does not know this call: it is of another version than this command.',
    todo: 'Bring both to the same version, then restart the daemon.',
  },
  unavailable: { means: 'It cannot be had just now.', todo: 'Try again in some seconds.' },
  aborted: { means: 'Something else came between.', todo: 'Try again.' },
  unknown: {
    means: 'The other side failed in a way of its own.',
    todo: "Look into the daemons' logs: journalctl -u skepd -u skep-dataplane.",
  },
  deadlineExceeded: {
    means: 'It took too long, and was given up. It may be done all the same.',
    todo: 'Look whether it is done; if not, try again.',
  },
};

const ofOutside: Advice = {
  means: 'Something that Skep works with did not do its part.',
  todo: 'Mend what the message names, and try again.',
};
const ofRetryable: Advice = {
  means: 'Something that Skep works with did not do its part in time.',
  todo: 'Try again in some seconds; if it fails again, mend what the message names.',
};

/** What failed calls of the operating system mean, by errno. */
const adviceOfErrno: Readonly<Record<string, Advice>> = {
  ENOENT: {
    means: 'There is no such file or directory.',
    todo: 'Check the path; its directory must be there.',
  },
  EACCES: {
    means: 'The user that you are may not do that with this file.',
    todo: 'Run it as root, with sudo for instance, or choose another path.',
  },
  EPERM: {
    means: 'The user that you are may not do that.',
    todo: 'Run it as root, with sudo for instance.',
  },
  EROFS: { means: 'The file system is read-only.', todo: 'Choose a path on another one.' },
  ENOSPC: { means: 'The disk is full.', todo: 'Make room on it, or choose a path on another one.' },
  EDQUOT: {
    means: 'Your quota of the disk is used up.',
    todo: 'Make room on it, or choose a path on another one.',
  },
  EISDIR: { means: 'The path is that of a directory, and a file is needed.', todo: 'Name a file.' },
  ENOTDIR: { means: 'A part of the path is no directory.', todo: 'Check the path.' },
  EMFILE: { means: 'This process may open no more files.', todo: 'Raise the limit: ulimit -n.' },
  EIO: { means: 'The disk or device failed.', todo: "Look into the kernel's log: dmesg." },
};
const ofErrno: Advice = {
  means: 'The operating system refused a call.',
  todo: 'Mend what the message names, and try again.',
};
const ofBug: Advice = {
  means: 'This is a bug of Skep, not of yours.',
  todo: 'Report it with the lines below.',
};

/** Any error that ends a command, as its user is told. */
export function complaintOf(err: unknown, at: CommandAt): Complaint {
  const command = at.path.join(' ');
  const what = err instanceof Error ? err.message : String(err);
  const complaint = (exitCode: number, { means, todo }: Advice): Complaint => ({
    ...{ command, what, means, todo, exitCode },
  });
  if (err instanceof UsageError)
    return complaint(2, {
      means: err.means,
      todo: `${err.todo ?? `Write "${usageLine(at)}".`} "${command} --help" says more.`,
    });
  if (err instanceof CommandError) return complaint(err.exitCode, err.advice);
  if (err instanceof SkepError)
    return complaint(err.kind === 'invalidArgument' ? 2 : 1, err.options.advice ?? adviceOfKind[err.kind]);
  if (err instanceof OutsideError)
    return complaint(1, err.advice ?? (err.retryable ? ofRetryable : ofOutside));
  const { code, syscall, stack } = err as Partial<NodeJS.ErrnoException>;
  if (typeof code === 'string' && syscall !== undefined) return complaint(1, adviceOfErrno[code] ?? ofErrno);
  return { ...complaint(1, ofBug), stack: stack ?? what };
}

/** On standard error, as text or as one line of JSON: `{"error": {"command", "what", "means", "todo", "exitCode"}}`. */
export function printComplaint({ err }: Pick<Terminal, 'err'>, complaint: Complaint, asJson: boolean): void {
  const { command, what, means, todo, stack } = complaint;
  if (asJson) return err(JSON.stringify({ error: complaint }));
  err(`${command}: ${what}`);
  err(`  This means: ${means}`);
  err(`  What to do: ${todo}`);
  if (stack !== undefined) err(stack);
}
