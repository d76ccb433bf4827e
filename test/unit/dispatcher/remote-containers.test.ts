/**
 * Containers of another node, from the API's socket to that node's engine and back: the API, the manager's and the agent's ends and
 * gRPC with the cluster's own TLS between them are the product's; the engine is played.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { IncomingMessage, Server as HttpServer, ServerResponse } from 'node:http';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ContainerTunnels } from '../../../src/controlplane/agent/container-tunnels.js';
import { allocateLeg } from '../../../src/controlplane/allocator/leg.js';
import { createCsr, createRootCa, issueNodeCertificate } from '../../../src/controlplane/ca/certificates.js';
import { nodeClientSecurity, NodeServerCredentials } from '../../../src/controlplane/ca/credentials.js';
import { ClusterCa } from '../../../src/controlplane/ca/cluster-ca.js';
import { tunnelsOfNodeMax } from '../../../src/controlplane/dispatcher/tunnel-broker.js';
import { createManagerServices } from '../../../src/controlplane/dispatcher/manager-services.js';
import { Engine } from '../../../src/controlplane/dockerd/client.js';
import { DispatcherClient } from '../../../src/controlplane/rpc/clients.js';
import { createRpcServer, listen } from '../../../src/controlplane/rpc/server.js';
import type { NodeId, TaskId } from '../../../src/model/ids.js';
import type { NodeRole } from '../../../src/model/objects.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { createLog } from '../../../src/runtime/log.js';
import { node } from '../../support/cluster-objects.js';
import { Collector, Harness, taskOf } from '../api/harness.js';

const log = createLog('test');
log.level = process.env['SKEP_LOG'] ?? 'silent';
const random = (size: number): Uint8Array => randomBytes(size);
const far = 'farawayaaaaaaaaaaaaaaaaaa' as NodeId;
const containerId = 'ab12cd'.padEnd(64, '0');
const strangerId = 'feed00'.padEnd(64, '0');
const execId = 'e'.repeat(64);
const taskId = 'taskaaaaaaaaaaaaaaaaaaaaa' as TaskId;
const frame = (stream: number, text: string): Buffer => {
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(text.length, 4);
  return Buffer.concat([header, Buffer.from(text)]);
};
const containers: Readonly<Record<string, object>> = {
  [containerId]: { 'com.docker.swarm.task.id': taskId, 'com.docker.swarm.node.id': far },
  [strangerId]: { 'com.docker.swarm.task.id': 'another', 'com.docker.swarm.node.id': far },
};

/** The far node's engine: inspections are answered, the rest by the test. */
let behaviour: (request: IncomingMessage, reply: ServerResponse) => void;
let onUpgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
let asked: string[];
let api: Harness;
let engine: HttpServer;
let tunnels: ContainerTunnels;
let endSession: () => void;
/** To what the manager wants to be brought. */
let listenForTunnels: () => void;
let stopListening: () => Promise<void>;
/** Of the node's engine. */
let versions: { readonly ApiVersion: string; readonly MinAPIVersion: string };
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

beforeEach(async () => {
  asked = [];
  versions = { ApiVersion: '1.41', MinAPIVersion: '1.12' };
  behaviour = (_, reply) => reply.writeHead(500).end();
  onUpgrade = (_, socket) => socket.destroy();
  const directory = await mkdtemp(join(tmpdir(), 'skep-far-'));
  cleanups.push(() => rm(directory, { recursive: true }));
  const socketPath = join(directory, 'engine.sock');
  engine = createServer((received, reply) => {
    const { method, url = '' } = received;
    const [, inspected] = /^\/containers\/(\w+)\/json$/.exec(url) ?? [];
    if (method === 'GET' && inspected !== undefined) {
      const labels = containers[inspected];
      reply.writeHead(labels ? 200 : 404, { 'Content-Type': 'application/json' });
      const view = {
        Id: inspected,
        Config: { Labels: labels },
        State: {},
        HostConfig: {},
        NetworkSettings: {},
      };
      return reply.end(JSON.stringify(labels ? { ...view, ExecIDs: [execId] } : { message: 'none' }));
    }
    if (method === 'GET' && url.startsWith('/exec/')) {
      const isKnown = url === `/exec/${execId}/json`;
      const view = { ID: execId, ContainerID: containerId, ExitCode: 7 };
      reply.writeHead(isKnown ? 200 : 404, { 'Content-Type': 'application/json' });
      return reply.end(JSON.stringify(isKnown ? view : { message: 'none' }));
    }
    if (url === '/version') return reply.end(JSON.stringify(versions));
    asked.push(`${method} ${url}`);
    behaviour(received, reply);
  });
  engine.on('upgrade', (received: IncomingMessage, socket: Duplex, head: Buffer) => {
    asked.push(`${received.method} ${received.url}`);
    onUpgrade(received, socket, head);
  });
  await new Promise<void>((resolve) => engine.listen(socketPath, resolve));
  cleanups.push(() => {
    engine.closeAllConnections();
    engine.close();
  });

  api = await Harness.start();
  cleanups.push(() => api[Symbol.asyncDispose]());
  const rootCa = await createRootCa(Date.now());
  const serviceId = await api.createService({ Name: 'web' });
  await api.store.update((tx) => {
    tx.update('cluster', { ...tx.cluster(), rootCa });
    tx.create('node', node(far));
    const service = tx.get('service', serviceId as never)!;
    const status = { timestampMs: 0, appliedAtMs: 0, state: 'running' as const, message: '' };
    const container = { containerId, pid: 1, exitCode: 0 };
    tx.create('task', taskOf(service, taskId, { nodeId: far, status: { ...status, container } }));
  });
  const clusterId = api.store.view().cluster().id;
  const identity = async (nodeId: NodeId, role: NodeRole) => {
    const { csrPem, keyPem } = await createCsr();
    const issued = { rootCa, csrPem, nodeId, role, clusterId, nowMs: Date.now(), validMs: 3_600_000 };
    return { certPem: await issueNodeCertificate(issued), keyPem, rootPem: rootCa.certPem };
  };
  const services = createManagerServices({
    ...{ store: api.store, clock: systemClock, random, log, allocateLeg },
    ...new ClusterCa({ clock: systemClock }),
    issueCertificate: () => expect.fail('nobody gets a certificate here'),
  });
  const term = new AbortController();
  const leading = services.lead(api.store, term.signal);
  const server = createRpcServer(services.services, log);
  const credentials = new NodeServerCredentials(await identity('m1' as NodeId, 'manager'));
  const address = `127.0.0.1:${await listen(server, '127.0.0.1:0', credentials)}`;
  cleanups.push(async () => {
    term.abort();
    await leading;
    server.forceShutdown();
  });
  api.openTunnel = async (...all) => (services.openTunnel() ?? expect.fail('nobody leads'))(...all);

  const security = nodeClientSecurity(await identity(far, 'worker'));
  const connect = (): DispatcherClient =>
    new DispatcherClient(address, security.credentials, security.options);
  const client = connect();
  const over = new AbortController();
  const description = { hostname: 'far-1', plugins: [], engineLabels: {}, routes: [], genericResources: [] };
  const session = client.session(
    { description: description as never, dataPathAddr: '192.0.2.7' },
    over.signal,
  );
  session.on('error', () => undefined);
  const [{ sessionId }] = (await once(session, 'data')) as [{ sessionId: string }];
  session.resume();
  tunnels = new ContainerTunnels({
    nodeId: far,
    engine: new Engine(`unix://${socketPath}`),
    hasTask: (id) => id === taskId,
    allowance: { devices: [], privileged: false, shmSize: false },
    log,
  });
  let running: Promise<void>;
  let listening: AbortController;
  listenForTunnels = () => {
    listening = new AbortController();
    const signal = AbortSignal.any([over.signal, listening.signal]);
    running = tunnels.run(client, connect, sessionId, signal).catch(() => undefined);
  };
  stopListening = () => {
    listening.abort();
    return running;
  };
  listenForTunnels();
  endSession = () => over.abort();
  cleanups.push(async () => {
    tunnels.close();
    over.abort();
    await running;
    client.close();
  });
  // The manager has heard that the node listens.
  await expect
    .poll(() =>
      api.openTunnel(far, over.signal).then(
        (tunnel) => tunnel.destroy().destroyed,
        () => false,
      ),
    )
    .toBe(true);
});

const open = (method: string, path: string, headers: Record<string, string> = {}) =>
  request({ socketPath: api.socketPath, method, path, headers, agent: false });
const body = async (stream: AsyncIterable<Buffer>): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
};

describe('what names a container of another node', () => {
  const answer = (path: string) => {
    behaviour = (_, reply) => reply.end('output');
    return api.call('GET', path);
  };
  test.each([
    ['its id', containerId],
    ['a prefix of it', containerId.slice(0, 12)],
    ['its name', `web.1.${taskId}`],
  ])('%s', async (_, name) => {
    expect(await answer(`/v1.41/containers/${name}/logs?stdout=1`)).toMatchObject({
      status: 200,
      text: 'output',
    });
    expect(asked).toEqual([`GET /v1.41/containers/${containerId}/logs?stdout=1`]);
  });

  test.each([
    ['a prefix that may be a word', 'ab12'],
    ['the name of its service', 'web'],
    ['another id', 'ab12cd1'],
  ])('%s does not: the local engine answers', async (_, name) => {
    expect(await answer(`/containers/${name}/logs?stdout=1`)).toMatchObject({
      status: 404,
      json: { message: 'page not found' },
    });
    expect(asked).toEqual([]);
  });

  test('a local container wins', async () => {
    api.behaviour = (_, reply) => reply.end('local');
    expect((await answer(`/containers/${containerId.slice(0, 12)}/logs`)).text).toBe('local');
    expect(asked).toEqual([]);
  });

  test('of two it is none', async () => {
    await api.store.update((tx) => {
      const task = tx.get('task', taskId)!;
      const container = { containerId: `${containerId.slice(0, 20)}${'1'.repeat(44)}`, pid: 1, exitCode: 0 };
      const other = { ...task, id: 'another' as TaskId, status: { ...task.status, container } };
      tx.create('task', other);
    });
    expect(await answer(`/containers/${containerId.slice(0, 12)}/logs`)).toMatchObject({
      status: 500,
      json: { message: `Multiple IDs found with provided prefix: ${containerId.slice(0, 12)}` },
    });
    expect((await answer(`/containers/${containerId}/logs`)).text).toBe('output');
  });
});

test.each([
  ['as new', '1.41', 'v1.41'],
  ['older', '1.40', 'v1.40'],
  ['newer, and speaks old versions no more', '1.51', 'v1.44'],
])('the node’s engine is %s: it is asked in a version that it speaks', async (_, newest, spoken) => {
  versions = { ApiVersion: newest, MinAPIVersion: newest === '1.51' ? '1.44' : '1.12' };
  behaviour = (_, reply) => reply.end('output');
  expect((await api.call('GET', `/v1.41/containers/${containerId}/top`)).text).toBe('output');
  expect((await api.call('GET', `/containers/${containerId}/top`)).text).toBe('output');
  onUpgrade = (_, socket) =>
    socket.end('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
  const headers = { Connection: 'Upgrade', Upgrade: 'tcp' };
  const call = open('POST', `/v1.41/exec/${execId}.${far}/start`, headers);
  call.end();
  await once(call, 'upgrade');
  expect(asked).toEqual([
    `GET /${spoken}/containers/${containerId}/top`,
    `GET /containers/${containerId}/top`,
    `POST /${spoken}/exec/${execId}/start`,
  ]);
});

test('exec instances are called so that any manager finds them', async () => {
  behaviour = (_, reply) => reply.writeHead(201).end(JSON.stringify({ Id: execId }));
  const made = await api.call('POST', `/containers/${containerId}/exec`, { Cmd: ['true'] });
  expect(made).toMatchObject({ status: 201, json: { Id: `${execId}.${far}` } });
  const { Id: id } = made.json as { Id: string };
  expect((await api.call('GET', `/exec/${id}/json`)).json).toMatchObject({ ID: id, ExitCode: 7 });
  expect((await api.call('GET', `/containers/${containerId}/json`)).json).toMatchObject({ ExecIDs: [id] });
  behaviour = (_, reply) => reply.end();
  expect((await api.call('POST', `/exec/${id}/start`, { Detach: true })).status).toBe(200);
  expect(asked).toEqual([`POST /containers/${containerId}/exec`, `POST /exec/${execId}/start`]);
});

test('what changes a container is refused', async () => {
  for (const [method, operation] of [
    ['POST', '/stop'],
    ['POST', '/restart'],
    ['POST', '/update'],
    ['DELETE', ''],
  ] as const)
    expect(await api.call(method, `/containers/${containerId}${operation}`)).toMatchObject({
      status: 400,
      json: {
        message:
          `container web.1.${taskId} is of service web and runs on node far-1: change it by its service, ` +
          'or on that node',
      },
    });
  expect(asked).toEqual([]);
});

test('megabytes pass both ways, byte by byte', async () => {
  const sent = randomBytes(6 * 1024 * 1024);
  behaviour = (received, reply) => void received.pipe(reply);
  const reply = await api.call('PUT', `/containers/${containerId}/archive?path=%2F`, sent);
  expect(reply.bytes.equals(sent)).toBe(true);
});

test('a connection that changes protocol says its last word after it has heard the other’s', async () => {
  onUpgrade = (_, socket) => {
    socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
    const heard = new Collector(socket);
    socket.once('end', () => socket.end(frame(1, `heard ${heard.text}`)));
  };
  const call = open('POST', `/exec/${execId}.${far}/start`, { Connection: 'Upgrade', Upgrade: 'tcp' });
  call.end();
  const [, socket] = (await once(call, 'upgrade')) as [IncomingMessage, Duplex];
  socket.end('stdin');
  const output = new Collector(socket);
  await once(socket, 'end');
  expect(output.text).toBe(frame(1, 'heard stdin').toString());
});

test('a reader that does not read stops the writer', async () => {
  let written = 0;
  const chunk = Buffer.alloc(64 * 1024);
  behaviour = (_, reply) => {
    const write = (): void => {
      do written += chunk.length;
      while (!reply.destroyed && reply.write(chunk));
    };
    reply.on('drain', write);
    write();
  };
  const call = open('GET', `/containers/${containerId}/logs?follow=1`);
  call.end();
  await once(call, 'response');
  let before = -1;
  await expect
    .poll(
      () => {
        const isStill = written === before;
        before = written;
        return isStill && written > 0;
      },
      { timeout: 4_000, interval: 200 },
    )
    .toBe(true);
  expect(written).toBeLessThan(8 * 1024 * 1024);
  call.destroy();
});

/** A followed log of which something has been read. */
async function followed(
  first: Buffer,
): Promise<{ output: Collector; engineGone: Promise<unknown>; hangUp: () => void }> {
  let gone: (value: unknown) => void = () => undefined;
  const engineGone = new Promise((resolve) => (gone = resolve));
  behaviour = (_, reply) => {
    reply.on('close', gone);
    reply.write(first);
  };
  const call = open('GET', `/containers/${containerId}/logs?follow=1`);
  call.on('error', () => undefined);
  call.end();
  const [answer] = (await once(call, 'response')) as [IncomingMessage];
  const output = new Collector(answer);
  await output.until('hello');
  return { output, engineGone, hangUp: () => call.destroy() };
}

test('a client that hangs up ends the request at the engine', async () => {
  const { engineGone, hangUp } = await followed(frame(1, 'hello'));
  hangUp();
  await engineGone;
});

test('a node that is lost is named in the stream', async () => {
  const { output } = await followed(frame(1, 'hello'));
  tunnels.close();
  await output.until('the connection to node far-1 was lost');
  expect(output.text).toContain(frame(3, 'the connection to node far-1 was lost').toString());
});

test('a node that is lost in a terminal is named on a line', async () => {
  const { output } = await followed(Buffer.from('$ hello'));
  tunnels.close();
  expect(await output.until('lost')).toBe('$ hello\r\nthe connection to node far-1 was lost\r\n');
});

test('a connection outlasts its session, but not a node that is down', async () => {
  const { output, engineGone } = await followed(frame(1, 'hello'));
  endSession();
  expect(output.text).not.toContain('lost');
  await api.store.update((tx) => {
    const gone = tx.get('node', far)!;
    tx.update('node', { ...gone, status: { ...gone.status, state: 'down' } });
  });
  await output.until('lost');
  await engineGone;
  expect(await api.call('GET', `/containers/${containerId}/logs`)).toMatchObject({
    status: 503,
    json: { message: 'node far-1 is down' },
  });
});

test('a node between two sessions is waited for', async () => {
  behaviour = (_, reply) => reply.end('here');
  await stopListening();
  const asking = api.call('GET', `/containers/${containerId}/logs`);
  listenForTunnels();
  expect(await asking).toMatchObject({ status: 200, text: 'here' });
});

test('connections to one node are bounded', async () => {
  const { signal } = new AbortController();
  const held: Duplex[] = [];
  for (let i = 0; i < tunnelsOfNodeMax; i++) held.push(await api.openTunnel(far, signal));
  expect(await api.call('GET', `/containers/${containerId}/logs`)).toMatchObject({
    status: 503,
    json: { message: 'node far-1 has 64 connections to its containers open, and takes no more' },
  });
  for (const each of held) each.destroy();
  behaviour = (_, reply) => reply.end('output');
  await expect.poll(() => api.call('GET', `/containers/${containerId}/logs`)).toMatchObject({ status: 200 });
});

describe('a manager gets nothing else of the node', () => {
  /** What the node answers a manager that asks for it. */
  async function ask(method: string, path: string, sent = ''): Promise<number> {
    const tunnel = await api.openTunnel(far, new AbortController().signal);
    const call = request({ createConnection: () => tunnel, method, path });
    call.end(sent);
    const [answer] = (await once(call, 'response')) as [IncomingMessage];
    await body(answer);
    tunnel.destroy();
    return answer.statusCode ?? 0;
  }
  test.each([
    ['GET', '/info', 403],
    ['GET', '/containers/json', 403],
    ['POST', '/containers/create', 403],
    ['POST', `/containers/${containerId}/stop`, 403],
    ['DELETE', `/containers/${containerId}`, 403],
    ['GET', `/containers/${containerId}/../../info`, 403],
    ['GET', `/containers/${containerId}%2F..%2F..%2Finfo`, 403],
    ['GET', `/containers/${containerId.slice(0, 12)}/logs`, 403],
    ['GET', `/containers/${'0'.repeat(64)}/logs`, 404],
    ['GET', `/containers/${strangerId}/logs`, 404],
    ['POST', `/exec/${'0'.repeat(64)}/start`, 404],
  ])('%s %s', async (method, path, status) => {
    expect(await ask(method, path)).toBe(status);
    expect(asked).toEqual([]);
  });

  test.each([
    ['{"Cmd":["sh"],"Privileged":true}', 403],
    ['{"cmd":["sh"],"privileged":true}', 403],
    ['{"Privileged":true} and more', 400],
    ['{"Privileged":false,"Cmd":["sh"]}', 201],
  ])('an exec of %s', async (sent, status) => {
    behaviour = (_, reply) => reply.writeHead(201).end('{}');
    expect(await ask('POST', `/containers/${containerId}/exec`, sent)).toBe(status);
    expect(asked).toHaveLength(status === 201 ? 1 : 0);
  });
});
