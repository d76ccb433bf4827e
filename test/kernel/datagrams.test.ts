/** Many datagrams at a time: what is taken of a socket, and what becomes of the answers. */
import dgram from 'node:dgram';
import { once } from 'node:events';
import { closeSync, readdirSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { AnswerDatagram } from '../../src/dataplane/dns/datagrams.js';
import { DatagramSocket, datagramsPerTurn } from '../../src/dataplane/dns/datagrams.js';
import { native } from '../../src/runtime/native.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { TestNetns } from '../support/netns.js';

const port = 94;
let undo: CleanupStack;
let netns: TestNetns;

beforeEach(async () => {
  undo = new CleanupStack();
  netns = undo.use(TestNetns.create());
  await netns.ip('link set lo up');
});
afterEach(() => undo[Symbol.asyncDispose]());

function serve(address: string, answer: AnswerDatagram): DatagramSocket {
  const socket = new DatagramSocket(native().bindInNetns(netns.path, 'udp', address, port), answer, (err) => {
    throw err;
  });
  undo.defer(() => socket.close());
  return socket;
}

interface Client {
  readonly received: string[];
  send(text: string, to: string): void;
}

async function client(address: string): Promise<Client> {
  const socket = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4');
  undo.defer(() => socket.close());
  const received: string[] = [];
  socket.on('message', (message) => received.push(message.toString()));
  const listening = once(socket, 'listening');
  socket.bind({ fd: native().bindInNetns(netns.path, 'udp', address, 0) });
  await listening;
  return { received, send: (text, to) => socket.send(text, port, to) };
}

test.each(['127.0.0.1', '::1'])('each at %s gets the answer to what it asked', async (address) => {
  serve(address, (message, from) => Buffer.from(`${message.toString()} of ${from()}`));
  const clients = await Promise.all(Array.from({ length: 5 }, () => client(address)));
  const texts = (of: number): string[] => Array.from({ length: 40 }, (_, index) => `${of}-${index}`);
  for (const [of, one] of clients.entries()) for (const text of texts(of)) one.send(text, address);
  for (const [of, one] of clients.entries())
    await expect.poll(() => one.received).toEqual(texts(of).map((text) => `${text} of ${address}`));
});

test('an answer that cannot be sent is lost, and no other; neither is one that comes later', async () => {
  serve('127.0.0.1', (message) => {
    const text = message.toString();
    if (text === 'silent') return null;
    if (text === 'late') return new Promise((resolve) => setImmediate(() => resolve(Buffer.from('late'))));
    // One octet more than UDP over IPv4 takes.
    return text === 'long' ? Buffer.alloc(65_508) : Buffer.from(text);
  });
  const one = await client('127.0.0.1');
  for (const text of ['long', 'a', 'late', 'long', 'b', 'silent', '', 'c', 'long'])
    one.send(text, '127.0.0.1');
  await expect.poll(() => [...one.received].sort()).toEqual(['a', 'b', 'c', 'late']);
});

test('a datagram is whole however long it is', async () => {
  serve('127.0.0.1', (message) => Buffer.from(`${message.length} ${message.at(-1)}`));
  const one = await client('127.0.0.1');
  // The last in the room of the first, then one whose octets would show behind it.
  for (const text of ['x'.repeat(65_507), 'y', 'z'.repeat(4_097)]) one.send(text, '127.0.0.1');
  await expect.poll(() => one.received).toEqual(['65507 120', '1 121', '4097 122']);
});

test('a socket that is never empty leaves the others their turns', async () => {
  const turns: string[] = [];
  const answer = (of: string): AnswerDatagram => {
    return () => {
      turns.push(of);
      return null;
    };
  };
  await netns.ip('addr add 192.0.2.1/32 dev lo');
  const senders = [await client('127.0.0.1'), await client('192.0.2.1')] as const;
  serve('127.0.0.1', answer('full'));
  serve('192.0.2.1', answer('other'));
  for (let sent = 0; sent < 4 * datagramsPerTurn; sent++) senders[0].send('x', '127.0.0.1');
  senders[1].send('x', '192.0.2.1');
  await expect.poll(() => turns.length).toBe(4 * datagramsPerTurn + 1);
  expect(turns.indexOf('other')).toBeLessThanOrEqual(datagramsPerTurn);
});

test.each<[string, number, (pausesMs: readonly number[]) => void]>([
  [
    'who has many questions under way is given time for more',
    10,
    (pausesMs) => expect(Math.min(...pausesMs)).toBeGreaterThanOrEqual(0.2),
  ],
  [
    'who has a few is not waited for',
    7,
    // This machine may be busy now and then, but not each time.
    (pausesMs) => expect(Math.min(...pausesMs)).toBeLessThan(0.2),
  ],
  [
    'nor is who fills each turn',
    datagramsPerTurn,
    (pausesMs) => expect(Math.min(...pausesMs)).toBeLessThan(0.2),
  ],
])('%s', async (_, count, holds) => {
  const fd = native().bindInNetns(netns.path, 'udp', '127.0.0.1', 0);
  undo.defer(() => closeSync(fd));
  // A sockaddr_in: AF_INET, the port and the address.
  const to = Buffer.from([2, 0, 0, port, 127, 0, 0, 1, ...new Uint8Array(20)]);
  const pausesMs: number[] = [];
  let [heard, answeredMs] = [0, 0];
  // In the kernel when it returns.
  const send = (): void => {
    for (let sent = 0; sent < count; sent++) native().send(fd, Buffer.from('x'), to);
  };
  serve('127.0.0.1', () => {
    heard += 1;
    if (answeredMs > 0) pausesMs.push(performance.now() - answeredMs);
    answeredMs = 0;
    if (heard % count > 0) return null;
    // The next ones are there before they are asked for.
    if (pausesMs.length < 50) send();
    answeredMs = performance.now();
    return null;
  });
  send();
  await expect.poll(() => pausesMs.length, { timeout: 10_000 }).toBe(50);
  holds(pausesMs);
});

test('closed while it answers, it sends nothing more and keeps no descriptor', async () => {
  const one = await client('127.0.0.1');
  const before = readdirSync('/proc/self/fd').length;
  let answered = 0;
  const socket = serve('127.0.0.1', () => {
    answered += 1;
    socket.close();
    socket.close();
    return Buffer.from('said after all');
  });
  one.send('x', '127.0.0.1');
  await expect.poll(() => answered).toBe(1);
  expect(readdirSync('/proc/self/fd').length).toBe(before);
  serve('127.0.0.1', (message) => message);
  one.send('y', '127.0.0.1');
  await expect.poll(() => one.received).toEqual(['y']);
});

test('what has not the form of a batch is refused, and the descriptor left to its owner', () => {
  const fd = native().bindInNetns(netns.path, 'udp', '127.0.0.1', port);
  const onReadable = (): void => undefined;
  const wrong = [
    [Buffer.alloc(10), new Uint32Array(0), Buffer.alloc(0)],
    [Buffer.alloc(65), new Uint32Array(65), Buffer.alloc(65 * 28)],
    [Buffer.alloc(11), new Uint32Array(2), Buffer.alloc(56)],
    [Buffer.alloc(10), new Uint32Array(2), Buffer.alloc(55)],
  ] as const;
  for (const parts of wrong)
    expect(() => native().answerDatagrams(fd, ...parts, onReadable)).toThrow(TypeError);
  undo.use(dgramOf(fd));
});

/** Takes the descriptor over, which fails unless it is open. */
function dgramOf(fd: number): Disposable {
  const socket = dgram.createSocket('udp4');
  socket.bind({ fd });
  return { [Symbol.dispose]: () => socket.close() };
}
