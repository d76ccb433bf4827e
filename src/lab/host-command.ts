/** Commands on this machine: run to their end, with a deadline, their output kept for the error message. */
import { spawn } from 'node:child_process';
import { OutsideError } from '../model/errors.js';

/** What a finished command left. */
export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface HostCommandOptions {
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** After this the command is killed and the call throws. Default 60,000. */
  readonly deadlineMs?: number;
}

/** Runs `argv` and returns what came of it, whatever the exit code; throws OutsideError if it cannot run or does not end. */
export function tryHostCommand(
  argv: readonly string[],
  options: HostCommandOptions = {},
): Promise<CommandResult> {
  const [command = '', ...rest] = argv;
  const deadlineMs = options.deadlineMs ?? 60_000;
  return new Promise((resolve, reject) => {
    const child = spawn(command, rest, { env: options.env ?? process.env });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, deadlineMs);
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
    child.once('error', (cause) => {
      clearTimeout(timer);
      reject(new OutsideError(`cannot run ${command}: ${cause.message}`, false, { cause }));
    });
    child.once('close', (code) => {
      clearTimeout(timer);
      if (late) return reject(new OutsideError(`${argv.join(' ')}: not done after ${deadlineMs} ms`, true));
      resolve({
        exitCode: code ?? 255,
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString(),
      });
    });
  });
}

/** Runs `argv` and returns its standard output; throws OutsideError with its words if it exits with anything but 0. */
export async function hostCommand(
  argv: readonly string[],
  options: HostCommandOptions = {},
): Promise<string> {
  const { exitCode, stdout, stderr } = await tryHostCommand(argv, options);
  if (exitCode !== 0)
    throw new OutsideError(`${argv.join(' ')}: exit ${exitCode}: ${(stderr || stdout).trim()}`, false);
  return stdout;
}
