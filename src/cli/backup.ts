/**
 * `skep backup`, `skep restore`: the whole swarm in one sealed file, and back. skepd does both; here are files, passphrase and
 * words. A file is there whole or not at all, for its owner alone, and never in place of another unless that is asked for.
 */
import { createReadStream } from 'node:fs';
import { access, link, open, rename, rm, stat } from 'node:fs/promises';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { syncDirectory } from '../runtime/atomic-file.js';
import type { ExitCode, Terminal } from './command.js';
import { UsageError } from './command.js';
import { readPassphrase } from './passphrase.js';
import { apiSocket } from './paths.js';

interface Head {
  readonly clusterId: string;
  readonly revision: number;
  readonly objects: number;
  readonly takenAtMs: number;
}

/** skepd's refusal, in its words. */
class RefusedError extends Error {
  override readonly name = 'RefusedError';
}

export async function backup(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { 'passphrase-file': { type: 'string' }, force: { type: 'boolean', default: false } },
  });
  const path = onlyFile(positionals);
  const { force } = values;
  return answered(terminal, async () => {
    if (!force && (await isThere(path))) throw new RefusedError(alreadyThere(path));
    const Passphrase = await askPassphrase(terminal, values['passphrase-file'], true);
    const reply = await call(terminal, '/skep/backup', { Passphrase });
    await writeWhole(reply, path, force);
    const head = JSON.parse(String(reply.headers['skep-backup'])) as Head;
    return [
      `swarm ${head.clusterId} at revision ${head.revision}, ${head.objects} objects, in ${path}`,
      'Keep file and passphrase apart: together they are the swarm, its root key included.',
    ];
  });
}

export async function restore(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const address = { type: 'string', default: '' } as const;
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      'passphrase-file': { type: 'string' },
      'advertise-addr': address,
      'listen-addr': address,
      'data-path-addr': address,
    },
  });
  const path = onlyFile(positionals);
  return answered(terminal, async () => {
    await access(path).catch(() => {
      throw new RefusedError(`cannot read ${path}`);
    });
    const Passphrase = await askPassphrase(terminal, values['passphrase-file'], false);
    const asked = {
      Passphrase,
      ListenAddr: values['listen-addr'],
      AdvertiseAddr: values['advertise-addr'],
      DataPathAddr: values['data-path-addr'],
    };
    const reply = await call(terminal, '/skep/restore', asked, path);
    const head = JSON.parse(await textOf(reply)) as Head & { readonly nodeId: string };
    return [
      `swarm ${head.clusterId} as of ${new Date(head.takenAtMs).toISOString()}, ${head.objects} objects; this node is its only manager: ${head.nodeId}`,
      'Nodes that find it at a manager\'s address of before come back by themselves; any other: "docker swarm leave --force" there, then join.',
    ];
  });
}

function onlyFile(positionals: readonly string[]): string {
  const [path, ...more] = positionals;
  if (path === undefined || more.length > 0) throw new UsageError('expects one FILE');
  return path;
}

async function answered({ out, err }: Terminal, body: () => Promise<readonly string[]>): Promise<ExitCode> {
  try {
    for (const line of await body()) out(line);
    return 0;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (!(cause instanceof RefusedError) && code === undefined) throw cause;
    if (code?.startsWith('ERR_')) throw cause;
    err((cause as Error).message);
    return 1;
  }
}

const askPassphrase = ({ err }: Terminal, file: string | undefined, isNew: boolean): Promise<string> =>
  readPassphrase({
    file,
    stdin: process.stdin,
    ask: (question) => (question === '\n' ? err('') : process.stderr.write(question)),
    isNew,
  });

/** Asks skepd: a line of JSON, then the file if there is one. Rejects with RefusedError for anything but 200. */
async function call({ env }: Terminal, path: string, asked: object, file?: string): Promise<IncomingMessage> {
  const socketPath = apiSocket(env);
  const head = Buffer.from(`${JSON.stringify(asked)}\n`);
  const size = file === undefined ? 0 : (await stat(file)).size;
  const headers = { 'Content-Type': 'application/json', 'Content-Length': head.length + size };
  const reply = await new Promise<IncomingMessage>((resolve, reject) => {
    const sent = request({ socketPath, path, method: 'POST', headers }, resolve);
    sent.once('error', (cause) =>
      reject(new RefusedError(`skepd at ${socketPath} gives no answer: ${cause.message}`, { cause })),
    );
    sent.write(head);
    if (file === undefined) sent.end();
    // What ends the request is told by the request itself.
    else pipeline(createReadStream(file), sent).catch(() => undefined);
  });
  if (reply.statusCode === 200) return reply;
  const text = await textOf(reply);
  let message = text;
  try {
    message = (JSON.parse(text) as { message: string }).message;
  } catch {
    // Not skepd's words; they are all there is.
  }
  throw new RefusedError(message);
}

async function textOf(reply: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of reply as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

const alreadyThere = (path: string): string => `${path} is there already; --force replaces it`;
const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** Beside, synced, then in place; an answer that breaks off leaves nothing. */
async function writeWhole(reply: IncomingMessage, path: string, force: boolean): Promise<void> {
  const beside = `${path}.${process.pid}.new`;
  const file = await open(beside, 'wx', 0o600);
  try {
    for await (const chunk of reply as AsyncIterable<Buffer>) await file.write(chunk);
    await file.sync();
    await file.close();
    if (force) await rename(beside, path);
    else
      await link(beside, path).catch((cause: NodeJS.ErrnoException) => {
        throw cause.code === 'EEXIST' ? new RefusedError(alreadyThere(path)) : cause;
      });
    await syncDirectory(dirname(path));
  } finally {
    await file.close().catch(() => undefined);
    await rm(beside, { force: true });
  }
}
