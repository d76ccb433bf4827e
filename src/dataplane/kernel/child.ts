/** One run of a tool with a text on its standard input, in a namespace. Never a shell, and never a copy of this process. */
import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { native } from '../../runtime/native.js';
import { errnoOf, KernelError } from './kernel-error.js';

const deadlineMs = 20_000;
const outputBytesMax = 64 * 1024 * 1024;
/** Of what it says of a failure. */
const errorBytesMax = 64 * 1024;
/** A tool is gone within microseconds of closing its output. */
const statusPollMs = 1;

/**
 * Standard output of the tool. Rejects with KernelError: `EXIT` with what it said on standard error, or the errno of
 * starting it.
 * @param netns path of the namespace, null for this process's own
 */
export async function runTool(
  netns: string | null,
  command: readonly [string, ...string[]],
  input: string,
): Promise<string> {
  const addon = native();
  const what = command.join(' ');
  const start = (): ReturnType<typeof addon.startTool> => {
    try {
      return addon.startTool(netns, command, Buffer.from(input));
    } catch (cause) {
      throw new KernelError(what, errnoOf(cause), { cause });
    }
  };
  const { pid, stdout, stderr } = start();
  // Until it was asked for its status the id is nobody else's.
  const kill = (): void => void process.kill(pid, 'SIGKILL');
  const timer = setTimeout(kill, deadlineMs);
  // A pipe that cannot be read ends the tool; it is waited for like any other, or it would stay as a zombie.
  const read = (fd: number, bytesMax: number, onExcess: () => void): Promise<string> =>
    textOf(fd, bytesMax, onExcess).catch((cause: unknown) => {
      kill();
      throw new KernelError(what, errnoOf(cause), { cause });
    });
  let status: number | null;
  let texts: PromiseSettledResult<string>[];
  try {
    texts = await Promise.allSettled([
      read(stdout, outputBytesMax, kill),
      read(stderr, errorBytesMax, () => undefined),
    ]);
    while ((status = addon.toolStatus(pid)) === null) await sleep(statusPollMs);
  } finally {
    clearTimeout(timer);
  }
  const [out, said] = texts.map((text) => {
    if (text.status === 'rejected') throw text.reason;
    return text.value;
  }) as [string, string];
  if (status === 0) return out;
  const how = status < 0 ? `signal ${-status}` : `status ${status}`;
  throw new KernelError(what, 'EXIT', { text: `${how}: ${said.trim()}` });
}

/** Reads a pipe to its end. @param onExcess called for what is beyond `bytesMax`, which is left out */
function textOf(fd: number, bytesMax: number, onExcess: () => void): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const pipe = new Socket({ fd, readable: true, writable: false });
    pipe.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > bytesMax) onExcess();
      else chunks.push(chunk);
    });
    pipe.on('error', reject);
    pipe.on('close', () => resolve(Buffer.concat(chunks).toString()));
  });
}

/** Whether {@link runTool} failed because there is no such tool. */
export const isToolMissing = ({ code, cause }: KernelError): boolean =>
  code === 'ENOENT' && (cause as NodeJS.ErrnoException | undefined)?.syscall === 'posix_spawn';
