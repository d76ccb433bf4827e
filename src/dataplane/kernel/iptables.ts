/**
 * Chains of ours in one namespace, read with `iptables-save` and written with `iptables-restore --noflush`, IPv6's with
 * `ip6tables-save` and `ip6tables-restore`: one process of a family and one transaction a table for any number of changes.
 * Strangers' chains and rules are never written.
 */
import type { Family } from '../../model/addresses.js';
import { families } from '../../model/addresses.js';
import type { Op } from '../plan/diff.js';
import type { Netfilter } from '../netlink/netfilter.js';
import { subscribeRules } from '../netlink/netfilter.js';
import { isOurChain } from '../plan/names.js';
import type { Chain, FirewallTable, Jump } from '../plan/objects.js';
import { runTool } from './child.js';
import { LegacyRules } from './legacy-rules.js';
import type { Quiet } from './kernel.js';

const tables = ['filter', 'mangle', 'nat', 'raw'] as const satisfies readonly FirewallTable[];

/** What the names of a family's programs begin with. */
export const firewallTools: Readonly<Record<Family, string>> = { 4: 'iptables', 6: 'ip6tables' };

/** The packet filters of a namespace: a family's is first looked at when it is asked for, and always from then on. */
export class Firewall {
  readonly #filters: ReadonlyMap<Family, Iptables>;
  /** A daemon that starts does not know what an earlier one has left; of IPv6 there is none but where state or routes say so. */
  readonly #used = new Set<Family>([4]);
  /** Null: nobody listens. */
  #told: boolean | null = null;

  constructor(
    private readonly netns: string | null,
    netfilter: () => Netfilter,
  ) {
    this.#filters = new Map(families.map((family) => [family, new Iptables(netns, family, netfilter)]));
  }

  /** Whether all of them are looked at already. */
  covers(asked: readonly Family[]): boolean {
    return asked.every((family) => this.#used.has(family));
  }

  /**
   * Listens until disposed. Calls back when anybody, ourselves included, has changed a rule; iptables-legacy tells nothing.
   * One at a time. Throws Error with `code` when the namespace cannot be entered.
   */
  watch(onChange: () => void): Disposable {
    const rules = subscribeRules(this.netns, () => {
      this.#told = true;
      onChange();
    });
    // What came before may have gone unheard.
    this.#told = true;
    for (const filter of this.#filters.values()) filter.attend(true);
    return {
      [Symbol.dispose]: () => {
        rules[Symbol.dispose]();
        for (const filter of this.#filters.values()) filter.attend(false);
        this.#told = null;
      },
    };
  }

  /**
   * Whether anybody, ourselves included, has changed a rule since the last {@link observe}. Rejects with KernelError, NetlinkError.
   * @param quiet `chains`: not even asked where {@link watch} would have told; else perhaps not where as many rules of the same
   * sizes are there
   */
  async mayHaveChanged(quiet: Quiet): Promise<boolean> {
    if (quiet === 'chains' && this.#told === false && !(await isLegacy())) return false;
    if (this.#told !== null) this.#told = false;
    const answers = await Promise.all(this.#inUse().map((filter) => filter.mayHaveChanged(quiet)));
    return answers.includes(true);
  }

  /** Our chains with their rules, and the jumps to them from anywhere. Rejects with KernelError, NetlinkError. */
  async observe(asked: readonly Family[] = []): Promise<(Chain | Jump)[]> {
    for (const family of asked) this.#used.add(family);
    return (await Promise.all(this.#inUse().map((filter) => filter.observe()))).flat();
  }

  /** All of a family's ops in one transaction a table. Rejects with KernelError; a table is then as it was. */
  async apply(ops: readonly (Op & { readonly object: Chain | Jump })[]): Promise<void> {
    for (const [family, filter] of this.#filters) {
      const ofFamily = ops.filter(({ object }) => object.family === family);
      if (ofFamily.length === 0) continue;
      this.#used.add(family);
      await filter.apply(ofFamily);
    }
  }

  #inUse(): Iptables[] {
    return [...this.#filters].flatMap(([family, filter]) => (this.#used.has(family) ? [filter] : []));
  }
}

/** One family's packet filter. */
class Iptables {
  /** How often a jump stands in its chain, as last observed: all of them must go when it is moved or removed. */
  #jumpCounts = new Map<string, number>();
  /** {@link #mark} when the rules were last read; null: written since. What is broken again as it was has the same one again. */
  #readAt: Readonly<Record<Quiet, string>> | null = null;
  #isAttended = false;
  /** Kept open while it is attended. */
  #legacy: LegacyRules | undefined;

  constructor(
    private readonly netns: string | null,
    private readonly family: Family,
    private readonly netfilter: () => Netfilter,
  ) {}

  /** Whether it is to be asked often from now on, and its namespace may be kept for that. */
  attend(isAttended: boolean): void {
    this.#isAttended = isAttended;
    if (isAttended) return;
    this.#legacy?.[Symbol.dispose]();
    this.#legacy = undefined;
  }

  async mayHaveChanged(quiet: Quiet): Promise<boolean> {
    return (await this.#mark(quiet)) !== this.#readAt?.[quiet];
  }

  async observe(): Promise<(Chain | Jump)[]> {
    this.#readAt = { chains: await this.#mark('chains'), all: await this.#mark('all') };
    const { objects, jumpCounts } = parseSaved(
      await runTool(this.netns, [`${firewallTools[this.family]}-save`], ''),
      this.family,
    );
    this.#jumpCounts = jumpCounts;
    return objects;
  }

  async apply(ops: readonly Op[]): Promise<void> {
    this.#readAt = null;
    await runTool(
      this.netns,
      [`${firewallTools[this.family]}-restore`, '--noflush', '--wait', '5'],
      formatTransaction(ops, this.#jumpCounts),
    );
  }

  /**
   * Differs after a change, and costs no process: nf_tables counts changes, iptables-legacy has nothing but its rules. To read
   * those the kernel makes copies of them, so four times a second only their number and sizes are asked for, which no flush leaves.
   */
  async #mark(quiet: Quiet): Promise<string> {
    return (await isLegacy())
      ? this.#legacyDigest(quiet === 'all')
      : String(await this.netfilter().rulesGeneration());
  }

  #legacyDigest(whole: boolean): string {
    const rules = this.#legacy ?? new LegacyRules(this.netns, this.family);
    try {
      return rules.digest(whole);
    } finally {
      if (this.#isAttended && rules.isThere) this.#legacy = rules;
      else rules[Symbol.dispose]();
    }
  }
}

/** Which of the two the host's `iptables` is. It is not changed under a running daemon. */
let legacy: Promise<boolean> | undefined;
const isLegacy = (): Promise<boolean> =>
  (legacy ??= runTool(null, ['iptables', '--version'], '').then((text) => text.includes('(legacy)')));

const jumpKey = ({ table, chain, target }: Pick<Jump, 'table' | 'chain' | 'target'>): string =>
  `${table} ${chain} ${target}`;

/**
 * The engine puts these back to the front of FORWARD whenever it makes a network: two who each insist on being first
 * would undo one another for ever. They drop only what the administrator says and what goes between the engine's own
 * bridges, so nothing of ours is lost behind them.
 */
const engineJump = /^-j DOCKER-(USER|ISOLATION-STAGE-1)$/;

/** Reads the output of `iptables-save`, or of the other family's. */
export function parseSaved(
  text: string,
  family: Family,
): {
  objects: (Chain | Jump)[];
  jumpCounts: Map<string, number>;
} {
  const chains = new Map<string, Chain & { readonly rules: string[] }>();
  const jumps = new Map<string, Jump>();
  const jumpCounts = new Map<string, number>();
  /** Built-in chains in which a rule of somebody else has been seen. */
  const strangers = new Set<string>();
  let table: FirewallTable | undefined;
  for (const raw of text.split('\n')) {
    const words = raw.trim();
    if (words.startsWith('*')) table = tables.find((name) => name === words.slice(1));
    if (table === undefined) continue;
    const declared = /^:(\S+)/.exec(words)?.[1];
    if (declared !== undefined && isOurChain(declared))
      chains.set(`${table} ${declared}`, {
        kind: 'chain',
        family,
        table,
        name: declared,
        rules: [],
      });
    const rule = /^-A (\S+) (.*)$/.exec(words);
    const [, chain, body] = rule ?? [];
    if (chain === undefined || body === undefined) continue;
    if (isOurChain(chain)) {
      chains.get(`${table} ${chain}`)?.rules.push(body);
      continue;
    }
    const target = /^-j (SKEP-\S+)$/.exec(body)?.[1];
    if (target === undefined) {
      if (!engineJump.test(body)) strangers.add(`${table} ${chain}`);
      continue;
    }
    const key = jumpKey({ table, chain, target });
    const count = (jumpCounts.get(key) ?? 0) + 1;
    jumpCounts.set(key, count);
    const first = count === 1 && !strangers.has(`${table} ${chain}`);
    jumps.set(key, { kind: 'jump', family, table, chain, target, first });
  }
  return { objects: [...chains.values(), ...jumps.values()], jumpCounts };
}

/** The text for `iptables-restore --noflush`: declaring a chain there makes it, or empties it if it is there. */
export function formatTransaction(ops: readonly Op[], jumpCounts: ReadonlyMap<string, number>): string {
  return tables
    .flatMap((table) => {
      const declared: string[] = [];
      const unjumped: string[] = [];
      const filled: string[] = [];
      const jumped: string[] = [];
      const removed: string[] = [];
      for (const { op, object } of ops) {
        if (object.kind === 'chain' && object.table === table) {
          declared.push(`:${object.name} - [0:0]`);
          if (op === 'delete') removed.push(`-X ${object.name}`);
          else filled.push(...(object.rules ?? []).map((rule) => `-A ${object.name} ${rule}`));
        } else if (object.kind === 'jump' && object.table === table) {
          const standing = op === 'add' ? 0 : (jumpCounts.get(jumpKey(object)) ?? 1);
          for (let i = 0; i < standing; i++) unjumped.push(`-D ${object.chain} -j ${object.target}`);
          if (op !== 'delete') jumped.push(`-I ${object.chain} 1 -j ${object.target}`);
        }
      }
      const lines = [...declared, ...unjumped, ...filled, ...jumped, ...removed];
      return lines.length === 0 ? [] : [`*${table}`, ...lines, 'COMMIT', ''];
    })
    .join('\n');
}
