/**
 * Which engine balances on this host: what the configuration says, else the one that has flows here already, else `ebpf` where
 * the kernel has all that makes it the faster one, else `ipvs` where the kernel has that, else `ebpf` (docs/adr/0048). A module
 * that somebody loads later, or a daemon that prefers another engine than the one before it, must not end flows at the next start.
 */
import { OutsideError } from '../../model/errors.js';
import type { EngineName } from '../plan/balancing.js';
import { EbpfEngine } from './ebpf.js';
import type { BalancerEngine } from './engine.js';
import { ipvsEngine } from './ipvs.js';
import type { NodeTables } from './node-tables.js';

export type EngineChoice = EngineName | 'auto';

export interface EngineSource {
  readonly choice: EngineChoice;
  /** Whether the kernel has IPVS. */
  readonly hasIpvs: () => Promise<boolean>;
  /** Whether `ebpf` balances for this node's cluster already. */
  readonly ebpfBalances: boolean;
  /** Whether virtual servers of ours are in this kernel's IPVS. Asked where {@link hasIpvs} is true. */
  readonly ipvsBalances: () => Promise<boolean>;
  /** Whether this kernel runs `ebpf` at its full speed; takes a process and some tenths of a second. */
  readonly suitsEbpf: () => Promise<boolean>;
  /** Loads programs and maps of `ebpf`. */
  readonly openTables: () => NodeTables;
  /** A kernel that has neither gets `ipvs`, whose reconciler names what lacks; this is why `ebpf` was none. */
  readonly onNeither: (err: OutsideError) => void;
}

/** Rejects with OutsideError when the engine that is asked for cannot be had. */
export async function chooseEngine(source: EngineSource): Promise<BalancerEngine> {
  const { choice, hasIpvs, ebpfBalances, ipvsBalances, suitsEbpf, openTables, onNeither } = source;
  if (choice === 'ipvs') return ipvsEngine;
  if (choice === 'ebpf') return new EbpfEngine(openTables);
  if (!ebpfBalances && (await hasIpvs()) && ((await ipvsBalances()) || !(await suitsEbpf())))
    return ipvsEngine;
  try {
    return new EbpfEngine(openTables);
  } catch (err) {
    if (!(err instanceof OutsideError)) throw err;
    onNeither(err);
    return ipvsEngine;
  }
}
