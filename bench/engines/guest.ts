/** bench/engines inside user-mode Linux, whose init gives no bpffs: engines that need none. Rows are JSON lines on standard output. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { enginesOf, measure } from './engines.js';

await promisify(execFile)('modprobe', ['-d', '/tmp/modules', '-a', 'ip_vs_rr']);
const engines = await enginesOf(false);
const { rows } = await measure({ engines, rounds: 5, seconds: 1, name: 'bench' });
for (const row of rows) console.log(JSON.stringify(row));
process.exit(0);
