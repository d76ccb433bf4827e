/**
 * bench/program inside a guest kernel, with every engine that it can run (`ebpf` where there is a bpffs). Each round is a JSON line
 * on standard output. SKEP_MODULES is the directory whose modules are this kernel's; sizes are given as on the host, and
 * SKEP_BENCH_ROUNDS_OF_ALL.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { openEngineOf } from '../../test/conformance/engines.js';
import { enginesHere } from '../engines-here.js';
import { measure, sizesOf } from './program.js';

const modules = process.env['SKEP_MODULES'] ?? '/tmp/modules';
await promisify(execFile)('modprobe', ['-d', modules, '-a', 'ip_vs_rr']);
const sizes = sizesOf({ services: NaN, among: NaN, changes: NaN, share: NaN }, process.env);
for (let round = 0; round < Number(process.env['SKEP_BENCH_ROUNDS']); round += 1)
  for (const engine of await enginesHere()) {
    const openEngine = (node: string): ReturnType<typeof openEngineOf> =>
      openEngineOf(engine, `/sys/fs/bpf/prog${round}/${node}`);
    console.log(
      JSON.stringify({ round: { engine, ...(await measure({ name: 'prog', openEngine }, sizes)) } }),
    );
  }
process.exit(0);
