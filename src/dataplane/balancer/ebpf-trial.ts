/**
 * Tries for real what the `ebpf` engine needs, as a process of its own in a network namespace of its own, with which everything it
 * makes goes but for pins, which it removes: the programs and maps by the addon, one program as a filter on a device, a rule of
 * iptables. Prints one JSON line, {@link EbpfFindings}. Run by ebpf-capability.ts with the directory for the pins as its argument.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadPrograms, removePins } from '../ebpf/bpf.js';
import { RouteNetlink } from '../netlink/route.js';
import type { EbpfFindings, Trial } from './ebpf-capability.js';

const missing = (why: string): Trial => ({
  result: 'missing',
  // The verifier may have much to say; its last line says why.
  detail: why.trim().split('\n').at(-1) ?? '',
});
const failed = (err: unknown): Trial => missing(err instanceof Error ? err.message : String(err));
const ok: Trial = { result: 'ok', detail: '' };

async function attach(programFd: number): Promise<Trial> {
  try {
    using netlink = new RouteNetlink(null);
    const name = 'skprobe0';
    await netlink.links.add({ kind: 'veth', name, peer: { name: 'skprobe1' } });
    const index = (await netlink.links.find(name))?.index ?? 0;
    await netlink.tc.ensureClsact(index);
    for (const hook of ['ingress', 'egress'] as const)
      await netlink.tc.replace({ index, hook, priority: 1, handle: 1, programFd, name, classId: 1 });
    return ok;
  } catch (err) {
    return failed(err);
  }
}

/** What the kernel says of a program's descriptor: /proc/PID/fdinfo, bpf_prog_show_fdinfo() of kernel/bpf/syscall.c. */
function isCompiled(programFd: number): Trial {
  return /^prog_jited:\s*1$/m.test(readFileSync(`/proc/self/fdinfo/${programFd}`, 'utf8'))
    ? ok
    : missing('the kernel interprets them');
}

function bypassesTracking(): Trial {
  const input = '*raw\n-A PREROUTING -j CT --notrack\nCOMMIT\n';
  const { error, status, stderr } = spawnSync('iptables-restore', ['--noflush'], { input, encoding: 'utf8' });
  if (error) return { result: 'unknown', detail: 'cannot be tried without iptables-restore' };
  return status === 0 ? ok : missing(stderr);
}

async function findings(pinDirectory: string): Promise<EbpfFindings> {
  const tracking = bypassesTracking();
  let programs;
  try {
    programs = loadPrograms({ pinDirectory });
  } catch (err) {
    const untried: Trial = { result: 'unknown', detail: 'cannot be tried without a program' };
    return { bpf: failed(err), compiled: untried, clsact: untried, tracking };
  }
  using loaded = programs;
  const fd = [...loaded.programs.values()][0]?.fd ?? -1;
  return { bpf: ok, compiled: isCompiled(fd), clsact: await attach(fd), tracking };
}

const pinDirectory = join(process.argv[2] ?? '', 'skep');
try {
  // Left by a trial that was killed; of another layout, perhaps.
  removePins(pinDirectory);
  process.stdout.write(`${JSON.stringify(await findings(pinDirectory))}\n`);
} finally {
  removePins(pinDirectory);
}
