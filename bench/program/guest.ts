/**
 * bench/program inside a guest kernel, with `ipvs`. A report is a JSON line on standard output. SKEP_MODULES is the directory
 * whose modules are this kernel's; the sizes as on the host.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { openEngineOf } from '../../test/conformance/engines.js';
import { measure, sizesOf } from './program.js';

await promisify(execFile)('modprobe', [
  '-d',
  process.env['SKEP_MODULES'] ?? '/tmp/modules',
  '-a',
  'ip_vs_rr',
]);
const sizes = sizesOf({ services: 1_000, among: 1_000, rounds: 30, share: 0.01 }, process.env);
const options = { name: 'prog', openEngine: () => openEngineOf('ipvs', '') };
console.log(JSON.stringify({ found: await measure(options, sizes) }));
process.exit(0);
