/** One run of a tool with a text on its standard input, in a namespace. Never a shell. */
import { spawn } from 'node:child_process';
import { KernelError } from './kernel-error.js';

const deadlineMs = 20_000;
const outputBytesMax = 64 * 1024 * 1024;

/**
 * Standard output of the tool. Rejects with KernelError: `EXIT` with what it said on standard error, or the errno of
 * starting it.
 * @param netns path of the namespace, null for this process's own
 */
export function runTool(
  netns: string | null,
  command: readonly [string, ...string[]],
  input: string,
): Promise<string> {
  const [file, ...args] =
    netns === null ? command : (['nsenter', `--net=${netns}`, '--', ...command] as const);
  const what = command.join(' ');
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: 'pipe', timeout: deadlineMs, killSignal: 'SIGKILL' });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    let outBytes = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      outBytes += chunk.length;
      if (outBytes > outputBytesMax) child.kill('SIGKILL');
      else out.push(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (err.length < 64) err.push(chunk);
    });
    child.on('error', (cause: NodeJS.ErrnoException) =>
      reject(new KernelError(what, cause.code ?? 'UNKNOWN', { cause })),
    );
    child.on('close', (code, signal) => {
      if (code === 0) return resolve(Buffer.concat(out).toString());
      const said = Buffer.concat(err).toString().trim();
      reject(new KernelError(what, 'EXIT', { text: `${signal ?? `status ${code}`}: ${said}` }));
    });
    // A tool that ends early closes the pipe; its exit status tells why.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}

/** Whether {@link runTool} failed because there is no such tool: said by spawn(2), or by nsenter (execvp's 127, as in a shell). */
export const isToolMissing = (err: KernelError): boolean =>
  err.code === 'ENOENT' || (err.code === 'EXIT' && err.message.includes('status 127'));
