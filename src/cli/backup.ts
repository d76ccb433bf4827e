/**
 * `skep backup`, `skep restore`: the whole swarm in one sealed file, and back. skepd does both; here are files, passphrase and
 * words. A file is there whole or not at all, for its owner alone, and never in place of another unless that is asked for.
 */
import { createReadStream } from 'node:fs';
import { access, constants, link, open, rename, rm, stat } from 'node:fs/promises';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Advice } from '../model/errors.js';
import { syncDirectory } from '../runtime/atomic-file.js';
import { readCommandLine } from './arguments.js';
import { CommandError } from './command.js';
import type { ExitCode, Terminal } from './command.js';
import { commands } from './commands.js';
import { readPassphrase, unreadable } from './passphrase.js';
import { apiSocket } from './paths.js';
import { showProgress } from './progress.js';
import { unreachableError } from './unreachable.js';

interface Head {
  readonly clusterId: string;
  readonly revision: number;
  readonly objects: number;
  readonly takenAtMs: number;
}

export async function backup(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const { options, arguments: named } = readCommandLine(commands.backup, args);
  const { FILE: path } = named;
  const { force } = options;
  if (!force && (await isThere(path))) throw alreadyThere(path);
  await access(dirname(path), constants.W_OK).catch((cause: NodeJS.ErrnoException) => {
    throw unwritable(path, cause);
  });
  const Passphrase = await askPassphrase(terminal, options['passphrase-file'], true);
  const head = await during(terminal, options.quiet, async (step) => {
    step('skepd gathers the swarm and seals it');
    const reply = await call(terminal, 'backup', { Passphrase });
    step(`writing ${path}`);
    await writeWhole(reply, path, force);
    return JSON.parse(String(reply.headers['skep-backup'])) as Head;
  });
  terminal.out(`swarm ${head.clusterId} at revision ${head.revision}, ${head.objects} objects, in ${path}`);
  terminal.out('Keep file and passphrase apart: together they are the swarm, its root key included.');
  return 0;
}

export async function restore(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const { options, arguments: named } = readCommandLine(commands.restore, args);
  const { FILE: path } = named;
  await access(path, constants.R_OK).catch((cause: NodeJS.ErrnoException) => {
    throw unreadable('backup', path, cause);
  });
  const Passphrase = await askPassphrase(terminal, options['passphrase-file'], false);
  const asked = {
    Passphrase,
    ListenAddr: options['listen-addr'],
    AdvertiseAddr: options['advertise-addr'],
    DataPathAddr: options['data-path-addr'],
  };
  const head = await during(terminal, options.quiet, async (step) => {
    step(`skepd opens ${path}, and begins the swarm with it`);
    const reply = await call(terminal, 'restore', asked, path);
    return JSON.parse(await textOf(reply)) as Head & { readonly nodeId: string };
  });
  const asOf = new Date(head.takenAtMs).toISOString();
  terminal.out(
    `swarm ${head.clusterId} as of ${asOf}, ${head.objects} objects; this node is its only manager: ${head.nodeId}`,
  );
  terminal.out(
    'Nodes that find it at a manager\'s address of before come back by themselves; any other: "docker swarm leave --force" there, then join.',
  );
  return 0;
}

/** Ends the progress before anything else is said. */
async function during<T>(
  terminal: Terminal,
  quiet: boolean,
  body: (step: (text: string) => void) => Promise<T>,
): Promise<T> {
  using progress = showProgress(terminal, { quiet });
  return await body(progress.step);
}

const askPassphrase = ({ err }: Terminal, file: string | undefined, isNew: boolean): Promise<string> =>
  readPassphrase({
    file,
    stdin: process.stdin,
    ask: (question) => (question === '\n' ? err('') : process.stderr.write(question)),
    isNew,
  });

/** What skepd's refusals mean, which say in the message what is wrong; by command and status. */
const adviceOf: Readonly<Record<'backup' | 'restore', Readonly<Record<number, Advice>>>> = {
  backup: {
    400: {
      means: 'skepd does not take this. No file was written.',
      todo: 'Mend what the message names, and run it again.',
    },
    503: {
      means:
        'A backup is made of what a manager has, and this node has nothing of it to give now. No file was written.',
      todo: 'Run it on a manager: "docker node ls" there shows which nodes are. "docker info" says in which state this one is.',
    },
  },
  restore: {
    400: {
      means: 'skepd cannot begin a swarm with these: file, passphrase, addresses. This host is as it was.',
      todo: 'Mend what the message names, and run it again; of a damaged file, take another copy.',
    },
    503: {
      means: 'This host cannot take up a swarm as it is. Nothing was changed.',
      todo: 'If it is in a swarm that nobody wants any more, "docker swarm leave --force" here, then run it again. "docker info" says in which state it is.',
    },
  },
};
const ofFailure: Advice = {
  means: 'skepd failed in a way of its own.',
  todo: 'Look what it said: "journalctl -u skepd". "docker info" says in which state this node is; then try again.',
};

/** Asks skepd: a line of JSON, then the file if there is one. Rejects with CommandError for anything but 200. */
async function call(
  { env }: Terminal,
  what: 'backup' | 'restore',
  asked: object,
  file?: string,
): Promise<IncomingMessage> {
  const socketPath = apiSocket(env);
  const head = Buffer.from(`${JSON.stringify(asked)}\n`);
  const size = file === undefined ? 0 : (await stat(file)).size;
  const headers = { 'Content-Type': 'application/json', 'Content-Length': head.length + size };
  const reply = await new Promise<IncomingMessage>((resolve, reject) => {
    const sent = request({ socketPath, path: `/skep/${what}`, method: 'POST', headers }, resolve);
    sent.once('error', reject);
    sent.write(head);
    if (file === undefined) sent.end();
    // What ends the request is told by the request itself.
    else pipeline(createReadStream(file), sent).catch(() => undefined);
  }).catch(async (cause: unknown) => {
    throw await unreachableError(1, { daemon: 'skepd', socketPath }, cause);
  });
  const { statusCode = 0 } = reply;
  if (statusCode === 200) return reply;
  const text = await textOf(reply);
  let message = text;
  try {
    message = (JSON.parse(text) as { message: string }).message;
  } catch {
    // Not skepd's words; they are all there is.
  }
  throw new CommandError(1, message, adviceOf[what][statusCode] ?? ofFailure);
}

async function textOf(reply: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of reply as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

const alreadyThere = (path: string): CommandError =>
  new CommandError(1, `${path} is there already; --force replaces it`, {
    means: 'A backup replaces no other file by itself. The file is as it was.',
    todo: 'Name another file, or add --force.',
  });
/** Its directory takes no file: said before a passphrase is asked for. */
const unwritable = (path: string, cause: NodeJS.ErrnoException): CommandError =>
  new CommandError(
    1,
    `cannot write ${path}: ${cause.code === 'ENOENT' ? `there is no directory ${dirname(path)}` : cause.message}`,
    {
      means: 'The backup has no place to go to. Nothing was done.',
      todo: 'Make the directory, or name a file in another one; run it as root where only root may write there.',
    },
    { cause },
  );
const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** What comes; rejects with CommandError where it breaks off. */
async function* received(reply: IncomingMessage): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of reply as AsyncIterable<Buffer>) yield chunk;
  } catch (cause) {
    throw new CommandError(
      1,
      `the answer of skepd broke off: ${(cause as Error).message}`,
      {
        means: 'skepd ended before all of the backup was here. No file was written.',
        todo: 'Run it again; "journalctl -u skepd" says why skepd ended.',
      },
      { cause },
    );
  }
}

/** Beside, synced, then in place; an answer that breaks off leaves nothing. */
async function writeWhole(reply: IncomingMessage, path: string, force: boolean): Promise<void> {
  const beside = `${path}.${process.pid}.new`;
  const file = await open(beside, 'wx', 0o600);
  try {
    for await (const chunk of received(reply)) await file.write(chunk);
    await file.sync();
    await file.close();
    if (force) await rename(beside, path);
    else
      await link(beside, path).catch((cause: NodeJS.ErrnoException) => {
        throw cause.code === 'EEXIST' ? alreadyThere(path) : cause;
      });
    await syncDirectory(dirname(path));
  } finally {
    await file.close().catch(() => undefined);
    await rm(beside, { force: true });
  }
}
