/**
 * bench/engines inside a guest kernel, with every engine that it can run (`ebpf` where there is a bpffs). Rows are JSON lines on
 * standard output. SKEP_MODULES is the directory whose modules are this kernel's, SKEP_BENCH_ROUNDS and _SECONDS as on the
 * host.
 */
import { execFile } from 'node:child_process';
import { statfs } from 'node:fs/promises';
import { promisify } from 'node:util';
import { enginesOf, measure } from './engines.js';

/** BPF_FS_MAGIC of linux/magic.h. */
const bpfFilesystem = 0xcafe4a11;

await promisify(execFile)('modprobe', [
  ...['-d', process.env['SKEP_MODULES'] ?? '/tmp/modules'],
  ...['-a', 'ip_vs_rr'],
]);
const { type } = await statfs('/sys/fs/bpf').catch(() => ({ type: 0 }));
const { rows } = await measure({
  engines: await enginesOf(type === bpfFilesystem),
  rounds: Number(process.env['SKEP_BENCH_ROUNDS'] ?? 5),
  seconds: Number(process.env['SKEP_BENCH_SECONDS'] ?? 1),
  name: 'bench',
});
for (const row of rows) console.log(JSON.stringify(row));
process.exit(0);
