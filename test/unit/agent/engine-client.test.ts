/** The client of the Docker Engine where the engine's network driver goes away during a call. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Engine, EngineError } from '../../../src/controlplane/dockerd/client.js';
import { lostRequest } from '../../../src/model/driver-call.js';

let directory: string;
let server: Server;
let engine: Engine;
/** What the engine refuses with, call by call; afterwards it does what it is asked. */
let refusals: string[];
let asked: string[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-engine-'));
  refusals = [];
  asked = [];
  server = createServer((request, response) => {
    asked.push((request.url ?? '').replace(/\?.*/, ''));
    const message = refusals.shift();
    if (message === undefined && request.url?.endsWith('/start')) return response.writeHead(204).end();
    if (message === undefined) return response.writeHead(201).end('{"Id":"n1"}');
    response.writeHead(500, { 'content-type': 'application/json' }).end(JSON.stringify({ message }));
  });
  const path = join(directory, 'docker.sock');
  await new Promise<void>((done) => server.listen(path, done));
  engine = new Engine(`unix://${path}`);
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(directory, { recursive: true });
});

const lost = `failed to create endpoint web.1 on network mynet: remote: ${lostRequest}`;
const away =
  'Post "http://%2Frun%2Fdocker%2Fplugins%2Fskep.sock/NetworkDriver.Join": dial unix /run/docker/plugins/skep.sock: connect: connection refused';
const calls: readonly (readonly [path: string, call: () => Promise<unknown>])[] = [
  ['/containers/c1/start', () => engine.startContainer('c1')],
  ['/networks/mynet/connect', () => engine.connectNetwork('mynet', 'c1', {})],
  ['/networks/create', () => engine.createNetwork({ Name: 'mynet' })],
];

test.each(calls)('%s is made again, a few times at most', async (path, call) => {
  refusals = [lost, away];
  await call();
  expect(asked).toEqual([path, path, path]);
  refusals = [away, lost, lost, lost];
  await expect(call()).rejects.toThrow(lostRequest);
  expect(refusals).toHaveLength(1);
});

test.each(calls)('%s is not made again where the driver itself refused', async (path, call) => {
  refusals = ['failed to create endpoint: remote: address 10.0.0.9 is not assigned to this node', lost];
  await expect(call()).rejects.toMatchObject({
    constructor: EngineError,
    retryable: false,
    message: 'failed to create endpoint: remote: address 10.0.0.9 is not assigned to this node',
  });
  expect(asked).toEqual([path]);
});
