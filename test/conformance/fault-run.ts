/**
 * A run of random faults as a program of its own, here or in a guest: SKEP_ENGINE (`ipvs` in a guest), SKEP_SEED, SKEP_FAULTS and
 * SKEP_GAP_MS say which. The report is the JSON line on standard output.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import { runFaults } from './faults.js';

const engine = process.env['SKEP_ENGINE'] as EngineName;
// Where the kernel finds no modules by itself.
const modules = process.env['SKEP_MODULES'];
if (modules !== undefined)
  await promisify(execFile)('modprobe', ['-d', modules, '-a', 'xt_conntrack', 'xt_MASQUERADE']);
const report = await runFaults({
  engine,
  name: `ft${process.pid}`,
  pinDirectory: `/sys/fs/bpf/ft${process.pid}`,
  inGuest: engine === 'ipvs',
  seed: Number(process.env['SKEP_SEED']),
  faults: Number(process.env['SKEP_FAULTS']),
  gapMs: Number(process.env['SKEP_GAP_MS']),
});
console.log(JSON.stringify(report));
process.exit(0);
