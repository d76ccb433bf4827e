/**
 * bench/engines inside a guest kernel, with every engine that it can run (`ebpf` where there is a bpffs). Rows are JSON lines on
 * standard output. SKEP_MODULES is the directory whose modules are this kernel's, SKEP_BENCH_ROUNDS and _SECONDS as on the
 * host.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { enginesHere } from '../harness/engines.js';
import { measure } from './engines.js';

await promisify(execFile)('modprobe', [
  ...['-d', process.env['SKEP_MODULES'] ?? '/tmp/modules'],
  ...['-a', 'ip_vs_rr'],
]);
const { rows } = await measure({
  // User-mode Linux, which names no modules, cannot run the other one.
  engines: process.env['SKEP_MODULES'] === undefined ? ['ipvs'] : await enginesHere(),
  rounds: Number(process.env['SKEP_BENCH_ROUNDS'] ?? 5),
  seconds: Number(process.env['SKEP_BENCH_SECONDS'] ?? 1),
  name: 'bench',
});
for (const row of rows) console.log(JSON.stringify(row));
process.exit(0);
