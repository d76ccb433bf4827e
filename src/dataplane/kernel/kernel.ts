/** What the reconciler asks of the kernel: the seam that tests put a model behind. */
import type { Family, Ip } from '../../model/addresses.js';
import type { Vni } from '../../model/ids.js';
import type { BalancerEngine } from '../balancer/engine.js';
import type { Op } from '../plan/diff.js';
import type { Scope } from '../plan/node.js';
import type { KernelObject } from '../plan/objects.js';
import type { OutsideError } from '../../model/errors.js';

/** What one namespace holds. */
export interface Observation {
  /** False: there is no such namespace. */
  readonly exists: boolean;
  readonly objects: readonly KernelObject[];
  /** Set when balancing cannot be read or programmed here, e.g. for want of a module. */
  readonly balancingUnavailable: OutsideError | null;
  /** In a container: somebody answers names there, so that questions may be led to him. Absent: nobody does. */
  readonly namesAnswered?: boolean;
}

/** Answers names inside containers: the DNS server. */
export interface SandboxNames {
  /** Opens its sockets in the namespace unless they are; false while it cannot. */
  openSandbox(path: string): boolean | Promise<boolean>;
  closeSandbox(path: string): void | Promise<void>;
}

/** What of a namespace may change without a word: chains alone, which cost next to nothing to ask for, or everything. */
export type Quiet = 'chains' | 'all';

/** What was changed: something that a look shows, or rules of anybody, of which {@link Kernel.refresh} tells whether ours are among them. */
export type Change = 'objects' | 'rules';

export interface Kernel {
  /** What balances here. */
  readonly engine: Pick<BalancerEngine, 'name' | 'plan'>;
  /**
   * Reads one namespace. Rejects with KernelError.
   * @param sysctls paths below /proc/sys to read
   * @param fresh true: chains and sets are read, too, rather than taken to be as last read and written. Reading them
   *   takes a process each, and nobody else has business with them.
   * @param chains families whose chains are looked at, beside those in which some of ours have been seen; null: none is
   */
  observe(
    scope: Scope,
    sysctls: readonly string[],
    fresh: boolean,
    chains: readonly Family[] | null,
  ): Promise<Observation>;
  /** Does the ops in order. Rejects with KernelError at the first that fails. */
  apply(scope: Scope, ops: readonly Op[]): Promise<void>;
  /** VNIs of the overlays that there is something of: a namespace, or what the engine keeps elsewhere. */
  overlayNamespaces(): Promise<Vni[]>;
  /** Removes an overlay's namespace with all that is in it, and what the engine keeps for it elsewhere. */
  deleteOverlayNamespace(vni: Vni): Promise<void>;
  /** The node left its cluster and the scopes are empty: the engine gives back what it holds itself. Rejects with KernelError. */
  release(): Promise<void>;
  /** MTU in bytes of the host's device that holds the address, null when none does. */
  underlayMtu(vtep: Ip): Promise<number | null>;
  /**
   * Compares what changes without a notification (rules, sets, kernel parameters, the balancer's tables, which namespace has
   * the name) with what was last read and since written: true where somebody else has changed it. The next {@link Kernel.observe} then shows it. Takes a
   * process only where something did change. Rejects with KernelError.
   */
  refresh(scope: Scope, quiet: Quiet): Promise<boolean>;
  /**
   * Calls back when something in the namespace changed by somebody else's doing, or may have. Null when there is no such
   * namespace (yet). With iptables-legacy rules change without a word.
   */
  watch(scope: Scope, onChange: (what: Change) => void): Disposable | null;
  /** Closes what is kept open for a scope that is no longer wanted. */
  forget(scope: Scope): void;
}
