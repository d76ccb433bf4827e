/**
 * The daemon's unix sockets: one daemon per network namespace (that is what it programs), no stale file in the way,
 * never open to others for a moment. The umask given by {@link privateUmask} must be set before.
 */
import { chmod, mkdir, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { dirname } from 'node:path';
import { SkepError } from '../model/errors.js';

/** Files and sockets of the daemon are root's alone from the moment they exist. */
export const privateUmask = 0o077;

/**
 * Takes the daemon's place in this network namespace, until the process ends: an abstract socket, which the kernel
 * scopes to the namespace and frees with its owner, so that nothing stale can stand in the way.
 * Throws SkepError `failedPrecondition` if another daemon has it.
 */
export async function claimNamespace(name: string): Promise<Disposable> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        cause.code === 'EADDRINUSE'
          ? new SkepError('failedPrecondition', `${name} already runs in this network namespace`, { cause })
          : cause,
      ),
    );
    server.listen(`\0${name}`, resolve);
  });
  server.unref();
  return { [Symbol.dispose]: () => void server.close() };
}

/**
 * Makes way at `path` and calls `listen`. A file that nobody listens at is replaced; a listening one is another
 * daemon's: SkepError `failedPrecondition`. The socket is 0600.
 */
export async function openSocket(path: string, listen: (path: string) => Promise<void>): Promise<void> {
  // Others' sockets stand in the same directory: the umask is not for it.
  if ((await mkdir(dirname(path), { recursive: true })) !== undefined) await chmod(dirname(path), 0o755);
  if (await answers(path)) throw new SkepError('failedPrecondition', `another daemon listens at ${path}`);
  await rm(path, { force: true });
  await listen(path);
  await chmod(path, 0o600);
}

const answers = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
