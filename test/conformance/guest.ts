/**
 * The conformance list as a program, for a guest kernel: SKEP_ENGINE names the balancer engine (`ipvs` by default),
 * SKEP_ONLY matches the names to run, SKEP_OF_KERNEL=1 leaves out what the daemon alone decides, SKEP_EXCEPTIONS (`2=ipvs`) names
 * nodes that have another engine. Reports are JSON lines on standard output.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import { runConformance } from './conformance.js';

const run = promisify(execFile);
const modules = [
  ...['rr', 'wrr', 'lc', 'mh'].map((scheduler) => `ip_vs_${scheduler}`),
  ...['iptable_nat', 'xt_conntrack', 'xt_MASQUERADE', 'sctp', 'hmac', 'md5', 'sha1_generic'],
];
/** Where the guest's init put the modules, if the kernel's own directory is not theirs. */
const directory = process.env['SKEP_MODULES'] ?? '/tmp/modules';
await run('modprobe', ['-d', directory, '-a', ...modules]);

const engine = (process.env['SKEP_ENGINE'] ?? 'ipvs') as EngineName;
const { SKEP_ONLY: only, SKEP_OF_KERNEL: ofKernel, SKEP_EXCEPTIONS = '' } = process.env;
const exceptions = new Map(
  SKEP_EXCEPTIONS.split(',').flatMap((text): [number, EngineName][] => {
    const [node, other] = text.split('=');
    return other === undefined ? [] : [[Number(node), other as EngineName]];
  }),
);
const options = { engine, exceptions, name: 'conf', pinDirectory: '/sys/fs/bpf/skep-conformance' };
await runConformance(options, (report) => console.log(JSON.stringify(report)), only, ofKernel === '1');
process.exit(0);
