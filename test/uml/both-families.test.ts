/** `ipvs` balances IPv6 as it does IPv4, in user-mode Linux: VIPs, and published ports of TCP and UDP. */
import { beforeAll, describe, expect, test } from 'vitest';
import { buildGuestProgram } from './guest-program.js';
import type { Report } from './user-mode-linux.js';
import { runScenario } from './user-mode-linux.js';
import { clientAddress, twinOf } from '../support/ipv6-cluster.js';
import { mynetAddress } from '../unit/dataplane/plan/network-state.js';

let reports: readonly Report[] = [];
const step = (name: string): Report => {
  const found = reports.find((report) => report['step'] === name);
  if (!found) throw new Error(`the guest told nothing of: ${name}`);
  return found;
};

beforeAll(async () => {
  await using program = await buildGuestProgram();
  reports = await runScenario(program.path('test/uml/guest/both-families.ts'), 120_000);
  if (process.env['SKEP_TEST_REPORT']) for (const report of reports) console.log(JSON.stringify(report));
}, 130_000);

describe('ipvs with IPv6', () => {
  test.each([
    ['VIP', twinOf(mynetAddress(5))],
    ['own VIP', twinOf(mynetAddress(3))],
    ['published port of node 1', clientAddress],
    ['published port of node 2', clientAddress],
  ])('both tasks answer in turn, and see who calls: %s', (name, caller) => {
    expect(step(name)['answers']).toEqual({ [`web3 ${caller}`]: 5, [`web4 ${caller}`]: 5 });
  });

  test('datagrams are answered from where they were sent to', () => {
    expect(step('datagrams')['answered']).toBe(10);
  });

  test('what the kernel holds is what is planned, and is known with its servers and flows', () => {
    expect(step('verify')).toMatchObject({ before: [], after: [] });
    const ofIpv6 = [6, 2];
    expect(step('table')).toMatchObject({ servers: [ofIpv6, ofIpv6, ofIpv6], flows: 10 });
  });

  test('a flush of rules is noticed', () => expect(step('flushed')['seen']).toBe(true));
});
