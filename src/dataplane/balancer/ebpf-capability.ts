/** Whether this kernel is one for the `ebpf` engine: what ebpf-trial.ts finds, in a process of its own. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** What one trial found. `unknown`: it could not be made, `detail` says why. */
export interface Trial {
  readonly result: 'ok' | 'missing' | 'unknown';
  readonly detail: string;
}

export interface EbpfFindings {
  /** Programs and maps load. */
  readonly bpf: Trial;
  /** Programs run as machine code; interpreted ones cost several times as much a packet. */
  readonly compiled: Trial;
  /** Programs can be filters of devices. */
  readonly clsact: Trial;
  /** Rules can keep flows out of connection tracking. */
  readonly tracking: Trial;
}

/** The kernel verifies every path through the programs; emulated or in user-mode Linux that takes seconds. */
const trialMs = 30_000;
/** Compiled; the path holds from src/ and from dist/ alike. */
const trialProgram = fileURLToPath(
  new URL('../../../dist/dataplane/balancer/ebpf-trial.js', import.meta.url),
);
const run = promisify(execFile);

/**
 * Needs root. What cannot be tried at all is unknown, with the reason.
 * @param directory where programs and maps are pinned meanwhile, on a BPF file system or below a directory that may become one;
 *   absent: one that only the trial sees. A daemon's sandbox allows no namespace of mounts, so it names one beside its own.
 */
export async function tryEbpf(directory?: string): Promise<EbpfFindings> {
  if (directory !== undefined) {
    try {
      return await runTrial(['--net'], directory);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }
  const own = await mkdtemp(join(tmpdir(), 'skep-ebpf-'));
  try {
    return await runTrial(['--net', '--mount'], own);
  } finally {
    await rmdir(own);
  }
}

async function runTrial(namespaces: readonly string[], directory: string): Promise<EbpfFindings> {
  try {
    const command = [...namespaces, '--', process.execPath, trialProgram, directory];
    const { stdout } = await run('unshare', command, { timeout: trialMs });
    return JSON.parse(stdout) as EbpfFindings;
  } catch (err) {
    const detail = ((err as { stderr?: string }).stderr ?? '').trim().split('\n').at(-1) ?? '';
    const why: Trial = { result: 'unknown', detail: detail || (err as Error).message };
    return { bpf: why, compiled: why, clsact: why, tracking: why };
  }
}

/** Whether all of it is there, so that a node with IPVS as well is better off with `ebpf` (docs/adr/0048). */
export const suitsEbpf = (findings: EbpfFindings): boolean =>
  Object.values(findings).every(({ result }: Trial) => result === 'ok');
