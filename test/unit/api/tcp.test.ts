/** The API over TCP: who gets in, what each may ask, and what happens when certificates are renewed. */
import { once } from 'node:events';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { connect as connectPlain } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { TestCa } from '../../support/client-certificates.js';
import type { Keyed } from '../../support/client-certificates.js';
import { Collector, Harness } from './harness.js';

let ca: TestCa;
let foreign: TestCa;
let server: Keyed;
const clients: Record<string, Keyed> = {};
beforeAll(async () => {
  [ca, foreign] = await Promise.all([TestCa.create(), TestCa.create()]);
  server = await ca.issue('CN=server');
  for (const role of ['read-only', 'operator', 'admin'])
    clients[role] = await ca.issue(`CN=alice, OU=skep-${role}`);
  clients['nobody'] = await ca.issue('CN=bob, OU=people');
  clients['expired'] = await ca.issue('CN=eve, OU=skep-admin', { validMs: -1_000 });
  clients['foreign'] = await foreign.issue('CN=eve, OU=skep-admin');
});

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start() {
  const directory = await mkdtemp(join(tmpdir(), 'skep-tcp-'));
  cleanups.push(() => rm(directory, { recursive: true }));
  const tls = {
    ca: join(directory, 'ca.pem'),
    cert: join(directory, 'cert.pem'),
    key: join(directory, 'key.pem'),
  };
  const write = async ({ certPem, keyPem }: Keyed, caPem = ca.certPem): Promise<void> => {
    await Promise.all([writeFile(tls.ca, caPem), writeFile(tls.cert, certPem), writeFile(tls.key, keyPem)]);
  };
  await write(server);
  const api = await Harness.start((harness) => {
    harness.listen = { tcp: [{ host: '127.0.0.1', port: 0 }], tls };
    // The look at the files comes when the test says so.
    harness.sleep = () => new Promise((resolve) => (look = resolve));
  });
  let look: () => void = () => undefined;
  cleanups.push(() => api[Symbol.asyncDispose]());
  const port = api.server.ports()[0]!;
  const options = (client: Keyed | undefined, trusted = ca) => ({
    ...{ host: '127.0.0.1', port, ca: trusted.certPem },
    ...(client && { cert: client.certPem, key: client.keyPem }),
  });
  const ask = async (client: string | undefined, method: string, path: string, trusted = ca) => {
    const who = client === undefined ? undefined : clients[client];
    const call = request({ ...options(who, trusted), method, path, agent: false });
    call.end();
    const [answer] = (await once(call, 'response')) as [IncomingMessage];
    const body = new Collector(answer);
    await once(answer, 'end');
    return { status: answer.statusCode, text: body.text };
  };
  return { api, port, options, ask, write, look: () => look() };
}

describe('over TCP', () => {
  test.each([
    ['read-only', 'GET', '/v1.41/services', 200],
    ['read-only', 'POST', '/services/create', 403],
    ['read-only', 'GET', '/swarm', 403],
    ['read-only', 'POST', '/containers/x/exec', 403],
    ['operator', 'POST', '/networks/prune', 200],
    ['operator', 'GET', '/swarm', 403],
    ['operator', 'POST', '/containers/create', 403],
    ['admin', 'GET', '/swarm', 200],
    ['nobody', 'GET', '/_ping', 403],
  ])('%s: %s %s', async (client, method, path, status) => {
    const { ask, api } = await start();
    api.behaviour = (_, reply) => reply.end('{}');
    expect((await ask(client, method, path)).status).toBe(status);
  });

  test('a refusal is in Docker’s form and says why', async () => {
    const { ask } = await start();
    expect(JSON.parse((await ask('read-only', 'DELETE', '/v1.41/services/x')).text)).toEqual({
      message:
        'access denied to "alice": DELETE /services/x is for role operator, and its certificate has role read-only',
    });
  });

  test.each([[undefined], ['foreign'], ['expired']])(
    'a client with certificate %s does not get in',
    async (client) => {
      const { ask } = await start();
      await expect(ask(client, 'GET', '/_ping')).rejects.toThrow();
    },
  );

  test('neither plain HTTP nor an old TLS is answered', async () => {
    const { port, options } = await start();
    const plain = connectPlain(port, '127.0.0.1');
    const said = new Collector(plain);
    plain.write('GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(plain, 'close');
    expect(said.text).not.toContain('HTTP/1.1');
    const old = connect({
      ...options(clients['admin']),
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'ALL:@SECLEVEL=0',
    });
    await expect(once(old, 'secureConnect')).rejects.toThrow();
  });

  test('nobody but an admin has a connection changed, and nothing passes behind such a request', async () => {
    const { api, options } = await start();
    const asked: string[] = [];
    api.behaviour = (received, reply) => {
      asked.push(`${received.method} ${received.url}`);
      reply.end('{}');
    };
    api.engine.on('upgrade', (received: IncomingMessage, socket) => {
      asked.push(`${received.method} ${received.url}`);
      socket.end('HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n');
    });
    const smuggled = 'POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n';
    const head = 'GET /images/json HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n';
    for (const [client, status] of [
      ['read-only', 403],
      ['admin', 409],
    ] as const) {
      const socket = connect(options(clients[client]));
      const said = new Collector(socket);
      socket.write(head + smuggled);
      await once(socket, 'close');
      expect(said.text).toContain(`HTTP/1.1 ${status} `);
    }
    expect(asked).toEqual(['GET /images/json']);
  });

  test('a renewed certificate and another CA hold for who comes then; what cannot be read changes nothing', async () => {
    const { ask, write, look } = await start();
    const status = async (client: string, trusted: TestCa): Promise<number | undefined> =>
      ask(client, 'GET', '/services', trusted).then(
        (answer) => answer.status,
        () => undefined,
      );
    await write({ certPem: 'nothing', keyPem: 'nothing' });
    look();
    expect(await status('admin', ca)).toBe(200);
    await write(await foreign.issue('CN=server'), foreign.certPem);
    look();
    await expect.poll(() => status('foreign', foreign)).toBe(200);
    expect(await status('admin', foreign)).toBe(undefined);
  });
});

test('the socket is the group’s that the settings name', async () => {
  const api = await Harness.start(
    (harness) => (harness.listen = { tcp: [], group: String(process.getgid?.() ?? 0) }),
  );
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { mode, gid } = await stat(api.socketPath);
  expect([mode & 0o777, gid]).toEqual([0o660, process.getgid?.()]);
});

test('a group that is not there is no start', async () => {
  const starting = Harness.start((harness) => (harness.listen = { tcp: [], group: 'no-such-group' }));
  await expect(starting).rejects.toThrow('this host has no group "no-such-group"');
});
