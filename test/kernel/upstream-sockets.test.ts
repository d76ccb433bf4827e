/** The sockets that resolvers are asked from: which are used again, and which are not. */
import dgram from 'node:dgram';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { UpstreamSockets } from '../../src/dataplane/dns/upstream-sockets.js';
import type { Upstream } from '../../src/dataplane/dns/upstream-sockets.js';

let server: dgram.Socket;
let upstream: Upstream;
let sockets: UpstreamSockets;
/** Ports that questions came from, in their order. */
let ports: number[];
/** Questions that are not answered, with where their answer would go. */
let held: { readonly text: string; readonly port: number }[];

beforeEach(async () => {
  [ports, held, sockets] = [[], [], new UpstreamSockets()];
  server = dgram.createSocket('udp4');
  server.on('message', (message, { port, address }) => {
    ports.push(port);
    const text = message.toString();
    if (text.startsWith('hold')) held.push({ text, port });
    else server.send(message, port, address);
  });
  await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
  upstream = { address: '127.0.0.1', port: server.address().port };
});

afterEach(() => {
  sockets[Symbol.dispose]();
  server.close();
});

/** The answer's text. */
const ask = async (text: string, deadlineMs = 2_000): Promise<string | undefined> =>
  (
    await sockets.ask(upstream, Buffer.from(text), (received) => received.toString() === text, deadlineMs)
  )?.toString();

test('one is used again, for one question at a time', async () => {
  for (const text of ['one', 'two', 'three']) expect(await ask(text)).toBe(text);
  expect(new Set(ports).size).toBe(1);
  expect(await Promise.all(['four', 'five'].map((text) => ask(text)))).toEqual(['four', 'five']);
  expect(new Set(ports).size).toBe(2);
});

test('one whose question was not answered is not, and an answer that comes late is nobody’s', async () => {
  expect(await ask('hold one', 50)).toBeUndefined();
  const [late] = held;
  server.send('hold one', late?.port ?? 0, '127.0.0.1');
  expect(await ask('two')).toBe('two');
  expect(new Set(ports).size).toBe(2);
});

test('a port is seen by a bounded number of questions', async () => {
  for (let question = 0; question < 130; question += 1) await ask(`question ${question}`);
  expect(new Set(ports).size).toBe(3);
});

test('a resolver that refuses is no answer, at once', async () => {
  const closed = dgram.createSocket('udp4');
  await new Promise<void>((resolve) => closed.bind(0, '127.0.0.1', resolve));
  const { port } = closed.address();
  await new Promise<void>((resolve) => closed.close(resolve));
  const begun = performance.now();
  expect(await sockets.ask({ address: '127.0.0.1', port }, Buffer.from('x'), () => true, 10_000)).toBeNull();
  expect(performance.now() - begun).toBeLessThan(5_000);
});
