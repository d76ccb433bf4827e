/** Questions and askers against one state, as a table. */
import { describe, expect, test } from 'vitest';
import type { Ip } from '../../../src/model/addresses.js';
import type { NetworkId } from '../../../src/model/ids.js';
import type { DnsQuestion, Resolution } from '../../../src/dataplane/dns/resolve.js';
import { NameIndex } from '../../../src/dataplane/dns/names.js';
import { parseReverseName, resolve } from '../../../src/dataplane/dns/resolve.js';
import { endpoint, ip, networkId, overlay, service, state } from './state.js';

const both = { taskId: endpoint('client', 1, '10.0.1.9').taskId };
const front = overlay('front', 4097, '10.0.1', {
  services: [
    service('web', '10.0.1.2', ['www', 'shared']),
    service('rr', undefined, ['shared']),
    service('idle', '10.0.1.3'),
    service('twin', '10.0.1.4'),
    service('mute'),
  ],
  endpoints: [
    endpoint('web', 1, '10.0.1.11'),
    endpoint('web', 2, '10.0.1.12', { nodeId: endpoint('x', 1, '10.0.1.1').nodeId }),
    endpoint('web', 3, '10.0.1.13', { serving: false }),
    endpoint('web', 4, '10.0.1.14', { silent: true }),
    endpoint('mute', 1, '10.0.1.41', { silent: true }),
    endpoint('mute', 2, '10.0.1.42', { silent: true }),
    endpoint('mute', 3, '10.0.1.43', { serving: false }),
    endpoint('rr', 1, '10.0.1.21'),
    endpoint('rr', 2, '10.0.1.22'),
    endpoint('client', 1, '10.0.1.9'),
    endpoint('lonely', 1, '10.0.1.8'),
    // Containers that belong to no service.
    endpoint('', 0, '10.0.1.31', { name: 'Box', aliases: ['db', 'c0ffee000001'] }),
    endpoint('', 1, '10.0.1.32', { name: 'jar', aliases: ['DB', 'www'] }),
  ],
});
const back = overlay('Back.End', 4098, '10.0.2', {
  services: [service('db', '10.0.2.2'), service('twin', '10.0.2.3')],
  endpoints: [endpoint('db', 1, '10.0.2.11'), endpoint('client', 1, '10.0.2.9', both)],
});
const ingress = overlay('ingress', 4096, '10.0.0', {
  ingress: true,
  services: [service('web', '10.0.0.2')],
  endpoints: [endpoint('web', 1, '10.0.0.11', { taskId: endpoint('web', 1, '10.0.1.11').taskId })],
});
const secret = overlay('secret', 4099, '10.0.3', {
  internal: true,
  services: [service('vault', '10.0.3.2')],
  endpoints: [endpoint('vault', 1, '10.0.3.11')],
});
const six = overlay('six', 4100, '10.0.4', {
  services: [service('v6', 'fd00:4::2')],
  endpoints: [endpoint('v6', 1, 'fd00:4::11')],
});
const whole = state(ingress, front, back, secret, six);

const names = new NameIndex(whole);
type On = { readonly overlayId: NetworkId; readonly address: Ip };
const ask = (question: DnsQuestion, { overlayId, address }: On, index = names, rotation = 0): Resolution =>
  resolve(question, index.askerAt(overlayId, address), rotation);

const onFront = { overlayId: front.id, address: ip('10.0.1.9') };
const onBack = { overlayId: back.id, address: ip('10.0.2.9') };
const lonely = { overlayId: front.id, address: ip('10.0.1.8') };
const unknownSource = { overlayId: front.id, address: ip('10.0.1.77') };
const onIngress = { overlayId: ingress.id, address: ip('10.0.0.11') };
const onSecret = { overlayId: secret.id, address: ip('10.0.3.11') };
const onSix = { overlayId: six.id, address: ip('fd00:4::11') };

describe('names', () => {
  test.each([
    ['a service is its VIP', 'web', onFront, ['10.0.1.2']],
    ['in any case, with a dot at the end', 'WeB.', onFront, ['10.0.1.2']],
    ['so is an alias', 'www', onFront, ['10.0.1.2']],
    ['an alias of two services is both', 'shared', onFront, ['10.0.1.2', '10.0.1.21', '10.0.1.22']],
    ['a VIP is answered while nothing serves', 'idle', onFront, ['10.0.1.3']],
    ['a dnsrr service is its tasks', 'rr', onFront, ['10.0.1.21', '10.0.1.22']],
    ['where all that serve are on silent nodes, those', 'mute', onFront, ['10.0.1.41', '10.0.1.42']],
    ['so is such a task by its full name', 'web.4.t4', onFront, ['10.0.1.14']],
    [
      'tasks.NAME is those that serve, on nodes that are heard',
      'tasks.web',
      onFront,
      ['10.0.1.11', '10.0.1.12'],
    ],
    ['tasks.ALIAS too', 'tasks.www', onFront, ['10.0.1.11', '10.0.1.12']],
    ['nobody serves: known and empty', 'tasks.idle', onFront, []],
    ['a task by its full name', 'web.2.t2', onFront, ['10.0.1.12']],
    ['but one that does not serve: known and empty', 'web.3.t3', onFront, []],
    ['a container by its name', 'box', onFront, ['10.0.1.31']],
    ['by its short id', 'C0ffee000001', onFront, ['10.0.1.31']],
    ['an alias of several containers is all of them', 'db', lonely, ['10.0.1.31', '10.0.1.32']],
    ['a service’s name is not a container’s to take', 'www', onFront, ['10.0.1.2']],
    ['a container with the network behind it', 'box.front', onFront, ['10.0.1.31']],
    ['with the network behind it', 'web.front', onFront, ['10.0.1.2']],
    ['tasks with the network behind them', 'tasks.web.front', onFront, ['10.0.1.11', '10.0.1.12']],
    ['a network whose name has a dot and capitals', 'db.back.end', onFront, ['10.0.2.2']],
    ['the other network of the asker', 'db', onFront, ['10.0.2.2']],
    ['in both: the first of the networks’ names', 'twin', onBack, ['10.0.2.3']],
    ['whichever was asked on', 'twin', onFront, ['10.0.2.3']],
    ['unless a network is named', 'twin.front', onBack, ['10.0.1.4']],
    ['a source without an endpoint sees the network it asked on', 'web', unknownSource, ['10.0.1.2']],
    ['asked on ingress, the task’s other network answers', 'web', onIngress, ['10.0.1.2']],
    ['internal networks answer their names', 'vault', onSecret, ['10.0.3.2']],
  ] as const)('%s', (_what, name, asker, addresses) => {
    expect(ask({ name, type: 'A' }, asker)).toEqual({
      kind: 'answer',
      records: addresses.map((data) => ({ type: 'A', data })),
    });
  });

  test.each([
    ['an unknown single label', 'nosuch', onFront, 'forward'],
    ['a name of the world', 'example.org', onFront, 'forward'],
    ['a network the asker has no leg on', 'db.1.t1', lonely, 'forward'],
    ['that network named', 'db.back.end', lonely, 'forward'],
    ['a network of the state nobody asked on', 'vault', onFront, 'forward'],
    ['an unknown source sees no second network', 'db.1.t1', unknownSource, 'forward'],
    ['ingress has no names', 'web', { ...onIngress, address: ip('10.0.0.77') }, 'forward'],
    ['tasks. of nothing', 'tasks.nosuch', onFront, 'forward'],
    ['an overlay that is no more', 'web', { ...onFront, overlayId: networkId('gone') }, 'forward'],
    ['from internal networks nothing leaves', 'example.org', onSecret, 'isolated'],
  ] as const)('%s', (_what, name, asker, kind) => {
    expect(ask({ name, type: 'A' }, asker)).toEqual({ kind });
  });
});

describe('types', () => {
  test.each([
    ['AAAA of a known IPv4 name', 'web', 'AAAA', onFront, []],
    ['MX of a known name', 'web', 'MX', onFront, []],
    ['ANY', 'web', 'ANY', onFront, [{ type: 'A', data: '10.0.1.2' }]],
    ['AAAA', 'v6', 'AAAA', onSix, [{ type: 'AAAA', data: 'fd00:4::2' }]],
    ['A of an IPv6 name', 'v6', 'A', onSix, []],
  ] as const)('%s', (_what, name, type, asker, records) => {
    expect(ask({ name, type }, asker)).toEqual({ kind: 'answer', records });
  });

  test('AAAA of an unknown name is forwarded', () => {
    expect(ask({ name: 'example.org', type: 'AAAA' }, onFront)).toEqual({ kind: 'forward' });
  });
});

describe('addresses', () => {
  const ip6Name = '1.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.4.0.0.0.0.0.d.f.ip6.arpa';
  test.each([
    ['a task', '12.1.0.10.in-addr.arpa', onFront, 'web.2.t2.front'],
    ['a VIP', '2.1.0.10.IN-ADDR.ARPA', onFront, 'web.front'],
    ['a container', '31.1.0.10.in-addr.arpa', onFront, 'Box.front'],
    ['in the other network', '11.2.0.10.in-addr.arpa', onFront, 'db.1.t1.Back.End'],
    ['IPv6', ip6Name, onSix, 'v6.1.t1.six'],
  ] as const)('%s', (_what, name, asker, data) => {
    expect(ask({ name, type: 'PTR' }, asker)).toEqual({
      kind: 'answer',
      records: [{ type: 'PTR', data }],
    });
  });

  test.each(['12.1.0.10.in-addr.arpa', '8.8.8.8.in-addr.arpa', '1.0.10.in-addr.arpa', 'web'])(
    'forwarded for an asker elsewhere: %s',
    (name) => {
      const asker = { overlayId: six.id, address: ip('fd00:4::11') };
      expect(ask({ name, type: 'PTR' }, asker)).toEqual({ kind: 'forward' });
    },
  );

  test.each([
    ['nobody’s in a network of the asker', '200.1.0.10.in-addr.arpa', onFront],
    ['nobody’s in its other network', '200.2.0.10.in-addr.arpa', onFront],
    ['of ingress, which has no names', '11.0.0.10.in-addr.arpa', onIngress],
  ] as const)('denied here and asked of nobody else: %s', (_what, name, asker) => {
    expect(ask({ name, type: 'PTR' }, asker)).toEqual({ kind: 'unknown' });
  });

  test('a network whose name is no DNS name has no reverse names', () => {
    const odd = state(overlay('a..b', 1, '10.0.9', { endpoints: [endpoint('web', 1, '10.0.9.11')] }));
    const asker = { overlayId: networkId('a..b'), address: ip('10.0.9.11') };
    expect(ask({ name: '11.9.0.10.in-addr.arpa', type: 'PTR' }, asker, new NameIndex(odd))).toEqual({
      kind: 'unknown',
    });
  });

  test.each([
    ['4.3.2.10.in-addr.arpa', '10.2.3.4'],
    ['256.3.2.10.in-addr.arpa', null],
    ['x.3.2.10.in-addr.arpa', null],
    ['in-addr.arpa', null],
    [`${'0.'.repeat(31)}1.ip6.arpa`, '1000::'],
    [`${'0.'.repeat(30)}1.ip6.arpa`, null],
  ])('%s is %s', (name, address) => {
    expect(parseReverseName(name)).toBe(address);
  });
});

test('a container is known by its legs, wherever it asks from', () => {
  const records = [{ type: 'A', data: '10.0.2.11' }];
  const asked = (...ids: NetworkId[]): Resolution =>
    resolve({ name: 'db.1.t1', type: 'A' }, names.askerWith(ids), 0);
  expect(asked(front.id, back.id)).toEqual({ kind: 'answer', records });
  expect(asked(front.id)).toEqual({ kind: 'forward' });
  expect(asked(networkId('gone'))).toEqual({ kind: 'forward' });
});

test('several addresses take turns', () => {
  const firsts = [0, 1, 2, 3].map((rotation) => {
    const resolution = ask({ name: 'rr', type: 'A' }, onFront, names, rotation);
    return resolution.kind === 'answer' ? resolution.records.map(({ data }) => data) : null;
  });
  expect(firsts).toEqual([
    ['10.0.1.21', '10.0.1.22'],
    ['10.0.1.22', '10.0.1.21'],
    ['10.0.1.21', '10.0.1.22'],
    ['10.0.1.22', '10.0.1.21'],
  ]);
});
