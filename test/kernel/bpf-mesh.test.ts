/**
 * The mesh's programs on single packets: what becomes of each, and what the maps remember. Goal: every rule of a flow's life (both
 * tiers, draining, generations, collisions) and every rewriting shows in one line that fails by itself.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ipv4Number } from '../../src/dataplane/ebpf/ipv4.js';
import { enums, structs } from '../../src/dataplane/ebpf/layout.js';
import { u32Octets } from '../../src/dataplane/ebpf/struct.js';
import type { Mac } from '../../src/model/addresses.js';
import type { Outcome, ProgramName } from './bpf-balancer.js';
import { aliasOf, mark, node, taskMac, TestBalancer } from './bpf-balancer.js';
import type { FrameOptions, Transport } from './bpf-frames.js';
import { fragments, frame, icmpError, macsOf, readFrame, reassemble, tcpNumbers } from './bpf-frames.js';

let balancer: TestBalancer;
beforeAll(() => {
  balancer = new TestBalancer();
});
beforeEach(() => {
  balancer.reset();
});
afterAll(() => balancer[Symbol.dispose]());

const client = '198.51.100.9';
const request: FrameOptions = { from: `${client}:4000`, to: `${node.address}:8080` };
const reply: FrameOptions = { from: `${aliasOf(5)}:80`, to: `${client}:4000` };

const publish = (protocol: Transport, tasks: readonly number[] = [5], published = 8080, index = 1): void =>
  balancer.serve({ index, port: { protocol, published }, servers: tasks.map((task) => ({ task })) });

const send = (program: ProgramName, transport: Transport, options: FrameOptions): Outcome =>
  balancer.run(program, frame(transport, options));
const ask = (transport: Transport, options: Partial<FrameOptions> = {}): Outcome =>
  send('skep_uplink', transport, { ...request, ...options });
const answer = (transport: Transport, options: Partial<FrameOptions> = {}): Outcome =>
  send('skep_return', transport, { ...reply, ...options });
const line = ({ verdict, frame: octets }: Outcome): string => `${verdict}: ${readFrame(octets)}`;

/** Opens a TCP flow from `from` and gives the task it went to. */
function open(from: string, to = request.to, program: ProgramName = 'skep_uplink'): number | null {
  const { verdict, frame: octets } = send(program, 'tcp', { from, to, flags: 'S' });
  if (verdict !== 'redirect') return null;
  return Number(/> 240\.64\.64\.(\d+):/.exec(readFrame(octets))?.[1]);
}
function establish(from: string, to = request.to): void {
  const task = open(from, to);
  expect(task).not.toBeNull();
  answer('tcp', { from: `${aliasOf(task ?? 0)}:80`, to: from, flags: 'SA' });
  send('skep_uplink', 'tcp', { from, to, flags: 'A' });
}

/** Replies leave by the routing table, which is the test machine's own: `ok` (left to the stack) is as good as `redirect`. */
const isSent = expect.stringMatching(/^(ok|redirect)$/) as string;

describe('where a limited port listens', () => {
  const { LIMITED_BY_DEVICE, LIMITED_BY_ADDRESS } = enums.limitedBy;
  const device = 1; // of every test run
  const limit = (limitedBy: number): void =>
    balancer.serve({
      index: 1,
      port: { protocol: 'tcp', published: 8080 },
      servers: [{ task: 5 }],
      limitedBy,
    });
  const listen = (by: number, address: string): void =>
    balancer
      .map('skep_listeners')
      .put(structs.listenerKey.encode({ mark, device: by, address: ipv4Number(address) }), u32Octets(1));
  // From a port each: one task would else have two flows of one client port.
  const opened = (to: string, clientPort: number, program: ProgramName = 'skep_uplink'): boolean =>
    open(`${program === 'skep_uplink' ? client : '127.0.0.1'}:${clientPort}`, `${to}:8080`, program) !== null;

  test.each<[name: string, limitedBy: number, listeners: [number, string][], answers: boolean[]]>([
    ['nowhere', LIMITED_BY_DEVICE | LIMITED_BY_ADDRESS, [], [false, false, false]],
    ['by the device', LIMITED_BY_DEVICE, [[device, '0.0.0.0']], [true, true, true]],
    ['by another device', LIMITED_BY_DEVICE, [[device + 1, '0.0.0.0']], [false, false, false]],
    ['at an address', LIMITED_BY_ADDRESS, [[0, node.address]], [true, false, false]],
    ['on the loopback network', LIMITED_BY_ADDRESS, [[0, '127.0.0.0']], [false, false, true]],
    [
      'by the device at another address',
      LIMITED_BY_DEVICE | LIMITED_BY_ADDRESS,
      [
        [device, node.other],
        [device + 1, node.address],
      ],
      [false, true, false],
    ],
    ['everywhere, whatever is listed', 0, [[9, node.other]], [true, true, true]],
  ])('%s', (_, limitedBy, listeners, answers) => {
    limit(limitedBy);
    for (const [by, address] of listeners) listen(by, address);
    expect([
      opened(node.address, 4001),
      opened(node.other, 4002),
      opened('127.0.0.2', 4003, 'skep_loopback'),
    ]).toEqual(answers);
  });

  test('a limit that comes later ends no flow, and begins none', () => {
    publish('tcp');
    establish(request.from);
    limit(LIMITED_BY_ADDRESS);
    expect(ask('tcp', { flags: 'PA' }).verdict).toBe('redirect');
    expect(ask('tcp', { flags: 'S' }).verdict).toBe('ok');
    expect(ask('tcp', { flags: 'S', from: `${client}:4001` }).verdict).toBe('ok');
  });
});

describe('tcp', () => {
  test('a connection goes through both tiers', () => {
    publish('tcp');
    const there = 'tcp 198.51.100.9:4000 > 240.64.64.5:80';
    const back = 'tcp 192.0.2.1:8080 > 198.51.100.9:4000';
    const flow = '198.51.100.9:4000>192.0.2.1:8080 to 240.64.64.5:80';
    const steps: [from: 'client' | 'server', flags: string, remembered: string, active: number][] = [
      ['client', 'S', `young ${flow}`, 0],
      ['client', 'S', `young ${flow}`, 0],
      ['server', 'SA', `young ${flow} ANSWERED`, 0],
      ['client', 'A', `firm ${flow} ANSWERED ESTABLISHED`, 1],
      ['client', 'PA', `firm ${flow} ANSWERED ESTABLISHED`, 1],
      ['server', 'PA', `firm ${flow} ANSWERED ESTABLISHED`, 1],
      ['server', 'FA', `firm ${flow} ANSWERED ESTABLISHED SERVER_FIN`, 1],
      ['client', 'A', `firm ${flow} ANSWERED ESTABLISHED SERVER_FIN`, 1],
      ['client', 'FA', `young ${flow} ANSWERED ESTABLISHED CLIENT_FIN SERVER_FIN`, 0],
      ['server', 'A', `young ${flow} ANSWERED ESTABLISHED CLIENT_FIN SERVER_FIN`, 0],
      ['client', 'S', `young ${flow}`, 0], // a new connection of the same port
    ];
    for (const [from, flags, remembered, active] of steps) {
      const { verdict, frame: octets } = from === 'client' ? ask('tcp', { flags }) : answer('tcp', { flags });
      expect(readFrame(octets)).toBe(`${from === 'client' ? there : back} ${sorted(flags)}`);
      expect(verdict).toEqual(from === 'client' ? 'redirect' : isSent);
      expect(balancer.flows()).toEqual([remembered]);
      expect(balancer.active(1, 0)).toBe(active);
      expect(balancer.replies()).toEqual([
        `${remembered.startsWith('firm') ? 'firm' : 'young'} 240.64.64.5:80>198.51.100.9:4000 to 192.0.2.1:8080`,
      ]);
    }
    expect(balancer.counters(1, 0)).toMatchObject({ connections: 2, packets: 7, replyPackets: 4 });
    expect(balancer.counters(1, 0).bytes).toBe(7 * 44);
  });

  test('the frame gets the MAC of the task and of this node', () => {
    publish('tcp');
    expect(macsOf(ask('tcp', { flags: 'S' }).frame)).toBe(`${taskMac(5)} < ${node.mac}`);
  });

  test.each([
    ['by the client', (): Outcome => ask('tcp', { flags: 'R' })],
    ['by the server', (): Outcome => answer('tcp', { flags: 'RA' })],
  ])('a reset %s ends it, and the next SYN is balanced anew', (_, reset) => {
    publish('tcp', [5, 6]);
    establish(request.from);
    reset();
    expect(balancer.flows()).toEqual([expect.stringMatching(/^young .*ESTABLISHED RESET$/)]);
    expect(balancer.active(1, 0)).toBe(0);
    expect(open(request.from)).toBe(6);
  });

  test('a refused connection is no established one', () => {
    publish('tcp');
    ask('tcp', { flags: 'S' });
    answer('tcp', { flags: 'RA' });
    ask('tcp', { flags: 'A' });
    expect(balancer.flows()).toEqual([expect.stringMatching(/^young .* RESET$/)]);
  });

  test('an ACK alone establishes nothing', () => {
    publish('tcp');
    ask('tcp', { flags: 'S' });
    ask('tcp', { flags: 'A' });
    expect(balancer.flows()).toEqual([expect.stringMatching(/^young/)]);
  });

  test('what has no flow and opens none is left to the node, which resets it', () => {
    publish('tcp');
    for (const flags of ['A', 'FA', 'R', 'SA'])
      expect(line(ask('tcp', { flags }))).toBe(`ok: tcp 198.51.100.9:4000 > 192.0.2.1:8080 ${sorted(flags)}`);
    expect(balancer.flows()).toEqual([]);
  });

  test('a full table leaves a flow in the tier that gives way', () => {
    const roomy = balancer;
    using tight = new TestBalancer(2); // two entries: one mesh flow
    balancer = tight;
    try {
      publish('tcp');
      for (const port of [4000, 4001]) establish(`${client}:${port}`);
      expect(balancer.flows().map((flow) => flow.split(' ')[0])).toEqual(['firm', 'young']);
      expect(line(ask('tcp', { from: `${client}:4001` }))).toMatch(/^redirect: .* > 240\.64\.64\.5:80 A$/);
      expect(balancer.active(1, 0)).toBe(1);
    } finally {
      balancer = roomy;
    }
  });
});

const sorted = (flags: string): string => [...'FSRPA'].filter((letter) => flags.includes(letter)).join('');

describe('what is left alone', () => {
  const cases: [name: string, octets: () => Buffer][] = [
    [
      'a port that is not published',
      () => frame('tcp', { ...request, to: `${node.address}:81`, flags: 'S' }),
    ],
    ['the port of another protocol', () => frame('udp', request)],
    [
      'an address that is not this node',
      () => frame('tcp', { ...request, to: '192.0.2.77:8080', flags: 'S' }),
    ],
    ['a tagged frame', () => frame('tcp', { ...request, flags: 'S', vlan: 7 })],
    [
      'a frame to another machine',
      () => frame('tcp', { ...request, flags: 'S', macs: { to: '02:00:00:00:00:01' } }),
    ],
    ['a broadcast', () => frame('tcp', { ...request, flags: 'S', macs: { to: 'ff:ff:ff:ff:ff:ff' } })],
    ['a TCP header cut short', () => cut(frame('tcp', { ...request, flags: 'S', payloadBytes: 0 }), 6)],
    [
      'a later fragment of nobody knows what',
      () => fragments('udp', { ...request, payloadBytes: 100 }, 64)[1] as Buffer,
    ],
    ['ARP', () => Buffer.from(`${'ff'.repeat(6)}0200000000990806${'00'.repeat(28)}`, 'hex')],
    [
      'an error about nothing of ours',
      () =>
        icmpError(
          { from: client, to: node.address },
          frame('tcp', { from: `${node.address}:22`, to: `${client}:4000` }),
        ),
    ],
  ];
  test.each(cases)('%s', (_, octets) => {
    publish('tcp');
    for (const program of ['skep_uplink', 'skep_return', 'skep_alias', 'skep_vip'] as const) {
      const { verdict, frame: after } = balancer.run(program, octets());
      expect([verdict, after.equals(octets())]).toEqual(['ok', true]);
    }
    expect(balancer.flows()).toEqual([]);
  });

  test('everything, while nobody serves', () => {
    balancer.serve({
      index: 1,
      port: { protocol: 'tcp', published: 8080 },
      servers: [{ task: 5 }],
      slots: [],
    });
    expect(line(ask('tcp', { flags: 'S' }))).toMatch(/^ok: .* > 192\.0\.2\.1:8080/);
    balancer.serve({
      index: 1,
      port: { protocol: 'tcp', published: 8080 },
      servers: [{ task: 5, weight: 0 }],
    });
    expect(line(ask('tcp', { flags: 'S' }))).toMatch(/^ok: .* > 192\.0\.2\.1:8080/);
  });

  /** Takes octets off the end and says so in the IP header. */
  function cut(octets: Buffer, bytes: number): Buffer {
    return Buffer.from(octets.subarray(0, octets.length - bytes));
  }
});

describe('udp', () => {
  test('an answer makes it answered, what follows an established flow', () => {
    publish('udp');
    const tier = (): string[] => balancer.flows().map((flow) => flow.replace(/ .*80/, ''));
    expect(line(ask('udp'))).toBe('redirect: udp 198.51.100.9:4000 > 240.64.64.5:80');
    expect(tier()).toEqual(['young']);
    ask('udp');
    expect(tier()).toEqual(['young']); // many a question is asked twice before its answer
    expect(line(answer('udp'))).toMatch(/: udp 192\.0\.2\.1:8080 > 198\.51\.100\.9:4000$/);
    expect(tier()).toEqual(['young ANSWERED']);
    ask('udp');
    expect(tier()).toEqual(['firm ANSWERED ESTABLISHED']);
    expect(balancer.active(1, 0)).toBe(1);
  });

  test('so does a second answer, for a server that only sends', () => {
    publish('udp');
    ask('udp');
    answer('udp');
    answer('udp');
    expect(balancer.flows()).toEqual([expect.stringMatching(/^firm/)]);
  });

  test('no checksum stays none', () => {
    publish('udp');
    expect(line(ask('udp', { checksum: false }))).toBe(
      'redirect: udp 198.51.100.9:4000 > 240.64.64.5:80 no checksum',
    );
    expect(line(answer('udp', { checksum: false }))).toMatch(/ no checksum$/);
  });

  test('checksums stay right, whatever the payload', () => {
    publish('udp');
    for (let payloadBytes = 0; payloadBytes < 300; payloadBytes += 7)
      expect(line(ask('udp', { payloadBytes }))).toBe('redirect: udp 198.51.100.9:4000 > 240.64.64.5:80');
  });

  test('a flow whose real server is gone is balanced anew', () => {
    publish('udp', [5, 6]);
    expect(line(ask('udp'))).toContain(aliasOf(5));
    balancer.removeServer(1, 0);
    expect(line(ask('udp'))).toContain(aliasOf(6));
    expect(balancer.replies()).toEqual([expect.stringContaining(`${aliasOf(6)}:80>`)]);
  });
});

describe('sctp', () => {
  test('an association goes through both tiers', () => {
    publish('sctp');
    ask('sctp', { chunk: 'init' });
    answer('sctp', { chunk: 'initAck' });
    expect(balancer.flows()).toEqual([expect.stringMatching(/^young .* ANSWERED$/)]);
    ask('sctp', { chunk: 'cookieEcho' });
    expect(balancer.flows()).toEqual([expect.stringMatching(/^firm/)]);
    answer('sctp', { chunk: 'shutdownComplete' });
    expect(balancer.flows()).toEqual([expect.stringMatching(/^young .* RESET$/)]);
    expect(balancer.active(1, 0)).toBe(0);
  });

  test('its checksum stays right, at any length', () => {
    publish('sctp');
    ask('sctp', { chunk: 'init' });
    for (let payloadBytes = 0; payloadBytes <= 1400; payloadBytes += payloadBytes < 40 ? 1 : 97) {
      expect(line(ask('sctp', { payloadBytes }))).toBe('redirect: sctp 198.51.100.9:4000 > 240.64.64.5:80');
      expect(line(answer('sctp', { payloadBytes }))).toMatch(
        /: sctp 192\.0\.2\.1:8080 > 198\.51\.100\.9:4000$/,
      );
    }
  });

  test('a checksum left to the device is left to it', () => {
    publish('sctp');
    expect(line(ask('sctp', { chunk: 'init', checksum: false }))).toMatch(/:80 no checksum$/);
  });

  test('without an association and no INIT: left to the node', () => {
    publish('sctp');
    expect(line(ask('sctp'))).toMatch(/^ok: .* > 192\.0\.2\.1:8080$/);
  });

  test('a fragmented packet cannot be given another port, and is counted', () => {
    publish('sctp');
    ask('sctp', { chunk: 'init' });
    const [first] = fragments('sctp', { ...request, payloadBytes: 200 }, 96);
    expect(balancer.run('skep_uplink', first as Buffer).verdict).toBe('drop');
    expect(balancer.drops(1)).toEqual({ DROP_MALFORMED: 1 });
  });
});

test('IP options are stepped over', () => {
  publish('tcp');
  publish('udp');
  for (const optionBytes of [4, 12, 40]) {
    expect(line(ask('tcp', { flags: 'S', optionBytes }))).toBe(
      'redirect: tcp 198.51.100.9:4000 > 240.64.64.5:80 S',
    );
    expect(line(ask('udp', { optionBytes }))).toBe('redirect: udp 198.51.100.9:4000 > 240.64.64.5:80');
    expect(line(answer('udp', { optionBytes }))).toMatch(/: udp 192\.0\.2\.1:8080 > 198\.51\.100\.9:4000$/);
  }
});

describe('draining', () => {
  test('established flows keep their task; a new one, or the same port again, gets another', () => {
    publish('tcp', [5, 6]);
    establish(request.from);
    balancer.setServer(1, 0, { task: 5, weight: 0 });
    expect(line(ask('tcp', { flags: 'A' }))).toContain(aliasOf(5));
    for (let port = 5000; port < 5020; port++) expect(open(`${client}:${port}`)).toBe(6);
    expect(open(request.from)).toBe(6);
    expect([balancer.active(1, 0), balancer.active(1, 1)]).toEqual([0, 0]);
  });

  test('a UDP flow goes to another task at its next datagram, if there is one', () => {
    publish('udp', [5, 6]);
    ask('udp');
    balancer.setServer(1, 0, { task: 5, weight: 0 });
    expect(line(ask('udp'))).toContain(aliasOf(6));
    expect(line(ask('udp', { from: `${client}:4001` }))).toContain(aliasOf(6));
  });

  test('a flow of a real server that another has replaced is void', () => {
    publish('tcp', [5]);
    establish(request.from);
    balancer.setServer(1, 0, { task: 7, generation: 2 });
    expect(line(ask('tcp', { flags: 'A' }))).toBe('redirect: tcp 192.0.2.1:8080 > 198.51.100.9:4000 R');
    expect(balancer.flows()).toEqual([]);
    expect(balancer.active(1, 0)).toBe(1); // userspace zeroes it with the new generation, not the programs
    expect(open(request.from)).toBe(7);
  });
});

describe('a flow that is gone', () => {
  const macs = { from: taskMac(5) };
  const back = 'tcp 198.51.100.9:4000 > 240.64.64.5:80';

  test.each([
    [{ flags: 'A', sequence: 10, acknowledged: 0xfffffff0 }, 'R', { sequence: 0xfffffff0, acknowledged: 0 }],
    [{ flags: 'PA', payloadBytes: 1000, acknowledged: 7 }, 'R', { sequence: 7, acknowledged: 0 }],
    [{ flags: 'SA', acknowledged: 1 }, 'R', { sequence: 1, acknowledged: 0 }],
    [{ flags: 'F', sequence: 10, payloadBytes: 5 }, 'RA', { sequence: 0, acknowledged: 16 }],
    [{ flags: 'S', sequence: 0xffffffff, payloadBytes: 0 }, 'RA', { sequence: 0, acknowledged: 0 }],
  ])('the task that still believes in it is reset: %j', (options, flags, numbers) => {
    const outcome = answer('tcp', { ...options, macs });
    expect(line(outcome)).toBe(`redirect: ${back} ${flags}`);
    expect(tcpNumbers(outcome.frame)).toEqual(numbers);
    expect(macsOf(outcome.frame)).toBe(`${macs.from} < 00:00:00:00:00:00`);
    expect(outcome.frame.length).toBe(54);
  });

  test.each([
    ['a reset', 'tcp', { flags: 'RA' }],
    ['a datagram', 'udp', {}],
    ['an association', 'sctp', {}],
  ] as const)('%s is not answered', (_, transport, options) => {
    expect(answer(transport, options).verdict).toBe('drop');
  });

  test('the client of a real server that is gone is reset by the node it called', () => {
    publish('tcp', [5, 6]);
    establish(request.from);
    balancer.removeServer(1, 0);
    const outcome = ask('tcp', { flags: 'PA', acknowledged: 99 });
    expect(line(outcome)).toBe('redirect: tcp 192.0.2.1:8080 > 198.51.100.9:4000 R');
    expect(tcpNumbers(outcome.frame)).toEqual({ sequence: 99, acknowledged: 0 });
    expect(line(answer('tcp', { flags: 'PA', acknowledged: 3 }))).toBe(`redirect: ${back} R`);
  });
});

describe('two requests with one reply', () => {
  beforeEach(() => {
    publish('tcp', [5, 6], 8080, 1);
    publish('tcp', [5, 6], 9090, 2);
  });

  test('go to two tasks', () => {
    expect(open(request.from, `${node.address}:8080`)).toBe(5);
    expect(open(request.from, `${node.address}:9090`)).toBe(6);
    expect(open(request.from, `${node.other}:9090`)).toBeNull();
    expect(balancer.drops(2)).toEqual({ DROP_COLLISION: 1 });
  });

  test('may have one task after another', () => {
    balancer.setServer(1, 1, { task: 6, weight: 0 });
    balancer.setServer(2, 1, { task: 6, weight: 0 });
    establish(request.from, `${node.address}:8080`);
    expect(open(request.from, `${node.address}:9090`)).toBeNull();
    answer('tcp', { flags: 'RA' });
    expect(open(request.from, `${node.address}:9090`)).toBe(5);
    expect(balancer.replies()).toEqual([`young 240.64.64.5:80>${client}:4000 to 192.0.2.1:9090`]);
  });

  test('calls from 127.0.0.1 and from the own address count as one client', () => {
    expect(open('127.0.0.1:4000', '127.0.0.1:8080', 'skep_loopback')).toBe(5);
    expect(open(`${node.own}:4000`, `${node.own}:8080`, 'skep_loopback')).toBe(6);
  });
});

describe('the node’s own calls', () => {
  test('127.0.0.1 becomes the own address, and is told so in the reply', () => {
    publish('tcp');
    const call = { from: '127.0.0.1:4000', to: '127.0.0.1:8080', macs: { from: '00:00:00:00:00:00' } };
    const there = send('skep_loopback', 'tcp', { ...call, flags: 'S' });
    expect(line(there)).toBe('redirect: tcp 10.0.1.1:4000 > 240.64.64.5:80 S');
    expect(macsOf(there.frame)).toBe(`${taskMac(5)} < ${node.mac}`);
    const back = answer('tcp', { to: `${node.own}:4000`, flags: 'SA' });
    expect(line(back)).toBe('redirect: tcp 127.0.0.1:8080 > 127.0.0.1:4000 SA');
    expect(macsOf(back.frame)).toBe('00:00:00:00:00:00 < 00:00:00:00:00:00');
    send('skep_loopback', 'tcp', { ...call, flags: 'A' });
    expect(balancer.flows()).toEqual([
      'firm 127.0.0.1:4000>127.0.0.1:8080 to 240.64.64.5:80 as 10.0.1.1 ANSWERED ESTABLISHED LOOPBACK',
    ]);
  });

  test('an address of its own stays what it is', () => {
    publish('tcp');
    const call = { from: `${node.address}:4000`, to: `${node.address}:8080` };
    expect(line(send('skep_loopback', 'tcp', { ...call, flags: 'S' }))).toBe(
      'redirect: tcp 192.0.2.1:4000 > 240.64.64.5:80 S',
    );
    const back = answer('tcp', { to: call.from, flags: 'SA' });
    expect(line(back)).toBe('redirect: tcp 192.0.2.1:8080 > 192.0.2.1:4000 SA');
  });

  test('what passes lo to other ports is left alone', () => {
    publish('tcp');
    expect(
      line(send('skep_loopback', 'tcp', { from: '127.0.0.1:8080', to: '127.0.0.1:4000', flags: 'SA' })),
    ).toMatch(/^ok: /);
  });
});

describe('replies', () => {
  test('of no flow never reach the client, unless that is the node itself', () => {
    expect(answer('udp').verdict).toBe('drop');
    expect(answer('tcp', { flags: 'A', to: `${node.own}:4000` }).verdict).toBe('ok');
    expect(
      line(send('skep_return', 'tcp', { from: '10.0.0.5:80', to: `${node.own}:4000`, flags: 'A' })),
    ).toBe('ok: tcp 10.0.0.5:80 > 10.0.1.1:4000 A');
  });

  test('to another machine are none of this node’s', () => {
    publish('tcp');
    establish(request.from);
    const flooded = answer('tcp', { macs: { to: '02:00:00:00:00:01' } });
    expect(line(flooded)).toBe('ok: tcp 240.64.64.5:80 > 198.51.100.9:4000 A');
  });

  test('set out to the node that their alias names', () => {
    balancer.aliasNode(0x101, '02:42:0a:00:01:07' as Mac);
    const { verdict, frame: octets } = send('skep_alias', 'tcp', reply);
    expect([verdict, macsOf(octets), readFrame(octets)]).toEqual([
      'ok',
      '02:42:0a:00:01:07 < 02:00:00:00:00:99',
      'tcp 240.64.64.5:80 > 198.51.100.9:4000 A',
    ]);
    expect(send('skep_alias', 'tcp', { ...reply, from: '240.64.128.5:80' }).verdict).toBe('drop');
    expect(send('skep_alias', 'tcp', { ...reply, from: '10.0.0.5:80' }).verdict).toBe('ok');
  });
});

describe('ICMP errors', () => {
  test('of a client about a reply go to the task, in the task’s terms', () => {
    publish('udp');
    ask('udp');
    const error = icmpError(
      { from: client, to: node.address },
      frame('udp', { from: request.to, to: request.from }),
    );
    const outcome = balancer.run('skep_uplink', error);
    expect(line(outcome)).toBe(
      'redirect: icmp 198.51.100.9 > 240.64.64.5 3/3 (udp 240.64.64.5:80 > 198.51.100.9:4000)',
    );
    expect(macsOf(outcome.frame)).toBe(`${taskMac(5)} < ${node.mac}`);
  });

  test('of a router too, which stays their source', () => {
    publish('tcp');
    establish(request.from);
    const about = frame('tcp', { from: request.to, to: request.from, optionBytes: 8 });
    const error = icmpError({ from: '203.0.113.1', to: node.address, code: 4 }, about);
    expect(line(balancer.run('skep_uplink', error))).toBe(
      'redirect: icmp 203.0.113.1 > 240.64.64.5 3/4 mtu 0 (tcp 240.64.64.5:80 > 198.51.100.9:4000)',
    );
  });

  test('of a task about a request go to the client, in the client’s terms', () => {
    publish('udp');
    ask('udp');
    const about = frame('udp', { from: request.from, to: `${aliasOf(5)}:80` });
    const { verdict, frame: octets } = balancer.run(
      'skep_return',
      icmpError({ from: aliasOf(5), to: client }, about),
    );
    expect(verdict).toEqual(isSent);
    expect(readFrame(octets)).toBe(
      'icmp 192.0.2.1 > 198.51.100.9 3/3 (udp 198.51.100.9:4000 > 192.0.2.1:8080)',
    );
    const unknown = frame('udp', { from: `${client}:4999`, to: `${aliasOf(5)}:80` });
    expect(balancer.run('skep_return', icmpError({ from: aliasOf(5), to: client }, unknown)).verdict).toBe(
      'drop',
    );
  });

  test('between the node itself and a task, both ways', () => {
    publish('udp');
    const call = { from: '127.0.0.1:4000', to: '127.0.0.1:8080' };
    send('skep_loopback', 'udp', call);
    const refusal = icmpError(
      { from: '127.0.0.1', to: '127.0.0.1' },
      frame('udp', { from: call.to, to: call.from }),
    );
    expect(line(balancer.run('skep_loopback', refusal))).toBe(
      'redirect: icmp 10.0.1.1 > 240.64.64.5 3/3 (udp 240.64.64.5:80 > 10.0.1.1:4000)',
    );
    const about = frame('udp', { from: `${node.own}:4000`, to: `${aliasOf(5)}:80` });
    expect(line(balancer.run('skep_return', icmpError({ from: aliasOf(5), to: node.own }, about)))).toBe(
      'redirect: icmp 127.0.0.1 > 127.0.0.1 3/3 (udp 127.0.0.1:4000 > 127.0.0.1:8080)',
    );
  });
});

describe('fragments', () => {
  const large = { ...request, payloadBytes: 2000 };

  test('follow the first one, and make one packet with a right checksum', () => {
    publish('udp');
    const outcomes = fragments('udp', large, 800).map((part) => balancer.run('skep_uplink', part));
    expect(outcomes.map(line)).toEqual([
      'redirect: udp 198.51.100.9:4000 > 240.64.64.5:80 +0',
      'redirect: udp 198.51.100.9 > 240.64.64.5 +800',
      'redirect: udp 198.51.100.9 > 240.64.64.5 +1600',
    ]);
    expect(outcomes.map(({ frame: octets }) => macsOf(octets))).toEqual(
      Array(3).fill(`${taskMac(5)} < ${node.mac}`),
    );
    expect(readFrame(reassemble(outcomes.map(({ frame: octets }) => octets)))).toBe(
      'udp 198.51.100.9:4000 > 240.64.64.5:80',
    );
    expect(balancer.counters(1, 0)).toMatchObject({ connections: 1, packets: 3, bytes: 2008 + 3 * 20 });
  });

  test('of replies too; one ahead of its first is lost and counted', () => {
    publish('udp');
    ask('udp');
    const parts = fragments('udp', { ...reply, payloadBytes: 1600 }, 800);
    expect(balancer.run('skep_return', parts[1] as Buffer).verdict).toBe('drop');
    expect(balancer.drops(0)).toEqual({ DROP_FRAGMENT: 1 });
    const outcomes = parts.map((part) => balancer.run('skep_return', part));
    for (const { verdict } of outcomes) expect(verdict).toEqual(isSent);
    expect(readFrame(reassemble(outcomes.map(({ frame: octets }) => octets)))).toBe(
      'udp 192.0.2.1:8080 > 198.51.100.9:4000',
    );
  });

  test('larger than the tunnel takes: the node’s own stack gets all of them, marked', () => {
    publish('udp');
    const outcomes = fragments('udp', large, 1480).map((part) => balancer.run('skep_uplink', part));
    expect(outcomes.map((outcome) => [outcome.mark, line(outcome)])).toEqual([
      [mark, 'ok: udp 198.51.100.9:4000 > 240.64.64.5:80 +0'],
      [mark, 'ok: udp 198.51.100.9 > 240.64.64.5 +1480'],
    ]);
    for (const { frame: octets } of outcomes)
      expect(macsOf(octets)).toBe('00:00:00:00:00:00 < 02:00:00:00:00:99');
  });

  test('of calls of 127.0.0.1, both ways', () => {
    publish('udp');
    const call = { from: '127.0.0.1:4000', to: '127.0.0.1:8080', payloadBytes: 1600 };
    const there = fragments('udp', call, 800).map((part) => balancer.run('skep_loopback', part));
    expect(readFrame(reassemble(there.map(({ frame: octets }) => octets)))).toBe(
      'udp 10.0.1.1:4000 > 240.64.64.5:80',
    );
    const replies = fragments('udp', { ...reply, to: `${node.own}:4000`, payloadBytes: 1600 }, 800);
    const back = replies.map((part) => balancer.run('skep_return', part));
    expect(back.map(({ verdict }) => verdict)).toEqual(['redirect', 'redirect', 'redirect']);
    expect(readFrame(reassemble(back.map(({ frame: octets }) => octets)))).toBe(
      'udp 127.0.0.1:8080 > 127.0.0.1:4000',
    );
  });
});

describe('packets larger than the tunnel takes', () => {
  test('that must not be fragmented are answered', () => {
    publish('udp');
    publish('tcp');
    establish(request.from);
    for (const transport of ['udp', 'tcp'] as const) {
      const outcome = ask(transport, {
        payloadBytes: 1440,
        unfragmentable: true,
        macs: { from: '02:00:00:00:00:07' },
      });
      expect(line(outcome)).toBe(
        `redirect: icmp 192.0.2.1 > 198.51.100.9 3/4 mtu 1450 (${transport} 198.51.100.9:4000 > 192.0.2.1:8080${transport === 'tcp' ? ' A' : ''})`,
      );
      expect(macsOf(outcome.frame)).toBe('02:00:00:00:00:07 < 00:00:00:00:00:00');
    }
    expect(balancer.drops(1)).toEqual({ DROP_OVERSIZE: 2 });
    expect(balancer.counters(1, 0).bytes).toBe(2 * 44); // those of the handshake
  });

  test('that may be are the stack’s, which fragments them', () => {
    publish('udp');
    const outcome = ask('udp', { payloadBytes: 1440 });
    expect([outcome.mark, line(outcome)]).toEqual([mark, 'ok: udp 198.51.100.9:4000 > 240.64.64.5:80']);
    expect(ask('udp', { payloadBytes: 1422 }).verdict).toBe('redirect'); // 1450 with its headers
  });

  test('the node’s own are, even if marked not to be', () => {
    publish('udp');
    const call = {
      from: '127.0.0.1:4000',
      to: '127.0.0.1:8080',
      payloadBytes: 2000,
      unfragmentable: true,
      id: 0,
    };
    const outcome = send('skep_loopback', 'udp', call);
    expect([outcome.mark, line(outcome)]).toEqual([mark, 'redirect: udp 10.0.1.1:4000 > 240.64.64.5:80']);
    expect(outcome.frame.readUInt16BE(20)).toBe(0);
    expect(macsOf(outcome.frame)).toMatch(/^00:00:00:00:00:00 < /);
  });

  test('unless they are many packets in one, each small enough', () => {
    publish('tcp');
    establish(request.from);
    const octets = frame('tcp', { ...request, payloadBytes: 2800, unfragmentable: true });
    const outcome = balancer.run('skep_uplink', octets, { gsoBytes: 1400, gsoSegments: 2 });
    expect(outcome.verdict).toBe('redirect');
    expect(balancer.counters(1, 0)).toMatchObject({ packets: 4, bytes: 2 * 44 + 2840 });
  });
});

describe('an administrator’s chains', () => {
  beforeEach(() => balancer.configure({ throughChains: true }));

  test('see every request, with its destination the alias', () => {
    publish('tcp');
    const outcome = ask('tcp', { flags: 'S' });
    expect([outcome.mark, line(outcome)]).toEqual([mark, 'ok: tcp 198.51.100.9:4000 > 240.64.64.5:80 S']);
    expect(macsOf(outcome.frame)).toBe('00:00:00:00:00:00 < 02:00:00:00:00:99');
  });

  test('also those of the node itself, which come in by lo for it', () => {
    publish('tcp');
    const outcome = send('skep_loopback', 'tcp', {
      from: '127.0.0.1:4000',
      to: '127.0.0.1:8080',
      flags: 'S',
    });
    expect([outcome.mark, line(outcome)]).toEqual([mark, 'redirect: tcp 10.0.1.1:4000 > 240.64.64.5:80 S']);
  });
});
