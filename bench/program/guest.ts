/**
 * bench/program inside a guest kernel, with `ipvs`. What was found is a JSON line on standard output. SKEP_MODULES is the directory
 * whose modules are this kernel's; all sizes are given, as on the host.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { openEngineOf } from '../../test/conformance/engines.js';
import { measure, sizesOf } from './program.js';

const modules = process.env['SKEP_MODULES'] ?? '/tmp/modules';
await promisify(execFile)('modprobe', ['-d', modules, '-a', 'ip_vs_rr']);
const sizes = sizesOf({ services: NaN, among: NaN, rounds: NaN, share: NaN }, process.env);
const options = { name: 'prog', openEngine: () => openEngineOf('ipvs', '') };
console.log(JSON.stringify({ found: await measure(options, sizes) }));
process.exit(0);
