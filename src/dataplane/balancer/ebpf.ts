/**
 * The `ebpf` engine: programs of native/bpf/ on the devices, their maps pinned for the node. Loaded when it is first needed;
 * after the node has left its cluster nothing of it is in the kernel until it is needed again.
 */
import assert from 'node:assert';
import type { Vni } from '../../model/ids.js';
import { ebpfPlan, programNames } from '../plan/ebpf.js';
import type { BalancerEngine, BalancerTable, Program, TableScope } from './engine.js';
import type { NodeTables } from './node-tables.js';

export class EbpfEngine implements BalancerEngine {
  readonly name = 'ebpf';
  readonly plan: BalancerEngine['plan'];
  #tables: NodeTables | null;
  readonly #open: () => NodeTables;

  /**
   * Loads the programs, as their digests belong to the plan.
   * @param open loads programs and maps; throws KernelError, MissingBpfError where there is no BPF to be had
   */
  constructor(open: () => NodeTables) {
    this.#open = open;
    this.#tables = open();
    const { programs } = this.#tables;
    const tags = programNames.map((name) => {
      const program = programs.get(name);
      assert(program, `the object file has a program ${name}`);
      return [name, program.tag];
    });
    this.plan = ebpfPlan(Object.fromEntries(tags) as Parameters<typeof ebpfPlan>[0]);
  }

  [Symbol.dispose](): void {
    this.#tables?.[Symbol.dispose]();
    this.#tables = null;
  }

  async open(scope: TableScope): Promise<BalancerTable> {
    return new ScopeTable(
      scope,
      () => this.#tables,
      () => this.#load(),
    );
  }

  async programs(): Promise<ReadonlyMap<string, Program>> {
    return this.#load().programs;
  }

  overlays(): readonly Vni[] {
    return this.#tables?.overlays() ?? [];
  }

  async forgetOverlay(vni: Vni): Promise<void> {
    await this.#tables?.forget(vni);
  }

  async release(): Promise<void> {
    if (this.#tables === null) return;
    await this.#tables.remove();
    this[Symbol.dispose]();
  }

  async expireFlows(): Promise<number> {
    return (await this.#tables?.expireFlows()) ?? 0;
  }

  #load(): NodeTables {
    return (this.#tables ??= this.#open());
  }
}

/** One scope's part of maps that may not be loaded: then they hold nothing. */
class ScopeTable implements BalancerTable {
  #view: { readonly of: NodeTables; readonly table: BalancerTable } | null = null;

  constructor(
    private readonly scope: TableScope,
    private readonly loaded: () => NodeTables | null,
    private readonly load: () => NodeTables,
  ) {}

  [Symbol.dispose](): void {
    this.#view?.table[Symbol.dispose]();
    this.#view = null;
  }

  observe: BalancerTable['observe'] = async (fresh) => (await this.#held()?.observe(fresh)) ?? [];
  refresh: BalancerTable['refresh'] = async () => (await this.#held()?.refresh()) ?? false;
  apply: BalancerTable['apply'] = (ops) => this.#of(this.load()).apply(ops);
  counters: BalancerTable['counters'] = async () => (await this.#held()?.counters()) ?? [];
  flows: BalancerTable['flows'] = async (limit) => (await this.#held()?.flows(limit)) ?? [];

  #held(): BalancerTable | null {
    const tables = this.loaded();
    return tables && this.#of(tables);
  }

  #of(tables: NodeTables): BalancerTable {
    if (this.#view?.of !== tables) {
      this[Symbol.dispose]();
      this.#view = { of: tables, table: tables.view(this.scope.vni, this.scope.links) };
    }
    return this.#view.table;
  }
}
