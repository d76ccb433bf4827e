/** Which real server new flows get: each scheduler's distribution, affinity, and what is passed over. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { u32Octets } from '../../src/dataplane/ebpf/struct.js';
import { structs } from '../../src/dataplane/ebpf/layout.js';
import { ipv4Number } from '../../src/dataplane/ebpf/ipv4.js';
import type { TestServer, TestVirtualServer } from './bpf-balancer.js';
import { node, TestBalancer } from './bpf-balancer.js';
import { frame, readFrame } from './bpf-frames.js';

let balancer: TestBalancer;
beforeAll(() => {
  balancer = new TestBalancer();
});
beforeEach(() => {
  balancer.reset();
});
afterAll(() => balancer[Symbol.dispose]());

const serve = (servers: readonly TestServer[], rest: Partial<TestVirtualServer> = {}): void =>
  balancer.serve({ index: 1, port: { protocol: 'tcp', published: 8080 }, servers, ...rest });

/** The task that a new connection goes to; null: none. */
function open(from: string): number | null {
  const { verdict, frame: octets } = balancer.run(
    'skep_uplink',
    frame('tcp', { from, to: `${node.address}:8080`, flags: 'S' }),
  );
  return verdict === 'redirect' ? Number(/> 240\.64\.64\.(\d+):/.exec(readFrame(octets))?.[1]) : null;
}

let ports = 0;
const openMany = (count: number, client = '198.51.100.9'): (number | null)[] =>
  Array.from({ length: count }, () => open(`${client}:${1024 + (ports++ % 60_000)}`));
const clientOf = (i: number): string => `203.0.${100 + (i >> 8)}.${i & 255}`;

/** How many of each. */
const tally = (tasks: readonly (number | null)[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const task of tasks) counts[String(task)] = (counts[String(task)] ?? 0) + 1;
  return counts;
};

test('rr takes everybody in turn', () => {
  serve([{ task: 5 }, { task: 6 }, { task: 7 }]);
  expect(openMany(7)).toEqual([5, 6, 7, 5, 6, 7, 5]);
});

test('wrr goes through the slots as they are', () => {
  serve([{ task: 5, weight: 3 }, { task: 6 }], { scheduler: 'WRR', slots: [0, 0, 1, 0] });
  expect(openMany(8)).toEqual([5, 5, 6, 5, 5, 5, 6, 5]);
});

describe('lc', () => {
  test('takes the one with the fewest established flows', () => {
    serve([{ task: 5 }, { task: 6 }, { task: 7 }], { scheduler: 'LC' });
    balancer.setActive(1, 0, 3);
    balancer.setActive(1, 1, 1);
    balancer.setActive(1, 2, 2);
    expect(openMany(3)).toEqual([6, 6, 6]);
    balancer.setActive(1, 1, 4);
    expect(openMany(2)).toEqual([7, 7]);
  });

  test('equals take turns', () => {
    serve([{ task: 5 }, { task: 6 }, { task: 7 }], { scheduler: 'LC' });
    expect(tally(openMany(9))).toEqual({ 5: 3, 6: 3, 7: 3 });
    for (const position of [0, 1, 2]) balancer.setActive(1, position, 8);
    expect(tally(openMany(9))).toEqual({ 5: 3, 6: 3, 7: 3 });
  });

  test('looks at 256 of many', () => {
    const servers = Array.from({ length: 600 }, (_, i) => ({ task: 1 + (i % 200) }));
    serve(servers, { scheduler: 'LC' });
    servers.forEach((_, position) => balancer.setActive(1, position, 1000 - position));
    openMany(1);
    expect(balancer.counters(1, 255).connections).toBe(1); // the fewest of 0 to 255
  });
});

describe('mh', () => {
  const table = Array.from({ length: 251 }, (_, i) => i % 3);

  test('a client always gets the same, whatever its port', () => {
    serve([{ task: 5 }, { task: 6 }, { task: 7 }], { scheduler: 'MH', slots: table });
    for (let i = 0; i < 20; i++) expect(new Set(openMany(5, clientOf(i))).size).toBe(1);
  });

  test('clients with addresses in a row are spread over all', () => {
    serve([{ task: 5 }, { task: 6 }, { task: 7 }], { scheduler: 'MH', slots: table });
    const counts = Object.values(tally(Array.from({ length: 900 }, (_, i) => open(`${clientOf(i)}:4000`))));
    expect(counts).toHaveLength(3);
    // 300 expected each; six standard deviations of a fair choice
    for (const count of counts) expect(Math.abs(count - 300)).toBeLessThan(85);
  });

  test('a draining one’s clients go to the next slot, the others stay', () => {
    serve([{ task: 5 }, { task: 6 }, { task: 7 }], { scheduler: 'MH', slots: table });
    const clients = Array.from({ length: 60 }, (_, i) => clientOf(i));
    const before = clients.map((client) => open(`${client}:4000`));
    balancer.setServer(1, 0, { task: 5, weight: 0 });
    const after = clients.map((client) => open(`${client}:4001`));
    expect(after).toEqual(before.map((task) => (task === 5 ? 6 : task)));
    expect(before).toContain(5);
  });
});

describe('affinity', () => {
  const affinityOf = (client: string): { expiresNs: bigint; realServer: number } | null => {
    const key = structs.affinityKey.encode({ virtualServer: 1, client: ipv4Number(client) });
    const value = balancer.map('skep_affinity').get(key);
    return value && structs.affinity.decode(value);
  };

  test('a client stays, others go on in turn', () => {
    serve([{ task: 5 }, { task: 6 }, { task: 7 }], { affinityS: 600 });
    expect(openMany(4)).toEqual([5, 5, 5, 5]);
    expect(openMany(2, '203.0.113.1')).toEqual([6, 6]);
    const left = Number((affinityOf('198.51.100.9')?.expiresNs ?? 0n) - process.hrtime.bigint());
    expect(left / 1e9).toBeGreaterThan(590);
    expect(left / 1e9).toBeLessThanOrEqual(601);
  });

  test('until it expires', () => {
    serve([{ task: 5 }, { task: 6 }], { affinityS: 600 });
    expect(openMany(2)).toEqual([5, 5]);
    const key = structs.affinityKey.encode({ virtualServer: 1, client: ipv4Number('198.51.100.9') });
    const affinity = structs.affinity.decode(balancer.map('skep_affinity').get(key) as Buffer);
    balancer
      .map('skep_affinity')
      .put(key, structs.affinity.encode({ ...affinity, expiresNs: process.hrtime.bigint() - 10n ** 9n }));
    expect(openMany(2)).toEqual([6, 6]);
  });

  test.each([
    ['drains', (): void => balancer.setServer(1, 0, { task: 5, weight: 0 })],
    ['is gone', (): void => balancer.removeServer(1, 0)],
    ['was replaced by another', (): void => balancer.setServer(1, 0, { task: 8, generation: 2 })],
  ])('not with a real server that %s', (_, change) => {
    serve([{ task: 5 }, { task: 6 }], { affinityS: 600 });
    expect(openMany(2)).toEqual([5, 5]);
    change();
    expect(openMany(3)).toEqual([6, 6, 6]);
  });
});

describe('slots that are passed over', () => {
  test('those that drain, and those of another virtual server', () => {
    serve([{ task: 5 }, { task: 6, weight: 0 }, { task: 7 }]);
    expect(openMany(4)).toEqual([5, 7, 7, 5]);
    balancer.removeServer(1, 0);
    expect(openMany(2)).toEqual([7, 7]);
    balancer.removeServer(1, 2);
    expect(openMany(1)).toEqual([null]);
  });

  test('a slot with nobody in it', () => {
    serve([{ task: 5 }, { task: 6 }]);
    balancer.put('skep_slots', 1024, u32Octets(0));
    expect(openMany(2)).toEqual([6, 6]);
  });
});
