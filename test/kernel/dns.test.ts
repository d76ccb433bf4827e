/** The DNS server in real namespaces: an overlay's bridge with a container on it, asked over the wire. */
import dgram from 'node:dgram';
import { readdirSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import dnsPacket from 'dns-packet';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Forwarder, framed } from '../../src/dataplane/dns/forwarder.js';
import type { Upstream } from '../../src/dataplane/dns/upstream-sockets.js';
import { DnsServer } from '../../src/dataplane/dns/server.js';
import { NameThread } from '../../src/dataplane/dns/thread.js';
import type { DnsQuery } from '../../src/dataplane/dns/wire.js';
import { parseQuery } from '../../src/dataplane/dns/wire.js';
import { nameAddress, namePort } from '../../src/dataplane/plan/names.js';
import type { Mac } from '../../src/model/addresses.js';
import { systemClock } from '../../src/runtime/clock.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { createLog } from '../../src/runtime/log.js';
import { endpoint, ip, overlay, service, state } from '../unit/dns/state.js';
import { TestNetns } from '../support/netns.js';

const own = ip('10.0.1.250');
const client = '10.0.1.9';
const many = Array.from({ length: 60 }, (_, i) => endpoint('big', i + 1, `10.0.1.${100 + i}`));
const front = overlay('front', 4097, '10.0.1', {
  services: [service('web', '10.0.1.2'), service('big')],
  endpoints: [endpoint('client', 1, client), endpoint('web', 1, '10.0.1.11'), ...many],
});
const whole = state(front);

let undo: CleanupStack;
let bridgeNetns: TestNetns;
let container: TestNetns;
let upstreams: Upstream[];
let server: DnsServer;

/** The overlay's namespace with br0, and a container's on it. */
beforeEach(async () => {
  undo = new CleanupStack();
  upstreams = [];
  container = undo.use(TestNetns.create());
  bridgeNetns = undo.use(TestNetns.create());
  // Until a namespace has had one address, the kernel takes any for broadcast and lets a socket bind to it.
  await bridgeNetns.ip('link set lo up');
  const path = bridgeNetns.path;
  server = undo.use(
    new DnsServer({
      log: createLog('dns-test'),
      forwarder: undo.use(new Forwarder(() => upstreams, systemClock)),
      netnsPath: () => path,
    }),
  );
});

afterEach(() => undo[Symbol.asyncDispose]());

async function build(): Promise<void> {
  await bridgeNetns.ip('link add br0 type bridge');
  await bridgeNetns.ip(`link add port type veth peer name eth0 netns ${container.name}`);
  await bridgeNetns.ip('link set port master br0 up');
  await bridgeNetns.ip(`addr add ${own}/24 dev br0`);
  await bridgeNetns.ip('link set br0 up');
  await container.ip(`addr add ${client}/24 dev eth0`);
  await container.ip('link set eth0 up');
}

/** Asks from inside the container with Node's own resolver (c-ares: UDP, then TCP when truncated). */
async function ask(
  method: 'resolve4' | 'resolve6' | 'reverse',
  name: string,
  server: string = own,
): Promise<unknown> {
  const script = `
    const resolver = new (require('node:dns').promises.Resolver)({ timeout: 5000, tries: 1 });
    resolver.setServers(['${server}']);
    resolver.${method}('${name}', ...('${method}' === 'resolve4' ? [{ ttl: true }] : [])).then(
      (answer) => console.log(JSON.stringify(answer)), (err) => console.log(JSON.stringify(err.code)));`;
  return JSON.parse(await container.run(process.execPath, '-e', script));
}

test('opens when told that the namespace is ready, and answers what the state says', async () => {
  server.setNetwork(whole, []);
  expect(server.status()).toMatchObject([{ listening: false, error: 'EADDRNOTAVAIL' }]);
  await build();
  server.retry();
  expect(server.status()).toEqual([{ overlayId: front.id, address: own, listening: true, error: null }]);

  expect(await ask('resolve4', 'WEB')).toEqual([{ address: '10.0.1.2', ttl: 2 }]);
  expect(await ask('resolve4', 'tasks.web.front')).toEqual([{ address: '10.0.1.11', ttl: 2 }]);
  expect(await ask('reverse', '10.0.1.11')).toEqual(['web.1.t1.front']);
  expect(await ask('resolve6', 'web')).toBe('ENODATA');
  const big = (await ask('resolve4', 'tasks.big')) as { address: string }[];
  expect(big.map(({ address }) => address).sort()).toEqual(
    many.map(({ address }) => address as string).sort(),
  );

  server.setNetwork(state({ ...front, services: [service('web', '10.0.1.3')] }), []);
  expect(await ask('resolve4', 'web')).toEqual([{ address: '10.0.1.3', ttl: 2 }]);
});

test('inside a container an answer is kept while the state stands, and no longer', async () => {
  await container.ip('link set lo up');
  const leg = { endpointId: '0'.repeat(64), overlayId: front.id, address: ip(client) };
  const legs = [{ ...leg, mac: '02:42:0a:00:01:09' as Mac, sandboxKey: container.path }];
  server.setNetwork(whole, legs);
  expect(server.openSandbox(container.path)).toBe(true);
  const asked = (): Promise<unknown> => ask('resolve4', 'web', `${nameAddress}:${namePort}`);
  for (let time = 0; time < 3; time++) expect(await asked()).toEqual([{ address: '10.0.1.2', ttl: 2 }]);
  server.setNetwork(state({ ...front, services: [service('web', '10.0.1.3')] }), legs);
  expect(await asked()).toEqual([{ address: '10.0.1.3', ttl: 2 }]);
  server.setNetwork(state({ ...front, services: [] }), legs);
  expect(await asked()).not.toMatchObject([{ address: '10.0.1.3' }]);
  server.closeSandbox(container.path);
});

test('questions are counted by type and outcome, those that get a kept answer as well', async () => {
  await container.ip('link set lo up');
  const leg = { endpointId: '0'.repeat(64), overlayId: front.id, address: ip(client) };
  server.setNetwork(whole, [{ ...leg, mac: '02:42:0a:00:01:09' as Mac, sandboxKey: container.path }]);
  expect(server.openSandbox(container.path)).toBe(true);
  const at = `${nameAddress}:${namePort}`;
  for (let time = 0; time < 3; time++) await ask('resolve4', 'web', at);
  await ask('resolve6', 'web', at);
  expect(await ask('reverse', '10.0.1.99', at)).toBe('ENOTFOUND');
  expect(await ask('resolve4', 'nobody', at)).toBe('ENOTFOUND');
  const { queries, seconds, listeners, dropped } = server.figures();
  expect(queries).toEqual([
    { type: 'A', outcome: 'answered', count: 3 },
    { type: 'A', outcome: 'forwarded', count: 1 },
    { type: 'AAAA', outcome: 'empty', count: 1 },
    { type: 'PTR', outcome: 'unknown', count: 1 },
  ]);
  expect(seconds.resolvers.counts.reduce((sum, count) => sum + count)).toBe(1);
  // The overlay's namespace has no bridge here.
  expect([listeners, dropped]).toEqual([{ open: 1, closed: 1 }, 0]);
  server.closeSandbox(container.path);
});

test('the thread of names tells what is counted there, and no more once it has ended', async () => {
  const failures: unknown[] = [];
  const names = { netnsDirectory: '/nonexistent', resolvConf: '/etc/resolv.conf', logName: 'dns-test' };
  const thread = new NameThread(names, (err) => failures.push(err));
  thread.setNetwork(whole, []);
  expect(await thread.figures()).toMatchObject({
    queries: [],
    dropped: 0,
    listeners: { open: 0, closed: 1 },
  });
  await thread[Symbol.asyncDispose]();
  await expect(thread.figures()).rejects.toThrow('has ended');
  expect(failures).toEqual([]);
});

test('wants no listener on ingress, where one could never open', () => {
  server.setNetwork(state({ ...front, ingress: true }), []);
  expect(server.status()).toEqual([]);
  expect(server.retry()).toBe(true);
});

test('busybox’s resolver reads the answers too', async () => {
  await build();
  server.setNetwork(whole, []);
  const text = await container.run('busybox', 'nslookup', '-type=a', 'web', own);
  expect(text).toMatch(/Name:\s+web\s+Address: 10\.0\.1\.2\b/);
});

test('forwards the rest, once for questions alike, and says SERVFAIL when nobody answers', async () => {
  await build();
  server.setNetwork(whole, []);
  let asked = 0;
  const upstream = dgram.createSocket('udp4');
  undo.defer(() => upstream.close());
  upstream.on('message', (message, { port, address }) => {
    asked += 1;
    const { id, questions } = dnsPacket.decode(message);
    const [question] = questions ?? [];
    if (!id || !question) return;
    const answers = [{ type: 'A' as const, name: question.name, ttl: 60, data: '192.0.2.7' }];
    upstream.send(dnsPacket.encode({ type: 'response', id, questions: [question], answers }), port, address);
  });
  await new Promise<void>((resolve) => upstream.bind(0, '127.0.0.1', resolve));
  upstreams = [{ address: '127.0.0.1', port: upstream.address().port }];
  expect(await ask('resolve4', 'example.test')).toEqual([{ address: '192.0.2.7', ttl: 60 }]);
  expect(await ask('resolve4', 'EXAMPLE.test')).toMatchObject([{ address: '192.0.2.7' }]);
  expect(asked).toBe(1);
  upstreams = [];
  expect(await ask('resolve4', 'other.test')).toBe('ESERVFAIL');
  // A single label is none of the world's names.
  expect(await ask('resolve4', 'nosuch')).toBe('ENOTFOUND');
});

/** A question as a client asks it. */
function questionFor(name: string): DnsQuery {
  const parsed = parseQuery(dnsPacket.encode({ type: 'query', id: 7, questions: [{ type: 'A', name }] }));
  if (parsed.kind !== 'query') throw new Error(parsed.kind);
  return parsed.query;
}

test('questions alike at the same time are one; what a resolver cuts short is asked for again by TCP', async () => {
  const asked: string[] = [];
  const answer = (by: string, message: Buffer, more: object): Buffer => {
    const { id, questions } = dnsPacket.decode(message);
    const [question] = questions ?? [];
    asked.push(`${by} ${question?.name}`);
    return dnsPacket.encode({ type: 'response', id: id ?? 0, questions: questions ?? [], ...more });
  };
  const byTcp = createServer((connection) =>
    connection.once('data', (data: Buffer) => {
      const name = 'many.test';
      const answers = many.map(({ address }) => ({ type: 'A' as const, name, ttl: 60, data: address }));
      connection.end(framed(answer('tcp', data.subarray(2), { answers })));
    }),
  );
  undo.defer(() => void byTcp.close());
  await new Promise<void>((resolve) => byTcp.listen(0, '127.0.0.1', resolve));
  const { port } = byTcp.address() as AddressInfo;
  const byUdp = dgram.createSocket('udp4');
  undo.defer(() => byUdp.close());
  await new Promise<void>((resolve) => byUdp.bind(port, '127.0.0.1', resolve));
  byUdp.on('message', (message, from) =>
    byUdp.send(answer('udp', message, { flags: dnsPacket.TRUNCATED_RESPONSE }), from.port, from.address),
  );
  using forwarder = new Forwarder(() => [{ address: '127.0.0.1', port }], systemClock);
  const answers = await Promise.all(
    ['one', 'other', 'third'].map((asker) =>
      forwarder.forward(questionFor('many.test'), 'tcp', asker, 'serverFailure'),
    ),
  );
  expect(asked).toEqual(['tcp many.test']);
  using other = new Forwarder(() => [{ address: '127.0.0.1', port }], systemClock);
  const cut = await other.forward(questionFor('many.test'), 'udp', 'one', 'serverFailure');
  expect(asked).toEqual(['tcp many.test', 'udp many.test', 'tcp many.test']);
  for (const whole of answers) expect(dnsPacket.decode(whole).answers).toHaveLength(many.length);
  // Sixty do not fit the client's 512 octets either: it is sent to TCP in its turn, and the answer is there by then.
  expect(dnsPacket.decode(cut)).toMatchObject({ flag_tc: true, answers: [] });
});

test('a resolver that says nothing is given up after its deadline, the next one asked', async () => {
  await build();
  server.setNetwork(whole, []);
  const silent = dgram.createSocket('udp4');
  undo.defer(() => silent.close());
  await new Promise<void>((resolve) => silent.bind(0, '127.0.0.1', resolve));
  // Nothing listens on the second one: refused at once.
  upstreams = [
    { address: '127.0.0.1', port: silent.address().port },
    { address: '127.0.0.1', port: 1 },
  ];
  const started = performance.now();
  expect(await ask('resolve4', 'slow.test')).toBe('ESERVFAIL');
  const tookMs = performance.now() - started;
  expect(tookMs).toBeGreaterThan(1900);
  expect(tookMs).toBeLessThan(4500);
});

test('a replaced namespace is noticed, a dropped overlay closed, no descriptor kept', async () => {
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  await build();
  const before = descriptors();
  server.setNetwork(whole, []);
  expect(await ask('resolve4', 'web')).toEqual([{ address: '10.0.1.2', ttl: 2 }]);
  server.setNetwork(state(), []);
  expect(server.status()).toEqual([]);
  expect(await ask('resolve4', 'web')).toBe('ECONNREFUSED');
  expect(descriptors()).toBe(before);

  server.setNetwork(whole, []);
  await bridgeNetns[Symbol.asyncDispose]();
  server.retry();
  expect(server.status()).toMatchObject([{ listening: false, error: 'ENOENT' }]);
  expect(descriptors()).toBe(before);
});

test('a TCP client that sends half a question is cut off without harm to others', async () => {
  await build();
  server.setNetwork(whole, []);
  const half = container.run(
    process.execPath,
    '-e',
    `const s = require('node:net').connect(53, '${own}', () => s.write(Buffer.from([0, 40, 1])));
     const started = Date.now(); s.on('error', () => {}); s.on('close', () => console.log(Date.now() - started));`,
  );
  expect(await ask('resolve4', 'web')).toEqual([{ address: '10.0.1.2', ttl: 2 }]);
  expect(Number(await half)).toBeLessThan(8000);
});
