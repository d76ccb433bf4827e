/** What needs IPVS, in user-mode Linux: the routing mesh and VIPs as programmed by the reconciler. One guest, about half a minute. */
import { beforeAll, describe, expect, test } from 'vitest';
import { buildGuestProgram } from './guest-program.js';
import type { Report } from './user-mode-linux.js';
import { runScenario } from './user-mode-linux.js';

let reports: readonly Report[] = [];
const reported = (name: string): Report => {
  const found = reports.find((report) => report['name'] === name);
  if (!found)
    throw new Error(`no report ${name} among ${reports.map((report) => report['name']).join(', ')}`);
  return found;
};

beforeAll(async () => {
  await using program = await buildGuestProgram();
  reports = await runScenario(program.path('test/uml/guest/balancing.ts'), 110_000);
  if (process.env['SKEP_TEST_REPORT']) for (const report of reports) console.log(JSON.stringify(report));
}, 120_000);

describe('balancing', () => {
  const spread = { web3: 30, web4: 30, web6: 30 };
  const cases: readonly (readonly [title: string, report: string, callers: readonly string[]])[] = [
    ['the mesh through node1 shows the client', 'node3 -> http://192.168.50.1:8080', ['192.168.50.3']],
    ['the mesh through node2 shows the client', 'node3 -> http://192.168.50.2:8080', ['192.168.50.3']],
    ['a caller reaches the VIP under its own address', 'c5 -> http://10.0.1.2', ['10.0.1.5']],
    ["the service's own task is balanced, too", 'c3 -> http://10.0.1.2', ['10.0.1.3']],
    ['a node calls its own port', 'node1 -> http://192.168.50.1:8080', ['192.168.50.1']],
    ['a node with tasks calls through another', 'node1 -> http://192.168.50.2:8080', ['192.168.50.1']],
  ];
  for (const [title, name, callers] of cases)
    test(title, () => expect(reported(name)).toEqual({ name, count: spread, callers, failed: 0 }));

  test('the kernel equals the plan on both nodes', () => {
    for (const node of ['node1', 'node2'])
      for (const when of ['programmed', 'draining', 'left'])
        expect(reported(`verify ${when}, ${node}`)['differences']).toEqual([]);
  });

  test('a task that stops serving gets no new flow', () => {
    const answered = reports.flatMap(({ count }) => (count ? [count as Record<string, number>] : []));
    const drained = answered.filter((count) => count['web3'] && !count['web4']);
    expect(drained).toEqual([
      { web3: 10, web6: 10 },
      { web3: 10, web6: 10 },
    ]);
  });

  test('a service without backends refuses at once', () => {
    expect(reports.filter(({ failed }) => failed === 1)).toHaveLength(2);
    expect(reported('refused')['ms']).toBeLessThan(3_000);
  });

  test('nothing is left when the node leaves', () => {
    for (const node of ['node1', 'node2']) expect(reported(`left, ${node}`)['found']).toEqual([]);
  });
});
