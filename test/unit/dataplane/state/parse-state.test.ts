import assert from 'node:assert';
import { test } from 'vitest';
import { parseNodeNetworkState, toStateMessage } from '../../../../src/dataplane/parse-state.js';
import { SkepError } from '../../../../src/model/errors.js';
import type { StateValue } from './state-value.js';
import { stateValue, stateValueWithKeys } from './state-value.js';

test('parseNodeNetworkState: reads a message, an empty VIP is none, and the reverse gives the message again', () => {
  const state = parseNodeNetworkState(stateValueWithKeys());
  const [web, rr] = state.overlays[0]?.services ?? [];
  assert.equal(web?.vip, '10.0.1.4');
  assert.ok(rr && !('vip' in rr));
  assert.deepEqual([web?.scheduler, web?.affinityS, rr.scheduler, rr.affinityS], ['mh', 300, 'rr', null]);
  assert.deepEqual(toStateMessage(state), stateValueWithKeys());
  const { encryptionKeys: _, ...kept } = state;
  assert.deepEqual(
    parseNodeNetworkState(JSON.parse(JSON.stringify(kept))),
    { ...state, encryptionKeys: null },
    'as it is on disk',
  );
});

test('an endpoint as it was written before containers could be attached has no further names', () => {
  const value = stateValue();
  for (const each of overlay(value).endpoints) {
    delete (each as Partial<typeof each>).aliases;
    delete (each as Partial<typeof each>).nameservers;
  }
  const [read] = parseNodeNetworkState(value).overlays[0]?.endpoints ?? [];
  assert.deepEqual([read?.aliases, read?.nameservers], [[], []]);
});

test('an endpoint with ports of its own gives the message again', () => {
  const value = stateValue();
  const targetPorts = [
    { protocol: 'tcp', publishedPort: 8080, targetPort: 81 },
    { protocol: 'udp', publishedPort: 8080, targetPort: 0 },
  ];
  Object.assign(endpoint(value), { targetPorts });
  const state = parseNodeNetworkState(value);
  const [, read] = state.overlays[0]?.endpoints ?? [];
  assert.deepEqual(read?.targetPorts, targetPorts);
  assert.deepEqual(toStateMessage(state), { ...value, encryptionKeys: [] });
});

/** One overlay's, endpoint's, … fields without the noise of indexes that may be absent. */
const overlay = (value: StateValue) => value.overlays[0]!;
const endpoint = (value: StateValue) => overlay(value).endpoints[1]!;

const refused: [name: string, change: (value: StateValue) => unknown, message: RegExp][] = [
  ['no object', () => 'x', /^value: expected an object/],
  ['a missing field', (v) => delete (v as Partial<StateValue>).vtep, /^vtep: expected text/],
  ['an unknown field', (v) => Object.assign(overlay(v), { mtu: 1 }), /^overlays\[0\]\.mtu: unknown field/],
  ['revision 0', (v) => (v.revision = 0), /^revision: /],
  ['a revision beyond exact numbers', (v) => (v.revision = 2 ** 53), /^revision: /],
  ['an address that is none', (v) => (v.vtep = '192.0.2.256'), /^vtep: not an IP address/],
  ['a port out of range', (v) => (v.dataPathPort = 65536), /^dataPathPort: /],
  ['an alias range that is too small', (v) => (v.aliasRange = '240.0.0.0/8'), /^aliasRange: /],
  ['an alias range of IPv6 that is too small', (v) => (v.aliasRange = 'fd00::/101'), /^aliasRange: .*IPv6/],
  [
    'an alias range of another family than ingress',
    (v) => {
      v.aliasRange = 'fd00::/100';
      overlay(v).ingress = true;
    },
    /^aliasRange: .*another family/,
  ],
  ['a VNI of 25 bits', (v) => (overlay(v).vni = 2 ** 24), /^overlays\[0\]\.vni: /],
  ['VNI 0', (v) => (overlay(v).vni = 0), /^overlays\[0\]\.vni: /],
  [
    'a subnet with host bits',
    (v) => (overlay(v).subnet = '10.0.1.1/24'),
    /^overlays\[0\]\.subnet: not a subnet/,
  ],
  [
    'a gateway outside',
    (v) => (overlay(v).gateway = '10.0.2.1'),
    /^overlays\[0\]\.gateway: .* is not in 10\.0\.1\.0\/24/,
  ],
  ...(
    [
      ['a further subnet that overlaps', ['10.0.1.128/25', '10.0.1.129'], /10\.0\.1\.128\/25 overlaps/],
      ['a further subnet of another family', ['fd00:1::/64', 'fd00:1::1'], /of another family/],
      [
        'a gateway outside of its further subnet',
        ['10.0.2.0/24', '10.0.1.9'],
        /furtherSubnets\[0\]\.gateway: 10\.0\.1\.9 is not in 10\.0\.2\.0\/24/,
      ],
    ] as const
  ).map(([what, [subnet, gateway], refusal]): (typeof refused)[number] => [
    what,
    (v) => Object.assign(overlay(v), { furtherSubnets: [{ subnet, gateway }] }),
    refusal,
  ]),
  [
    'an endpoint at the gateway of a further subnet',
    (v) => {
      Object.assign(overlay(v), { furtherSubnets: [{ subnet: '10.0.2.0/24', gateway: '10.0.2.1' }] });
      endpoint(v).address = '10.0.2.1';
    },
    /endpoints\[1\]\.address: 10\.0\.2\.1 is already taken/,
  ],
  [
    'an ingress of two subnets',
    (v) =>
      Object.assign(overlay(v), {
        ingress: true,
        furtherSubnets: [{ subnet: '10.0.2.0/24', gateway: '10.0.2.1' }],
      }),
    /furtherSubnets: .* ingress has no further ones/,
  ],
  [
    'an ingress larger than /18',
    (v) => Object.assign(overlay(v), { ingress: true, subnet: '10.0.0.0/16' }),
    /subnet: ingress needs/,
  ],
  [
    'a VIP whose host part does not fit a mark',
    (v) => {
      overlay(v).subnet = '10.0.0.0/7';
      Object.assign(overlay(v).services[0] ?? {}, { vip: '11.0.0.1' });
    },
    /vip: 11\.0\.0\.1 is beyond/,
  ],
  [
    'a multicast MAC',
    (v) => (overlay(v).own.mac = '01:00:5e:00:00:01'),
    /^overlays\[0\]\.own\.mac: not a unicast MAC/,
  ],
  ['a MAC in upper case', (v) => (overlay(v).own.mac = '02:00:0A:00:01:02'), /^overlays\[0\]\.own\.mac/],
  [
    'an endpoint outside',
    (v) => (endpoint(v).address = '10.0.2.6'),
    /^overlays\[0\]\.endpoints\[1\]\.address: .* is not in/,
  ],
  [
    'one address, two endpoints',
    (v) => (endpoint(v).address = '10.0.1.5'),
    /^overlays\[0\]\.endpoints\[1\]\.address: 10\.0\.1\.5 is already taken by overlays\[0\]\.endpoints\[0\]\.address/,
  ],
  [
    'an endpoint with a peer’s MAC',
    (v) => (endpoint(v).mac = '02:00:0a:00:01:03'),
    /endpoints\[1\]\.mac: .* taken by overlays\[0\]\.peers\[0\]/,
  ],
  [
    'a VIP that is an endpoint’s',
    (v) => (overlay(v).services[0]!.vip = '10.0.1.6'),
    /services\[0\]\.vip: .* already taken/,
  ],
  [
    'an endpoint at the gateway',
    (v) => (endpoint(v).address = '10.0.1.1'),
    /endpoints\[1\]\.address: .* taken by overlays\[0\]\.gateway/,
  ],
  ['an alias that is no name', (v) => (endpoint(v).aliases = ['a b']), /endpoints\[1\]\.aliases\[0\]/],
  ['a nameserver that is no address', (v) => (endpoint(v).nameservers = ['ns']), /nameservers\[0\]/],
  [
    'a port of its own twice',
    (v) =>
      Object.assign(endpoint(v), {
        targetPorts: [80, 81].map((targetPort) => ({ protocol: 'tcp', publishedPort: 8080, targetPort })),
      }),
    /endpoints\[1\]\.targetPorts\[1\]\.publishedPort: tcp\/8080 is already taken/,
  ],
  ['a task twice', (v) => (endpoint(v).taskId = 'task1'), /endpoints\[1\]\.taskId: .* already taken/],
  [
    'this node as its own peer',
    (v) => (overlay(v).peers[0]!.nodeId = 'node1'),
    /peers\[0\]\.nodeId: .* already taken/,
  ],
  [
    'a peer with this node’s VTEP',
    (v) => (overlay(v).peers[0]!.vtep = '192.0.2.1'),
    /peers\[0\]\.vtep: .* own/,
  ],
  [
    'a VNI twice',
    (v) => v.overlays.push({ ...structuredClone(overlay(v)), id: 'net2' }),
    /^overlays\[1\]\.vni: 4097 is already taken/,
  ],
  [
    'an overlay twice',
    (v) => v.overlays.push({ ...structuredClone(overlay(v)), vni: 5000 }),
    /^overlays\[1\]\.id: /,
  ],
  [
    'a protocol that is none',
    (v) => (v.publishedPorts[0]!.protocol = 'icmp'),
    /^publishedPorts\[0\]\.protocol: /,
  ],
  [
    'a port published twice',
    (v) => v.publishedPorts.push({ ...v.publishedPorts[0]!, serviceId: 'other' }),
    /^publishedPorts\[1\]\.publishedPort: 8080\/tcp is already taken/,
  ],
  [
    'a weight beyond 1000',
    (v) => Object.assign(endpoint(v), { weight: 1001 }),
    /endpoints\[1\]\.weight: expected/,
  ],
  ['a fraction of a weight', (v) => Object.assign(endpoint(v), { weight: 0.5 }), /endpoints\[1\]\.weight: /],
  [
    'a scheduler that is none',
    (v) => (overlay(v).services[0]!.scheduler = 'random'),
    /services\[0\]\.scheduler: expected rr or wrr or lc or mh/,
  ],
  [
    'an affinity beyond a day',
    (v) => (overlay(v).services[0]!.affinityS = 86_401),
    /services\[0\]\.affinityS: /,
  ],
  [
    'an interface that cannot be',
    (v) => Object.assign(v.publishedPorts[0]!, { interfaces: ['eth0', 'a/b'] }),
    /^publishedPorts\[0\]\.interfaces\[1\]: not a name of an interface/,
  ],
  [
    'a limit with host bits',
    (v) => Object.assign(v.publishedPorts[0]!, { cidrs: ['10.0.0.1/8'] }),
    /^publishedPorts\[0\]\.cidrs\[0\]: not a subnet/,
  ],
  ['a name with a blank', (v) => (endpoint(v).name = 'a b'), /endpoints\[1\]\.name: not a name/],
];

for (const [name, change, message] of refused)
  test(`parseNodeNetworkState refuses ${name}`, () => {
    const value = stateValue();
    const changed = change(value);
    assert.throws(
      () => parseNodeNetworkState(typeof changed === 'string' && changed === 'x' ? changed : value),
      (err) => err instanceof SkepError && err.kind === 'invalidArgument' && message.test(err.message),
    );
  });

test('parseNodeNetworkState: what was written before services could choose is read with the defaults', () => {
  const value = stateValue();
  for (const one of overlay(value).endpoints) delete (one as Partial<typeof one>).weight;
  for (const one of overlay(value).services) {
    delete (one as Partial<typeof one>).scheduler;
    delete (one as Partial<typeof one>).affinityS;
  }
  const [mynet] = parseNodeNetworkState(value).overlays;
  assert.deepEqual(
    mynet?.services.map(({ scheduler, affinityS }) => [scheduler, affinityS]),
    [
      ['rr', null],
      ['rr', null],
    ],
  );
  assert.deepEqual(
    mynet?.endpoints.map(({ weight }) => weight),
    [1, 1],
  );
});

test('parseNodeNetworkState: where ports listen is kept, and is absent where it is not limited', () => {
  const limits = { interfaces: ['eth0', 'lo'], cidrs: ['10.0.0.0/8'] };
  const parsed = (more: object) => {
    const value = stateValue();
    Object.assign(value.publishedPorts[0]!, more);
    return [...parseNodeNetworkState(value).publishedPorts][0];
  };
  assert.deepEqual(parsed(limits), { ...stateValue().publishedPorts[0], ...limits });
  // As a message without them comes in.
  assert.deepEqual(parsed({ interfaces: [], cidrs: [] }), stateValue().publishedPorts[0]);
});

test('parseNodeNetworkState: one port may be published on two protocols, two overlays may overlap', () => {
  const value = stateValue();
  value.publishedPorts.push({ ...value.publishedPorts[0]!, protocol: 'udp' });
  value.overlays.push({ ...structuredClone(overlay(value)), id: 'net2', vni: 5000 });
  parseNodeNetworkState(value);
});

const refusedKeys: [
  name: string,
  change: (value: ReturnType<typeof stateValueWithKeys>) => unknown,
  message: RegExp,
][] = [
  [
    'a key given twice',
    (v) => v.encryptionKeys.push({ ...v.encryptionKeys[1]! }),
    /^encryptionKeys\[2\]\.sequence: 5 is already taken/,
  ],
  ['two keys to send with', (v) => (v.encryptionKeys[1]!.sends = true), /^encryptionKeys\[1\]\.sends: /],
  [
    'a key that is too short, without showing it',
    (v) => (v.encryptionKeys[0]!.key = Buffer.from('secret')),
    /^encryptionKeys\[0\]\.key: expected 32 octets$/,
  ],
];
for (const [name, change, message] of refusedKeys)
  test(`parseNodeNetworkState refuses ${name}`, () => {
    const value = stateValueWithKeys();
    change(value);
    assert.throws(() => parseNodeNetworkState(value), { kind: 'invalidArgument', message });
  });
