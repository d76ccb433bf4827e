import assert from 'node:assert';
import { once } from 'node:events';
import { request } from 'node:http';
import type { IncomingMessage, Server } from 'node:http';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'vitest';
import { createPluginServer } from '../../../../src/dataplane/plugin/server.js';
import { claimNamespace, openSocket } from '../../../../src/dataplane/unix-sockets.js';
import { SkepError } from '../../../../src/model/errors.js';
import { createLog } from '../../../../src/runtime/log.js';

let directory: string;
let server: Server;
let bugs: unknown[];
const log = createLog('test');
log.level = 'silent';
const socketPath = (): string => join(directory, 'skep.sock');
const listen = (path: string): Promise<void> => new Promise((resolve) => server.listen(path, resolve));

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-sock-'));
  bugs = [];
  server = createPluginServer(
    {
      'Driver.Echo': (value) => ({ value }),
      'Driver.Refuse': () => {
        throw new SkepError('notFound', 'no such thing');
      },
      'Driver.Fail': () => Promise.reject(new Error('disk full')),
      'Driver.Bug': () => assert.fail('impossible'),
    },
    log,
    (err) => bugs.push(err),
  );
  await openSocket(socketPath(), listen);
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(directory, { recursive: true });
});

function post(path: string, body: string, method = 'POST'): Promise<{ status: number; body: unknown }> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath: socketPath(), path, method }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          body: JSON.parse(Buffer.concat(chunks).toString()) as unknown,
        }),
      );
    });
    call.on('error', reject);
    call.end(body);
  });
}
const refusal = (text: string) => ({ Err: text, Error: text });

test('a connection that idles is not closed under the engine’s next call', async () => {
  const call = request({ socketPath: socketPath(), path: '/Driver.Echo', method: 'POST' });
  call.end('{}');
  const [response] = (await once(call, 'response')) as [IncomingMessage];
  response.resume();
  // Where the server would close it after a time, this says after which.
  assert.deepEqual([response.headers.connection, response.headers['keep-alive']], ['keep-alive', undefined]);
});

test('answers the engine', async () => {
  assert.deepEqual(await post('/Plugin.Activate', ''), {
    status: 200,
    body: { Implements: ['NetworkDriver', 'IpamDriver'] },
  });
  assert.deepEqual(await post('/Driver.Echo', '{"a":1}'), { status: 200, body: { value: { a: 1 } } });
  assert.deepEqual(await post('/Driver.Echo', ''), { status: 200, body: {} }, 'no request is undefined');
  assert.deepEqual(await post('/Driver.Refuse', '{}'), { status: 200, body: refusal('no such thing') });
  assert.deepEqual(await post('/Driver.Fail', '{}'), { status: 500, body: refusal('disk full') });
  assert.deepEqual(await post('/Driver.Nothing', '{}'), {
    status: 404,
    body: refusal('no such method: Driver.Nothing'),
  });
  assert.deepEqual(await post('/constructor', '{}'), {
    status: 404,
    body: refusal('no such method: constructor'),
  });
  assert.equal((await post('/Driver.Echo', '', 'PUT')).status, 405);
  assert.deepEqual(bugs, []);
});

test('refuses what is not JSON and what is too large, and lives on', async () => {
  assert.deepEqual((await post('/Driver.Echo', '{')).body, refusal('request is not JSON'));
  const large = await post('/Driver.Echo', `"${'x'.repeat(2 << 20)}"`).catch(
    (err: NodeJS.ErrnoException) => err.code,
  );
  // The answer may be lost in the reset of a connection that is still being written to.
  if (typeof large === 'object')
    assert.deepEqual(large.body, refusal('request is larger than 1048576 bytes'));
  else assert.match(large ?? '', /EPIPE|ECONNRESET/);
  assert.equal((await post('/Driver.Echo', '{}')).status, 200);
});

test('a bug is not answered but told', async () => {
  const call = request({ socketPath: socketPath(), path: '/Driver.Bug', method: 'POST' });
  call.on('error', () => undefined);
  call.end('{}');
  while (bugs.length === 0) await once(server, 'request').then(() => new Promise(setImmediate));
  assert.match(String(bugs[0]), /impossible/);
  call.destroy();
});

test('a socket is root’s alone, a stale one is replaced, a live one is not', async () => {
  assert.equal((await stat(socketPath())).mode & 0o777, 0o600);
  await assert.rejects(openSocket(socketPath(), assert.fail), /another daemon listens at/);
  const made = join(directory, 'made/s');
  const umask = process.umask(0o077);
  await openSocket(made, (path) => writeFile(path, ''));
  process.umask(umask);
  assert.equal((await stat(join(directory, 'made'))).mode & 0o777, 0o755, 'others have sockets there too');
  const stale = join(directory, 'stale.sock');
  await writeFile(stale, '');
  let opened = '';
  await openSocket(stale, async (path) => {
    await writeFile((opened = path), '');
  });
  assert.equal(opened, stale);
});

test('a place is taken by one, and free again afterwards', async () => {
  const name = `skep-test-${process.pid}`;
  const place = await claimNamespace(name);
  await assert.rejects(claimNamespace(name), /already runs in this network namespace/);
  place[Symbol.dispose]();
  (await claimNamespace(name))[Symbol.dispose]();
});
