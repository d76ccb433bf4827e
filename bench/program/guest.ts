/**
 * bench/program inside user-mode Linux, with `ipvs`, the engine that it can run. Each round is a JSON line on standard output. Sizes
 * are given as on the host, and SKEP_BENCH_ROUNDS of all.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ipvsEngine } from '../../src/dataplane/balancer/ipvs.js';
import { measure, sizesOf } from './program.js';

await promisify(execFile)('modprobe', ['-d', '/tmp/modules', '-a', 'ip_vs_rr']);
const sizes = sizesOf({ services: NaN, among: NaN, changes: NaN, share: NaN }, process.env);
for (let round = 0; round < Number(process.env['SKEP_BENCH_ROUNDS']); round += 1) {
  const found = await measure({ name: 'prog', openEngine: () => ipvsEngine }, sizes);
  console.log(JSON.stringify({ round: { engine: ipvsEngine.name, ...found } }));
}
process.exit(0);
