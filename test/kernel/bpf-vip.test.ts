/** Calls of VIPs on single packets: the destination's MAC changes and nothing else, and a flow keeps its task. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Outcome } from './bpf-balancer.js';
import { taskAddress, taskMac, TestBalancer } from './bpf-balancer.js';
import type { FrameOptions, Transport } from './bpf-frames.js';
import { fragments, frame, icmpError, macsOf, readFrame } from './bpf-frames.js';

let balancer: TestBalancer;
beforeAll(() => {
  balancer = new TestBalancer();
});
beforeEach(() => {
  balancer.reset();
  balancer.serve({ index: 1, vip: '10.0.0.2', servers: [{ task: 5 }, { task: 6 }] });
});
afterAll(() => balancer[Symbol.dispose]());

const caller = taskAddress(9);
const call: FrameOptions = {
  from: `${caller}:4000`,
  to: '10.0.0.2:80',
  macs: { from: taskMac(9), to: '02:42:00:00:00:01' },
};
const ask = (transport: Transport, options: Partial<FrameOptions> = {}): Outcome =>
  run(frame(transport, { ...call, ...options }));
const run = (octets: Buffer): Outcome => balancer.run('skep_vip', octets);

/** Where the frame goes, having seen that nothing else of it changed. */
function sentTo({ verdict, frame: after }: Outcome, before: Buffer): string {
  expect(after.subarray(6).equals(before.subarray(6))).toBe(true);
  return `${verdict}: ${macsOf(after).split(' < ')[0] ?? ''}`;
}

describe('tcp', () => {
  test('a connection goes through both tiers, seen from the client alone', () => {
    const flow = '10.0.0.9:4000>10.0.0.2:80 to 10.0.0.5:0';
    const steps: [flags: string, remembered: string, active: number][] = [
      ['S', `young ${flow}`, 0],
      ['S', `young ${flow}`, 0],
      ['A', `firm ${flow} ANSWERED ESTABLISHED`, 1],
      ['PA', `firm ${flow} ANSWERED ESTABLISHED`, 1],
      ['FA', `young ${flow} ANSWERED ESTABLISHED CLIENT_FIN`, 0],
      ['A', `young ${flow} ANSWERED ESTABLISHED CLIENT_FIN`, 0],
    ];
    for (const [flags, remembered, active] of steps) {
      expect(sentTo(ask('tcp', { flags }), frame('tcp', { ...call, flags }))).toBe(`ok: ${taskMac(5)}`);
      expect(balancer.flows()).toEqual([remembered]);
      expect(balancer.replies()).toEqual([]);
      expect(balancer.active(1, 0)).toBe(active);
    }
    expect(balancer.counters(1, 0)).toEqual({
      connections: 1,
      packets: 6,
      bytes: 6 * 44,
      replyPackets: 0,
      replyBytes: 0,
    });
  });

  test('every port is the VIP’s', () => {
    const macs = [1, 80, 65535].map((port) =>
      macsOf(ask('tcp', { to: `10.0.0.2:${port}`, flags: 'S' }).frame),
    );
    expect(macs.map((mac) => mac.split(' ')[0])).toEqual([taskMac(5), taskMac(6), taskMac(5)]);
  });

  test('without a flow and opening none: left to the bridge, which has the VIP and resets it', () => {
    const before = frame('tcp', { ...call, flags: 'A' });
    const { verdict, frame: after } = run(before);
    expect([verdict, after.equals(before)]).toEqual(['ok', true]);
    expect(balancer.flows()).toEqual([]);
  });

  test('a draining task keeps what is established and gets nothing new', () => {
    for (const flags of ['S', 'A']) ask('tcp', { flags });
    balancer.setServer(1, 0, { task: 5, weight: 0 }, true);
    expect(sentTo(ask('tcp'), frame('tcp', call))).toBe(`ok: ${taskMac(5)}`);
    for (let port = 5000; port < 5010; port++) {
      const fresh = { from: `${caller}:${port}`, flags: 'S' };
      expect(sentTo(ask('tcp', fresh), frame('tcp', { ...call, ...fresh }))).toBe(`ok: ${taskMac(6)}`);
    }
  });

  test('a flow of a task that another has replaced is void', () => {
    for (const flags of ['S', 'A']) ask('tcp', { flags });
    balancer.setServer(1, 0, { task: 7, generation: 2 }, true);
    const { verdict, frame: octets } = run(frame('tcp', call));
    expect(`${verdict}: ${readFrame(octets)}`).toBe(
      `redirect: tcp ${call.to} > ${call.from} ${call.flags === 'S' ? 'RA' : 'R'}`,
    );
    expect(balancer.flows()).toEqual([]);
  });
});

test('a caller that is chosen itself gets the frame back by its own port', () => {
  const own = {
    from: `${taskAddress(5)}:4000`,
    macs: { from: taskMac(5), to: '02:42:00:00:00:01' },
    flags: 'S',
  };
  expect(sentTo(ask('tcp', own), frame('tcp', { ...call, ...own }))).toBe(`redirect: ${taskMac(5)}`);
});

test('udp: a second packet makes it an established flow', () => {
  for (const tier of ['young', 'firm', 'firm']) {
    expect(sentTo(ask('udp', { checksum: false }), frame('udp', { ...call, checksum: false }))).toBe(
      `ok: ${taskMac(5)}`,
    );
    expect(balancer.flows()).toEqual([expect.stringMatching(`^${tier}`)]);
  }
});

test('sctp: INIT begins, what follows establishes, ABORT ends', () => {
  for (const [chunk, tier] of [
    ['init', 'young'],
    ['cookieEcho', 'firm'],
    ['abort', 'young'],
  ] as const) {
    expect(sentTo(ask('sctp', { chunk }), frame('sctp', { ...call, chunk }))).toBe(`ok: ${taskMac(5)}`);
    expect(balancer.flows()).toEqual([expect.stringMatching(`^${tier}`)]);
  }
});

test('what nobody serves, or is no VIP, is left alone', () => {
  balancer.serve({ index: 2, vip: '10.0.0.3', servers: [], slots: [] });
  for (const to of ['10.0.0.3:80', '10.0.0.77:80']) {
    const before = frame('tcp', { ...call, to, flags: 'S' });
    const { verdict, frame: after } = run(before);
    expect([verdict, after.equals(before)]).toEqual(['ok', true]);
  }
  const echo = icmpError({ from: caller, to: '10.0.0.2', type: 8, code: 0 }, frame('udp', call));
  expect(run(echo).frame.equals(echo)).toBe(true);
});

test('an ICMP error about a reply goes where the flow goes', () => {
  ask('udp');
  ask('udp', { from: `${caller}:4001` });
  const about = frame('udp', { from: call.to, to: `${caller}:4001` });
  const error = icmpError({ from: caller, to: '10.0.0.2' }, about);
  expect(sentTo(run(error), error)).toBe(`ok: ${taskMac(6)}`);
});

test('fragments follow their first; one ahead of it is lost and counted', () => {
  ask('udp', { from: `${caller}:4001` }); // the first task's turn
  const parts = fragments('udp', { ...call, payloadBytes: 1600 }, 800);
  expect(run(parts[1] as Buffer).verdict).toBe('drop');
  expect(balancer.drops(1)).toEqual({ DROP_FRAGMENT: 1 });
  for (const part of parts) expect(sentTo(run(part), part)).toBe(`ok: ${taskMac(6)}`);
});
