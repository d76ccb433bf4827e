/** The `ipvs` part of docs/packet-walk.md as a program for a guest kernel: one report, the text. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ipvsEngine } from '../../src/dataplane/balancer/ipvs.js';
import { describePacketWalk } from './packet-walk.js';

const modules = ['xt_conntrack', 'xt_MASQUERADE', 'sctp'];
await promisify(execFile)('modprobe', [
  '-d',
  process.env['SKEP_MODULES'] ?? '/tmp/modules',
  '-a',
  ...modules,
]);
const text = await describePacketWalk({ engine: 'ipvs', name: 'walk', openEngine: () => ipvsEngine });
console.log(JSON.stringify({ text }));
process.exit(0);
