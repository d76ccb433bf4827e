/** `/events` as clients get it: the engine's and the swarm's in one stream. */
import { once } from 'node:events';
import { request } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { NetworkId } from '../../../src/model/ids.js';
import { node } from '../../support/cluster-objects.js';
import { Collector, Harness, filters, nodeId } from './harness.js';

/** What the engine of the test was asked, and its answers that have not ended. */
let asked: URLSearchParams[];
let open: ServerResponse[];
/** What it remembers, and which networks it has. */
let remembered: string[];
let networks: object[];

let api: Harness;
beforeEach(async () => {
  [asked, open, remembered, networks] = [[], [], [], []];
  api = await Harness.start();
  api.behaviour = ({ url = '' }, reply) => {
    if (url.startsWith('/networks')) return void reply.end(JSON.stringify(networks));
    const query = new URLSearchParams(url.split('?')[1]);
    asked.push(query);
    reply.writeHead(200, { 'Content-Type': 'application/json' });
    reply.flushHeaders();
    if (Number(query.get('until') || Infinity) <= Date.now() / 1000)
      return void reply.end(remembered.join(''));
    open.push(reply);
  };
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

const container = (action: string, atSeconds: number): string =>
  `{"status":"${action}","id":"c1","from":"busybox","Type":"container","Action":"${action}","Actor":{"ID":"c1","Attributes":{"name":"web.1.x"}},` +
  `"scope":"local","time":${atSeconds},"timeNano":${atSeconds}123456789}\n`;
const networkEvent = (action: string, id: string): string =>
  `{"Type":"network","Action":"${action}","Actor":{"ID":"${id}","Attributes":{"container":"c1","name":"mynet","type":"skep"}},` +
  `"scope":"local","time":7,"timeNano":7123456789}\n`;

async function events(query = ''): Promise<IncomingMessage> {
  const call = request({ socketPath: api.socketPath, path: `/v1.41/events?${query}`, agent: false });
  call.end();
  return ((await once(call, 'response')) as [IncomingMessage])[0];
}
const rows = (text: string): string[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => {
      const { Type, Action, Actor } = JSON.parse(line) as {
        Type: string;
        Action: string;
        Actor: { ID: string; Attributes: Record<string, string> };
      };
      return `${Type} ${Action} ${Actor.Attributes['name']}`;
    });
const drain = (availability: 'active' | 'drain'): Promise<void> =>
  api.store.update((tx) => {
    const found = tx.get('node', nodeId)!;
    tx.update('node', { ...found, spec: { ...found.spec, availability } });
  });

test('the swarm’s come between the engine’s, never inside one', async () => {
  const stream = await events();
  const seen = new Collector(stream);
  await drain('drain');
  await seen.until('"availability.new":"drain"');
  open[0]!.write('{"Type":"container","Action":"start",');
  await drain('active');
  await seen.until('"availability.new":"active"');
  open[0]!.write('"Actor":{"ID":"c1","Attributes":{"name":"web.1.x"}},"scope":"local"}\n');
  const text = await seen.until('web.1.x');
  expect(rows(text)).toEqual(['node update node1', 'node update node1', 'container start web.1.x']);
  expect(asked.map(String), 'without a time nothing is asked of the past').toEqual(['']);
  stream.destroy();
});

test('the engine’s lines stay as they are, with times longer than JavaScript’s numbers', async () => {
  const stream = await events(filters({ type: ['container'] }));
  const seen = new Collector(stream);
  open[0]!.write(container('start', 1_795_230_246));
  expect(await seen.until('\n')).toBe(container('start', 1_795_230_246));
  stream.destroy();
});

test('what both remember is told in the order of time, then what happens', async () => {
  const nowSeconds = Math.floor(Date.now() / 1000);
  await drain('drain');
  remembered = [container('create', nowSeconds - 100), container('start', nowSeconds + 100)];
  const stream = await events('since=5');
  const seen = new Collector(stream);
  await seen.until('"start"');
  await drain('active');
  await seen.until('"availability.new":"active"');
  open[0]!.write(container('die', nowSeconds));
  expect(rows(await seen.until('die"'))).toEqual([
    'container create web.1.x',
    'node update node1',
    'container start web.1.x',
    'node update node1',
    'container die web.1.x',
  ]);
  const [live, past] = asked;
  expect(past!.get('since')).toBe('5.000000000');
  expect(Number(live!.get('since'))).toBeCloseTo(Number(past!.get('until')));
  stream.destroy();
});

test('a stream until a moment that has passed ends with it', async () => {
  await drain('drain');
  remembered = [container('create', 5)];
  const until = (Date.now() + 1) / 1000;
  while (Date.now() / 1000 <= until) await new Promise(setImmediate);
  const all = await api.call('GET', `/events?until=${until}`);
  expect(rows(all.text)).toContain('node update node1');
  expect(rows(all.text)[0]).toBe('container create web.1.x');
  const none = await api.call('GET', `/events?since=1&until=2&${filters({ scope: ['swarm'] })}`);
  expect([none.status, none.text]).toEqual([200, '']);
  expect(open).toEqual([]);
});

test('a stream until a moment to come is the engine’s to end', async () => {
  const until = Math.floor(Date.now() / 1000) + 100;
  await drain('drain');
  const stream = await events(`until=${until}`);
  const seen = new Collector(stream);
  await seen.until('drain');
  const ended = once(stream, 'end');
  open[0]!.end();
  await ended;
  expect(asked[0]!.get('until')).toBe(`${until}.000000000`);
});

test('networks of the node are told of as the overlays that they belong to', async () => {
  const id = await api.createNetwork('mynet');
  networks = [{ Name: 'mynet', Id: 'local1', Driver: 'skep', Options: { 'skep.network.id': id } }];
  const stream = await events(filters({ network: [id.slice(0, 9)] }));
  const seen = new Collector(stream);
  open[0]!.write(networkEvent('connect', 'local1'));
  networks = [];
  open[0]!.write(networkEvent('destroy', 'local1'));
  // Made and gone before anybody asked: known by name where the swarm is known.
  open[0]!.write(networkEvent('create', 'local0'));
  const text = await seen.until('"create"');
  expect(text.split('\n').slice(0, 3)).toEqual(
    ['connect', 'destroy', 'create'].map((action) =>
      networkEvent(action, id).trimEnd().replace('"type":"skep"', '"type":"overlay"'),
    ),
  );
  await api.store.update((tx) => tx.delete('network', id as NetworkId));
  await seen.until('"remove"');
  stream.destroy();
});

test('on a worker there are only the engine’s', async () => {
  api.leaveSwarm({ localNodeState: 'active' });
  remembered = [container('start', 5)];
  const reply = await api.call('GET', '/events?until=6');
  expect(reply.text).toBe(container('start', 5));
});

test('what cannot be read is refused by the engine', async () => {
  api.behaviour = ({ url = '' }, reply) => {
    reply.writeHead(500, { 'Content-Type': 'application/json' });
    reply.end(`{"message":"${url}"}\n`);
  };
  for (const query of ['since=x', 'since=5&until=1', 'filters=zzz']) {
    const reply = await api.call('GET', `/v1.41/events?${query}`);
    expect([reply.status, reply.json]).toEqual([500, { message: `/v1.41/events?${query}` }]);
  }
});

test('without an engine there are none', async () => {
  await api.stopEngine();
  expect((await api.call('GET', '/events')).status).toBe(503);
});

test('who does not read is cut off, and nothing is kept for him', async () => {
  const stream = await events();
  stream.pause();
  stream.on('error', () => undefined);
  const closed = new Promise((resolve) => stream.once('close', resolve));
  const label = 'x'.repeat(100_000);
  let told = 0;
  const { destroyed } = await (async () => {
    while (!open[0]!.destroyed && told < 2_000) {
      await api.store.update((tx) =>
        tx.create('node', { ...node(`n${told}`), spec: { ...node('n').spec, name: label } }),
      );
      told++;
      if (told % 10 === 0) await new Promise(setImmediate);
    }
    return open[0]!;
  })();
  expect(destroyed, `after ${told} events`).toBe(true);
  stream.resume();
  await closed;
  expect(told).toBeLessThan(200);
});
