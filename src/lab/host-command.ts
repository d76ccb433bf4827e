/** Commands on this machine: run to their end, with a deadline, their output kept for the error message. */
import { spawn } from 'node:child_process';
import type { Advice } from '../model/errors.js';
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

const notHere: Advice = {
  means: 'It is not on this machine, or this machine can run no more processes.',
  todo: 'Run scripts/setup.sh, which installs what is missing; "free -m" shows whether memory is left.',
};
const notDone: Advice = {
  means: 'It took longer than it may, and was killed. What it was for is done in part, or not at all.',
  todo: 'Try again when the machine has less to do; "skep lab down" with the name of the lab removes what is left of it.',
};
const failed: Advice = {
  means: 'The lab needs this command on this machine, and it did not do what it is for.',
  todo: 'Run it by hand to see more; scripts/setup.sh installs what is missing, "skep lab down" with the name of the lab removes what is left of it.',
};

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
      reject(new OutsideError(`cannot run ${command}: ${cause.message}`, false, { cause, advice: notHere }));
    });
    child.once('close', (code) => {
      clearTimeout(timer);
      if (late)
        return reject(
          new OutsideError(`${argv.join(' ')}: not done after ${deadlineMs} ms`, true, { advice: notDone }),
        );
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
    throw new OutsideError(`${argv.join(' ')}: exit ${exitCode}: ${(stderr || stdout).trim()}`, false, {
      advice: failed,
    });
  return stdout;
}
