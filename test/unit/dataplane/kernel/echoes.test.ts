/** Which notifications of the kernel are echoes of our own operations, and which are somebody else's doing. */
import { expect, test } from 'vitest';
import { echoKey, Echoes, routeText } from '../../../../src/dataplane/kernel/echoes.js';
import type { RouteEvent } from '../../../../src/dataplane/netlink/route.js';
import type { Link } from '../../../../src/dataplane/plan/objects.js';

const [mac, otherMac] = ['02:42:0a:00:01:04', '02:42:0a:00:01:05'];
const route = {
  destination: '240.0.0.3/32',
  table: 254,
  type: 'unicast',
  outIndex: 4,
  gateway: '10.0.0.3',
  source: null,
};
const fdb = (over: object = {}): RouteEvent =>
  ({
    object: 'fdb',
    removed: false,
    entry: { index: 3, mac, table: 'self', dst: '192.0.2.2', ...over },
  }) as never;
const neighbour = (over: object = {}, removed = false): RouteEvent =>
  ({
    object: 'neighbour',
    removed,
    neighbour: { index: 2, address: '10.0.1.4', mac, state: 'permanent', ...over },
  }) as never;
const routed = (over: object = {}, removed = false): RouteEvent =>
  ({ object: 'route', removed, route: { ...route, ...over } }) as never;
const address = (removed = false): RouteEvent =>
  ({ object: 'address', removed, address: { index: 2, address: '10.0.1.9', prefixLength: 32 } }) as never;
const link = (over: object = {}, removed = false): RouteEvent =>
  ({ object: 'link', removed, link: { index: 7, name: 'sk1', up: true, mtu: 1450, ...over } }) as never;
const bridgePort = { learning: false, neighSuppress: true, unicastFlood: false };
const port = (over: object = {}, index = 7): RouteEvent =>
  ({ object: 'port', removed: false, index, port: { ...bridgePort, hairpin: false, ...over } }) as never;
const nameOf = (index: number): string | undefined => ({ 7: 'sk1' })[index];

const put = (echoes: Echoes): void => {
  echoes.expect(echoKey.fdb(3, mac, 'self'), '192.0.2.2');
  echoes.expect(echoKey.neighbour(2, '10.0.1.4'), mac);
  echoes.expect(echoKey.route(254, '240.0.0.3/32'), routeText(route));
  echoes.expect(echoKey.address(2, '10.0.1.9', 32), '');
  echoes.expectLink({ kind: 'link', name: 'sk1', up: true, mtu: 1450 });
};
const putPort = (echoes: Echoes): void =>
  echoes.expectLink({ kind: 'link', name: 'sk1', up: true, mtu: 1450, bridgePort });
const remade = (echoes: Echoes): void => {
  echoes.expectLinkGone('sk1', 6);
  put(echoes);
};
const removed = (echoes: Echoes): void => {
  echoes.expect(echoKey.fdb(3, mac, 'self'), null);
  echoes.expect(echoKey.neighbour(2, '10.0.1.4'), null);
  echoes.expect(echoKey.route(254, '240.0.0.3/32'), null);
  echoes.expect(echoKey.address(2, '10.0.1.9', 32), null);
  echoes.expectLinkGone('sk1', 7);
};
const gone = (event: RouteEvent): RouteEvent => ({ ...event, removed: true }) as never;

const cases: [name: string, done: (echoes: Echoes) => void, event: RouteEvent, isEcho: boolean][] = [
  ['a forwarding entry as we put it', put, fdb(), true],
  ['one that leads elsewhere', put, fdb({ dst: '192.0.2.9' }), false],
  ['one of another MAC', put, fdb({ mac: otherMac }), false],
  ['one that somebody removed after we put it', put, gone(fdb()), false],
  ['one that we removed', removed, gone(fdb()), true],
  ['one that somebody put after we removed it', removed, fdb(), false],
  ['a neighbour as we put it', put, neighbour(), true],
  ['one of another MAC', put, neighbour({ mac: otherMac }), false],
  ['one that is no longer permanent', put, neighbour({ state: 'stale' }), false],
  ['one that fails after we put it', put, neighbour({ state: 'failed', mac: null }), false],
  ['one that fails as we remove it', removed, neighbour({ state: 'failed', mac: null }), true],
  ['one that is gone as we removed it', removed, neighbour({ mac: null, state: 'failed' }, true), true],
  ['a route as we put it', put, routed(), true],
  ['one by another way', put, routed({ gateway: '10.0.0.9' }), false],
  ['one that somebody removed', put, routed({}, true), false],
  ['one that we removed', removed, routed({}, true), true],
  ['an address as we put it', put, address(), true],
  ['one that somebody removed', put, address(true), false],
  ['one that we removed', removed, address(true), true],
  ['a link as we put it', put, link(), true],
  ['one that went down', put, link({ up: false }), false],
  ['one that somebody removed', put, link({}, true), false],
  ['one that we removed', removed, link({}, true), true],
  ['one that came back', removed, link(), false],
  ['one that we made anew', remade, link({ index: 6 }, true), true],
  ['one that somebody removed after we made it anew', remade, link({}, true), false],
  ['a port as we put it', putPort, port(), true],
  ['one that somebody lets learn', putPort, port({ learning: true }), false],
  ['one that is no port of ours', putPort, port({}, 8), false],
  ['a link of nobody we know', put, link({ name: 'eth0' }), false],
  ['that messages were lost', put, { object: 'lost' }, false],
];
test.each(cases)('%s', (_name, done, event, isEcho) => {
  const echoes = new Echoes(() => 0);
  done(echoes);
  const toLink = (of: object): Link => ({ kind: 'link', ...of }) as Link;
  expect(echoes.isEcho(event, toLink, nameOf)).toBe(isEcho);
  expect(new Echoes(() => 0).isEcho(event, toLink, nameOf), 'nothing was done').toBe(false);
});

test('what was expected is forgotten some seconds later', () => {
  let nowMs = 0;
  const echoes = new Echoes(() => nowMs);
  const toLink = (): never => expect.unreachable();
  nowMs = 100_000;
  put(echoes);
  nowMs += 4_000;
  expect(echoes.isEcho(fdb(), toLink, nameOf)).toBe(true);
  nowMs += 4_000;
  expect(echoes.isEcho(fdb(), toLink, nameOf)).toBe(true);
  nowMs += 10_000;
  expect(echoes.isEcho(fdb(), toLink, nameOf)).toBe(false);
});
