/**
 * Hostile and broken HTTP at the API's socket, from a seed (SKEP_SEED): nothing changes, nothing of the inside is told, every answer is
 * one of Docker's, and whoever asks properly is answered meanwhile.
 */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { seededNumbers } from '../../support/cluster-objects.js';
import { Harness } from './harness.js';
import type { Reply } from './harness.js';

const seed = Number(process.env['SKEP_SEED'] ?? 1);
const mutationsMsMax = Number(process.env['SKEP_FUZZ_MS'] ?? 6_000);
/** Of the heap, over all that is done here. */
const growthBytesMax = 96 * 1024 * 1024;
const headersMsMax = 2_000;
const bodyMsMax = 2_000;

let harness: Harness;
beforeEach(async () => {
  harness = await Harness.start((made) => (made.limits = { headersMsMax, bodyMsMax }));
});
afterEach(() => harness[Symbol.asyncDispose]());

const next = seededNumbers(seed);
const below = (limit: number): number => Math.floor(next() * limit);
const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T;

/** What a client of each kind would really say. */
const valid: readonly (readonly [string, string, object])[] = [
  [
    'POST',
    '/services/create',
    {
      Name: 'web',
      Labels: { a: 'b' },
      TaskTemplate: {
        ContainerSpec: {
          Image: 'nginx:1',
          Env: ['A=B'],
          Args: ['x'],
          Mounts: [],
          Healthcheck: { Test: ['NONE'], Interval: 1e9 },
        },
        Resources: { Limits: { NanoCPUs: 1e9, MemoryBytes: 1e8 }, Reservations: {} },
        RestartPolicy: { Condition: 'any', Delay: 5e9, MaxAttempts: 3, Window: 0 },
        Placement: {
          Constraints: ['node.role==manager'],
          Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.a' } }],
        },
        Networks: [{ Target: 'ingress', Aliases: ['x'] }],
        ForceUpdate: 0,
      },
      Mode: { Replicated: { Replicas: 2 } },
      UpdateConfig: {
        Parallelism: 1,
        Delay: 1e9,
        FailureAction: 'pause',
        Monitor: 5e9,
        MaxFailureRatio: 0.5,
        Order: 'stop-first',
      },
      EndpointSpec: {
        Mode: 'vip',
        Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' }],
      },
    },
  ],
  [
    'POST',
    '/networks/create',
    {
      Name: 'net',
      Driver: 'overlay',
      Attachable: true,
      Options: { a: 'b' },
      Labels: {},
      IPAM: { Driver: 'default', Config: [{ Subnet: '10.7.0.0/24', Gateway: '10.7.0.1' }] },
    },
  ],
  [
    'POST',
    '/swarm/update?version=1',
    {
      Name: 'default',
      Labels: {},
      Orchestration: { TaskHistoryRetentionLimit: 5 },
      Raft: { SnapshotInterval: 10000 },
      Dispatcher: { HeartbeatPeriod: 5e9 },
      CAConfig: { NodeCertExpiry: 7776e12 },
      EncryptionConfig: { AutoLockManagers: false },
    },
  ],
  [
    'POST',
    '/swarm/join',
    {
      ListenAddr: '0.0.0.0:2377',
      AdvertiseAddr: '10.0.0.9',
      RemoteAddrs: ['10.0.0.1:2377'],
      JoinToken: 'SWMTKN-1-x-y',
    },
  ],
  [
    'POST',
    '/nodes/nodeaaaaaaaaaaaaaaaaaaaaa/update?version=1',
    { Name: 'n', Labels: { rack: '2' }, Role: 'manager', Availability: 'drain' },
  ],
  [
    'POST',
    '/containers/create?name=box',
    {
      Image: 'nginx',
      HostConfig: { NetworkMode: 'ingress' },
      NetworkingConfig: {
        EndpointsConfig: { ingress: { IPAMConfig: { IPv4Address: '10.0.0.7' }, Aliases: ['a'] } },
      },
    },
  ],
  [
    'POST',
    '/networks/ingress/connect',
    { Container: 'box', EndpointConfig: { IPAMConfig: {}, Aliases: ['a'] } },
  ],
  ['POST', '/networks/ingress/disconnect', { Container: 'box', Force: true }],
  ['POST', '/secrets/create', { Name: 's', Labels: {}, Data: 'cGxhbnRlZA==' }],
  ['POST', '/swarm/unlock', { UnlockKey: 'SWMKEY-1-x' }],
];
const reads = [
  '/services',
  '/tasks',
  '/nodes',
  '/networks',
  '/swarm',
  '/info',
  '/events?until=1',
  '/services/web/logs?stdout=1',
];

const deep = (levels: number): unknown => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
const odd = (): unknown =>
  pick<() => unknown>([
    () => null,
    () => true,
    () => -1,
    () => 1.5,
    () => 1e308,
    () => Number.MAX_SAFE_INTEGER * 4,
    () => '',
    () => '\u0000\ud800',
    () => 'x'.repeat(pick([10, 1_000, 100_000])),
    () => '../../../etc/passwd',
    () => '${SECRET}{{.Node.ID}}',
    () => [],
    () => ({}),
    () => [null, {}, [[]]],
    () => JSON.parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}') as unknown,
    () => deep(pick([5, 500, 4_000])),
    () => Object.fromEntries(Array.from({ length: 500 }, (_, at) => [`k${at}`, at])),
  ])();

/** The value with something else at one place of it. */
function mutated(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || next() < 0.1) return odd();
  if (Array.isArray(value)) {
    const at = below(value.length + 1);
    return value.length === 0
      ? [odd()]
      : value.map((each, index) => (index === at ? mutated(each) : (each as unknown)));
  }
  const keys = Object.keys(value);
  if (keys.length === 0 || next() < 0.05)
    return { ...value, [pick(['__proto__', 'constructor', 'Name', 'zzz', ''])]: odd() };
  const key = pick(keys);
  const rest = { ...value } as Record<string, unknown>;
  if (next() < 0.1) delete rest[key];
  else rest[key] = mutated(rest[key]);
  return rest;
}

/** The text with something broken in it. */
function broken(text: string): string {
  const at = below(text.length + 1);
  return pick([
    () => text.slice(0, at),
    () =>
      text.slice(0, at) + pick(['\u0000', '{', ']', '"', '\\', 'é\ud800', '1e99999', 'NaN']) + text.slice(at),
    () => text + text,
    () => text.replace(/:(\d+)/, `:${'9'.repeat(400)}`),
    () => '',
  ])();
}

/** None of ours, and no engine's: names of files, stacks, JavaScript's own words, secrets. */
const inside =
  /node_modules|\/src\/|\.[jt]s:\d|\n\s+at |Cannot (read|set|convert)|is not (a function|iterable|defined)|call stack|undefined|\[object|THE-ROOT-KEY|BigInt|Invalid (regular|array)/;

function check({ status, text, headers }: Pick<Reply, 'status' | 'text' | 'headers'>, about: string): void {
  expect(text, about).not.toMatch(inside);
  if (status < 400) return;
  expect(headers['content-type'], about).toBe('application/json');
  expect(JSON.parse(text), about).toEqual({ message: expect.stringMatching(/./) as string });
  // 500 is Docker's status for much that is the client's fault: update out of sequence, name conflicts.
  expect([400, 401, 403, 404, 405, 406, 408, 409, 413, 431, 500, 501, 503], about).toContain(status);
  expect(text, about).not.toMatch(/internal error/);
}

test(`requests that are wrong somewhere change nothing and are refused in Docker's way (seed ${seed})`, async () => {
  const heapBefore = heapBytes();
  const untilMs = performance.now() + mutationsMsMax;
  let [refused, count] = [0, 0];
  for (; performance.now() < untilMs; count++) {
    const [method, path, body] = pick(valid);
    const json = JSON.stringify(mutated(body));
    const text = next() < 0.25 ? broken(json) : json;
    const at = next() < 0.1 ? broken(path).replace(/[^\x21-\x7e]/g, '%00') || '/' : path;
    const before = harness.store.view();
    const other = next() < 0.05 ? pick(['PUT', 'PATCH', 'DELETE', 'HEAD']) : method;
    // Node's client gives the last two no length.
    const sent = ['DELETE', 'HEAD'].includes(other) ? undefined : text;
    const reply = await harness.call(other, at.startsWith('/') ? at : `/${at}`, sent);
    const about = `seed ${seed}, request ${count}: ${other} ${at} ${text.slice(0, 500)}`;
    if (reply.bytes.length > 0) check(reply, about);
    if (reply.status >= 400) {
      refused += 1;
      expect(harness.store.view(), about).toBe(before);
    }
    if (count % 50 === 0) check(await harness.call('GET', pick(reads)), 'a read');
  }
  expect(refused).toBeGreaterThan(count / 4);
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  expect(heapBytes() - heapBefore).toBeLessThan(growthBytesMax);
}, 60_000);

/** A connection by hand. @returns all that came, and when the other side ended it */
function raw(...parts: readonly (string | Buffer)[]): { socket: Socket; answer: Promise<string> } {
  const socket = connect(harness.socketPath);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', () => undefined);
  for (const part of parts) socket.write(part);
  const answer = new Promise<string>((resolve) =>
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1'))),
  );
  return { socket, answer };
}

const head = 'POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n';
const nonsense: readonly (readonly [string, string | Buffer, RegExp])[] = [
  ['no HTTP', Buffer.from(Array.from({ length: 4_096 }, () => below(256))), /^HTTP\/1.1 400 /],
  ['TLS', Buffer.from('16030100a5010000a10303', 'hex'), /^HTTP\/1.1 400 /],
  ['another version', 'GET / HTTP/9.9\r\n\r\n', /^HTTP\/1.1 400 /],
  ['a head without end', `GET /${'a'.repeat(2_000_000)}`, /^HTTP\/1.1 431 /],
  [
    'headers without end',
    `GET / HTTP/1.1\r\nHost: x\r\n${'a: b\r\n'.repeat(300_000)}`,
    /^HTTP\/1.1 4(31|08) /,
  ],
  ['two lengths', `${head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`, /^HTTP\/1.1 400 /],
  ['a negative length', `${head}Content-Length: -2\r\n\r\n{}`, /^HTTP\/1.1 400 /],
  [
    'length and chunks',
    `${head}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    /^HTTP\/1.1 400 /,
  ],
  ['chunks of no size', `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n`, /^HTTP\/1.1 400 /],
  [
    'a chunk of all there is',
    `${head}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}`,
    /^HTTP\/1.1 400 /,
  ],
  ['a smuggled line', 'GET / HTTP/1.1\r\nHost: x\r\nX: y\rz\r\n\r\n', /^HTTP\/1.1 400 /],
  [
    'a body too large',
    `${head}Content-Length: 9000000\r\n\r\n${'x'.repeat(9_000_000)}`,
    /^HTTP\/1.1 400 .*larger than/s,
  ],
  ['a slow head', 'GET /info HT', /^HTTP\/1.1 408 /],
  ['a slow body', `${head}Content-Length: 100\r\n\r\n{`, /^HTTP\/1.1 400 .*did not come in time/s],
  [
    'a slow chunk',
    `${head}Transfer-Encoding: chunked\r\n\r\n5\r\n{`,
    /^HTTP\/1.1 400 .*did not come in time/s,
  ],
  [
    'an upgrade of what is ours',
    'POST /swarm/init HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n',
    /^HTTP\/1.1 400 .*cannot be an upgrade/s,
  ],
];

test('what is no request, or comes too slowly, is refused and hung up on, while others are answered', async () => {
  const before = harness.store.view();
  const rounds = 8;
  const attacks = nonsense.flatMap(([name, bytes, expected]) =>
    Array.from({ length: rounds }, () => ({ name, expected, ...raw(bytes) })),
  );
  // Many requests in one go on one connection, the last of which ends it.
  const good = 'GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n';
  const pipelined = raw(good.repeat(500) + good.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
  for (let at = 0; at < 10; at++) {
    const startedMs = performance.now();
    expect((await harness.call('GET', '/services')).status).toBe(200);
    // One after the other the slow ones alone would take more than half a minute.
    expect(performance.now() - startedMs).toBeLessThan(8_000);
  }
  for (const { name, expected, answer } of attacks) {
    const text = await answer;
    expect(text, name).toMatch(expected);
    expect(text, name).not.toMatch(inside);
    const [, json = ''] = text.split('\r\n\r\n');
    expect(Object.keys(JSON.parse(json) as object), name).toEqual(['message']);
  }
  expect((await pipelined.answer).match(/HTTP\/1.1 200 OK/g)).toHaveLength(501);
  expect(harness.store.view()).toBe(before);
}, 30_000);

function heapBytes(): number {
  (globalThis as { gc?: () => void }).gc?.();
  return process.memoryUsage().heapUsed;
}
