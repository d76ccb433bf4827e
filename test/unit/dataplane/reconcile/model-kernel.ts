/** A kernel as a map of namespaces: what the reconciler's tests put in the real one's place. */
import type { Ip } from '../../../../src/model/addresses.js';
import type { OutsideError } from '../../../../src/model/errors.js';
import type { Vni } from '../../../../src/model/ids.js';
import type { Change, Kernel, Observation } from '../../../../src/dataplane/kernel/kernel.js';
import { KernelError } from '../../../../src/dataplane/kernel/kernel-error.js';
import type { Op } from '../../../../src/dataplane/plan/diff.js';
import { applyToImage, opLine } from '../../../../src/dataplane/plan/diff.js';
import type { EngineName } from '../../../../src/dataplane/plan/balancing.js';
import { ebpfPlan } from '../../../../src/dataplane/plan/ebpf.js';
import { ipvsPlan } from '../../../../src/dataplane/plan/ipvs.js';
import type { Scope } from '../../../../src/dataplane/plan/node.js';
import { scopeName } from '../../../../src/dataplane/plan/node.js';
import type { KernelObject } from '../../../../src/dataplane/plan/objects.js';
import { identity } from '../../../../src/dataplane/plan/objects.js';
import { hostOf, programTags } from '../plan/network-state.js';

export const engines: Readonly<Record<EngineName, Kernel['engine']>> = {
  ipvs: { name: 'ipvs', plan: ipvsPlan },
  ebpf: { name: 'ebpf', plan: ebpfPlan(programTags) },
};

export class ModelKernel implements Kernel {
  readonly engine: Kernel['engine'];
  readonly namespaces = new Map<string, KernelObject[]>([
    ['host', hostOf(1)],
    ['esp', []],
  ]);
  /** `scope: op` of everything done, in order. */
  readonly applied: string[] = [];
  observed = 0;
  /** Scopes whose chains and sets were read. */
  readonly freshlyRead: string[] = [];
  /** Ops that may still be done before the process "dies"; the next one throws. */
  opsLeft = Infinity;
  balancingUnavailable: OutsideError | null = null;
  /** Scopes in which every op fails. */
  readonly broken = new Set<string>();
  readonly listeners = new Map<string, (what: Change) => void>();
  /** Called after a scope was read, and before each op; with the scope's name. */
  onceObserved?: (name: string) => void;
  onApply?: (name: string) => void;
  mtuBytes: number | null = 1500;
  /** How often the engine was given back. */
  releases = 0;

  constructor(engine: EngineName = 'ipvs') {
    this.engine = engines[engine];
  }

  async observe(scope: Scope, _sysctls: readonly string[], fresh: boolean): Promise<Observation> {
    this.observed += 1;
    if (fresh) this.freshlyRead.push(scopeName(scope));
    const objects = this.namespaces.get(scopeName(scope));
    this.onceObserved?.(scopeName(scope));
    return {
      exists: objects !== undefined,
      objects: objects ?? [],
      balancingUnavailable: this.balancingUnavailable,
    };
  }

  /** Scopes of which something changed without a word. */
  readonly changedQuietly = new Set<string>();
  async refresh(scope: Scope): Promise<boolean> {
    return this.changedQuietly.delete(scopeName(scope));
  }

  async apply(scope: Scope, ops: readonly Op[]): Promise<void> {
    const name = scopeName(scope);
    let run: Op[] = [];
    const settle = (): void => {
      if (run.length > 0) this.namespaces.set(name, applyToImage(this.namespaces.get(name) ?? [], run));
      run = [];
    };
    try {
      for (const op of ops) {
        if (this.onApply) settle();
        this.onApply?.(name);
        if (this.broken.has(name)) throw new KernelError(opLine(op), 'EPERM');
        if (this.opsLeft <= 0) throw new KernelError('the process was killed', 'EINTR');
        this.opsLeft -= 1;
        run.push(op);
        this.applied.push(`${name}: ${opLine(op)}`);
        const { object } = op;
        // A new namespace has the parameters of the modules that are loaded.
        if (object.kind === 'namespace') {
          settle();
          this.put(name, { kind: 'sysctl', path: 'net/bridge/bridge-nf-call-iptables', value: '1' });
        }
        // The other half of a pair appears with the first.
        if (object.kind === 'link' && op.op === 'add' && object.peer) {
          const { name: peer, mac, mtu } = object.peer;
          this.put('host', { kind: 'link', name: peer, type: 'veth', mac, mtu, up: false });
        }
      }
    } finally {
      settle();
    }
  }

  put(name: string, ...objects: KernelObject[]): void {
    const held = this.namespaces.get(name) ?? [];
    const ops = objects.map((object): Op => ({ op: 'add', object }));
    this.namespaces.set(name, applyToImage(held, ops));
  }

  remove(name: string, id: string): void {
    const held = this.namespaces.get(name) ?? [];
    this.namespaces.set(
      name,
      held.filter((object) => identity(object) !== id),
    );
  }

  async overlayNamespaces(): Promise<Vni[]> {
    return [...this.namespaces.keys()].flatMap((name) =>
      name.startsWith('overlay ') ? [Number(name.slice('overlay '.length)) as Vni] : [],
    );
  }

  async deleteOverlayNamespace(vni: Vni): Promise<void> {
    this.namespaces.delete(`overlay ${vni}`);
    this.applied.push(`overlay ${vni}: - namespace`);
  }

  async release(): Promise<void> {
    this.releases += 1;
  }

  async underlayMtu(_vtep: Ip): Promise<number | null> {
    return this.mtuBytes;
  }

  watch(scope: Scope, onChange: (what: Change) => void): Disposable | null {
    const name = scopeName(scope);
    if (!this.namespaces.has(name)) return null;
    this.listeners.set(name, onChange);
    return { [Symbol.dispose]: () => this.listeners.delete(name) };
  }

  forget(): void {}
}
