/**
 * Tries for real what the ebpf engine needs, as a process of its own in network and mount namespaces of its own, with which
 * everything it makes goes: the programs and maps by the addon, then one program as a filter on a device. Prints one JSON
 * line, {@link BpfFindings}. Run by probes.ts with the directory for a BPF file system as its argument.
 */
import { join } from 'node:path';
import { loadPrograms } from '../../dataplane/ebpf/bpf.js';
import { RouteNetlink } from '../../dataplane/netlink/route.js';
import type { Finding } from './diagnosis.js';

export interface BpfFindings {
  readonly bpf: Finding;
  readonly clsact: Finding;
}

const missing = (err: unknown): Finding => ({
  result: 'missing',
  // The verifier may have much to say; its last line says why.
  detail: (err instanceof Error ? err.message : String(err)).trim().split('\n').at(-1) ?? '',
});
const ok: Finding = { result: 'ok', detail: '' };

async function attach(programFd: number): Promise<void> {
  using netlink = new RouteNetlink(null);
  const name = 'skprobe0';
  await netlink.links.add({ kind: 'veth', name, peer: { name: 'skprobe1' } });
  const index = (await netlink.links.find(name))?.index ?? 0;
  await netlink.tc.ensureClsact(index);
  for (const hook of ['ingress', 'egress'] as const)
    await netlink.tc.replace({ index, hook, priority: 1, handle: 1, programFd, name, classId: 1 });
}

async function probe(directory: string): Promise<BpfFindings> {
  let programs;
  try {
    programs = loadPrograms({ pinDirectory: join(directory, 'skep') });
  } catch (err) {
    return { bpf: missing(err), clsact: { result: 'unknown', detail: 'cannot be tried without a program' } };
  }
  using loaded = programs;
  const [program] = loaded.programs.values();
  try {
    await attach(program?.fd ?? -1);
    return { bpf: ok, clsact: ok };
  } catch (err) {
    return { bpf: ok, clsact: missing(err) };
  }
}

process.stdout.write(`${JSON.stringify(await probe(process.argv[2] ?? ''))}\n`);
