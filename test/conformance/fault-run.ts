/**
 * A run of random faults as a program of its own, here or in a guest: SKEP_ENGINE, SKEP_SEED, SKEP_FAULTS and SKEP_GAP_MS say
 * which. The report is the JSON line on standard output.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import { runFaults } from './faults.js';

const engine = process.env['SKEP_ENGINE'] as EngineName;
if (engine === 'ipvs') {
  const modules = [
    ...['rr', 'wrr', 'mh'].map((scheduler) => `ip_vs_${scheduler}`),
    ...['iptable_nat', 'xt_conntrack', 'xt_MASQUERADE'],
  ];
  await promisify(execFile)('modprobe', ['-d', '/tmp/modules', '-a', ...modules]);
}
const report = await runFaults({
  engine,
  name: `ft${process.pid}`,
  pinDirectory: `/sys/fs/bpf/ft${process.pid}`,
  seed: Number(process.env['SKEP_SEED']),
  faults: Number(process.env['SKEP_FAULTS']),
  gapMs: Number(process.env['SKEP_GAP_MS']),
});
console.log(JSON.stringify(report));
process.exit(0);
