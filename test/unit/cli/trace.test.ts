/** How `skep trace` is printed. */
import assert from 'node:assert';
import { test } from 'vitest';
import { traceLines } from '../../../src/cli/trace.js';
import type { Cidr } from '../../../src/model/addresses.js';
import type { TraceReply } from '../../../src/dataplane/rpc/client.js';
import type { TraceCounters } from '../../../src/dataplane/trace.js';

const counted = (connections: number, drops: Record<string, number> = {}): TraceCounters => ({
  connections,
  packets: 10,
  bytes: 600,
  replyPackets: 9,
  replyBytes: 5000,
  drops,
  activeFlows: 1,
});

const reply = {
  revision: 9,
  engine: 'ebpf',
  serviceId: 's1',
  name: 'web',
  clients: ['192.0.2.7'],
  foreignDrops: ['filter FORWARD -j DROP: 3 packets'],
  paths: [
    {
      frontend: 'tcp/8080',
      overlay: 'ingress',
      vni: 4096,
      scheduler: 'rr',
      affinityS: 60,
      limits: { interfaces: [], cidrs: [] },
      open: true,
      counters: counted(3, { fragment: 2 }),
      stops: [],
      flows: [
        {
          protocol: 'tcp',
          client: '192.0.2.7',
          clientPort: 40000,
          destinationPort: 8080,
          task: 'web.1.t1',
          state: 'established',
          expiresS: 60,
        },
      ],
      hops: [
        {
          task: 'web.1.t1',
          nodeId: 'n1',
          address: '10.0.0.3',
          mac: '02:42:0a:00:00:03',
          alias: '240.0.64.3:80',
          vtep: '192.168.50.2',
          weight: 2,
          counters: counted(3),
          stops: ['10 packets went there and none came back'],
        },
      ],
    },
    {
      frontend: '10.0.1.2',
      overlay: 'mynet',
      vni: 4097,
      scheduler: 'mh',
      affinityS: 0,
      limits: { interfaces: [], cidrs: [] },
      open: false,
      counters: counted(0),
      stops: ['no task takes new flows: callers are refused'],
      flows: [],
      hops: [
        {
          task: 'web.1.t1',
          nodeId: 'n1',
          address: '10.0.1.3',
          mac: '02:42:0a:00:01:03',
          alias: '',
          vtep: '',
          weight: 0,
          counters: counted(0),
          stops: [],
        },
        {
          task: 'web.2.t2',
          nodeId: 'n2',
          address: '10.0.1.4',
          mac: '02:42:0a:00:01:04',
          alias: '',
          vtep: '192.168.50.2',
          weight: 0,
          counters: counted(0),
          stops: ['node n2 does not answer this one'],
          isSilent: true,
        },
      ],
    },
  ],
} as unknown as TraceReply;

test('each frontend, each task behind it, and the way there', () => {
  assert.deepEqual(traceLines(reply), [
    'service web (s1), revision 9, balanced by ebpf',
    'called from 192.0.2.7',
    '',
    'tcp/8080 on every address of this node, rr, a client stays for 60 s: 3 connections, 1 active, 10 packets of 600 bytes in, 9 of 5000 out, 2 dropped (fragment)',
    '  tcp 192.0.2.7:40000 -> port 8080 -> web.1.t1: established, forgotten after 60 s more',
    '  web.1.t1 (weight 2): 3 connections, 1 active, 10 packets of 600 bytes in, 9 of 5000 out',
    '    becomes 240.0.64.3:80 -> 02:42:0a:00:00:03 on overlay 4096 -> VXLAN to 192.168.50.2 -> task 10.0.0.3 on node n1',
    '    STOPS: 10 packets went there and none came back',
    '',
    '10.0.1.2 VIP on mynet, mh: 0 connections, 1 active, 10 packets of 600 bytes in',
    '  STOPS: no task takes new flows: callers are refused',
    '  web.1.t1 (drains): 0 connections, 1 active, 10 packets of 600 bytes in',
    '    02:42:0a:00:01:03 on overlay 4097 -> on this node -> task 10.0.1.3 on node n1',
    '  web.2.t2 (silent): 0 connections, 1 active, 10 packets of 600 bytes in',
    '    02:42:0a:00:01:04 on overlay 4097 -> VXLAN to 192.168.50.2 -> task 10.0.1.4 on node n2',
    '    STOPS: node n2 does not answer this one',
    '',
    'rules of others on this node have dropped packets:',
    '  filter FORWARD -j DROP: 3 packets',
  ]);
});

test('a service that nothing balances says so', () => {
  assert.deepEqual(
    traceLines({ ...reply, paths: [], foreignDrops: [] }).at(-1),
    'no published port and no VIP: nothing here is balanced',
  );
});

test.each([
  [[], [], 'on every address of this node'],
  [['eth0', 'lo'], [], 'for calls that come in by eth0, lo'],
  [[], ['10.0.0.0/8'], 'on addresses in 10.0.0.0/8'],
  [['eth0'], ['10.0.0.0/8'], 'on addresses in 10.0.0.0/8, for calls that come in by eth0'],
])('a port limited to devices %j and addresses %j listens %s', (interfaces, cidrs, words) => {
  const [path] = reply.paths;
  const limited = { ...path!, limits: { interfaces, cidrs: cidrs as Cidr[] } };
  assert(traceLines({ ...reply, paths: [limited] })[3]?.startsWith(`tcp/8080 ${words}, rr`));
});

test('of many flows the first are printed', () => {
  const [path] = reply.paths;
  const lines = traceLines({ ...reply, paths: [{ ...path!, flows: Array(50).fill(path!.flows[0]) as [] }] });
  assert.equal(lines.filter((line) => line.includes(' -> port ')).length, 20);
  assert(lines.includes('  and 30 flows more'));
});
