/** What `skep trace` is told: frontends, hops and counters of one service, joined by mark and address. */
import assert from 'node:assert';
import { test } from 'vitest';
import type { Ip } from '../../../src/model/addresses.js';
import type { RealServerCounters, VirtualServerCounters } from '../../../src/dataplane/balancer/engine.js';
import { publishedPortMark, vipMark } from '../../../src/dataplane/state.js';
import { serviceFrontends, traceService } from '../../../src/dataplane/trace.js';
import type { CountersByScope } from '../../../src/dataplane/trace.js';
import { mynetVni, mynetAddress, stateOf, vtepOf } from './plan/network-state.js';

const state = stateOf(1, {
  ingress: true,
  ports: { 8080: 80, 9090: 90 },
  vips: { web: 2, other: 9 },
  tasks: [
    { part: 3, node: 1 },
    { part: 4, node: 2, serving: false },
    { part: 7, node: 2, service: 'other' },
  ],
});

const zero = {
  connections: 0n,
  packets: 0n,
  bytes: 0n,
  replyPackets: 0n,
  replyBytes: 0n,
  drops: {},
  activeFlows: 0,
};
const realServer = (address: string, port: number, connections: bigint): RealServerCounters => ({
  ...zero,
  address: address as Ip,
  port,
  connections,
});
const virtualServer = (
  mark: number,
  connections: bigint,
  realServers: readonly RealServerCounters[],
): VirtualServerCounters => ({
  ...zero,
  mark,
  frontend: null,
  connections,
  drops: { fragment: 2n },
  realServers,
});

test('published ports and VIPs of one service, each with its tasks and what they counted', () => {
  const counters: CountersByScope = new Map([
    [
      null,
      [
        virtualServer(publishedPortMark('tcp', 8080), 5n, [
          realServer('240.62.192.3', 80, 4n),
          realServer('240.62.192.4', 80, 1n),
        ]),
      ],
    ],
    [
      mynetVni,
      [
        virtualServer(vipMark(state.overlays[1]!.subnet, mynetAddress(2)), 7n, [
          realServer('10.0.1.4', 0, 7n),
        ]),
      ],
    ],
  ]);
  const { serviceId, name, paths } = traceService(state, serviceFrontends(state, 'web'), counters);
  assert.deepEqual({ serviceId, name }, { serviceId: 'web', name: 'web' });
  assert.deepEqual(
    paths.map(({ frontend, overlay, open, counters: { connections, drops }, hops }) => ({
      frontend,
      overlay,
      open,
      connections,
      drops,
      hops: hops.map((hop) => [hop.task, hop.alias, hop.vtep, hop.weight, hop.counters.connections]),
    })),
    [
      {
        frontend: 'tcp/8080',
        overlay: 'ingress',
        open: true,
        connections: 5,
        drops: { fragment: 2 },
        hops: [
          ['web.3.task3', '240.62.192.3:80', '', 1, 4],
          ['web.4.task4', '240.62.192.4:80', vtepOf(2), 0, 1],
        ],
      },
      {
        frontend: 'tcp/9090',
        overlay: 'ingress',
        open: true,
        connections: 0,
        drops: {},
        hops: [
          ['web.3.task3', '240.62.192.3:90', '', 1, 0],
          ['web.4.task4', '240.62.192.4:90', vtepOf(2), 0, 0],
        ],
      },
      {
        frontend: '10.0.1.2',
        overlay: 'mynet',
        open: true,
        connections: 7,
        drops: { fragment: 2 },
        hops: [
          ['web.3.task3', '', '', 1, 0],
          ['web.4.task4', '', vtepOf(2), 0, 7],
        ],
      },
    ],
  );
});

test.each([
  ['8080', 'web'],
  ['other', 'other'],
])('%s names service %s', (wanted, id) => {
  assert.equal(serviceFrontends(state, wanted).serviceId, id);
});

test('a service that this node does not know is refused', () => {
  assert.throws(() => serviceFrontends(state, 'nothing'), { name: 'SkepError', kind: 'notFound' });
});
