/** Our ipsets in one namespace, read with `ipset save` and written with `ipset restore`: one process for any number of entries. */
import type { Family } from '../../model/addresses.js';
import { families } from '../../model/addresses.js';
import type { Netfilter } from '../netlink/netfilter.js';
import type { Op } from '../plan/diff.js';
import { isOurSet } from '../plan/names.js';
import type { IpSet, IpSetEntry } from '../plan/objects.js';
import { markName } from '../plan/objects.js';
import { isToolMissing, runTool } from './child.js';
import { KernelError } from './kernel-error.js';

/** What follows the type when a set is made. skbinfo carries the mark. */
const creation: Readonly<Record<IpSet['type'], string>> = {
  'hash:ip': 'maxelem 1048576 skbinfo',
  'hash:net,port': 'maxelem 131072 skbinfo', // two entries a port
  'bitmap:port': 'range 1-65535 skbinfo',
};
const familyNames: Readonly<Record<Family, string>> = { 4: 'inet', 6: 'inet6' };

export class IpSets {
  /** The kernel's digest when they were last read; null: written since. What is broken again as it was has the same one again. */
  #readAt: string | null = null;

  constructor(
    private readonly netns: string | null,
    private readonly netfilter: () => Netfilter,
  ) {}

  /** Whether anybody, ourselves included, has changed a set since the last {@link observe}. Rejects with NetlinkError. */
  async mayHaveChanged(): Promise<boolean> {
    return (await this.netfilter().setsDigest()) !== this.#readAt;
  }

  /**
   * Rejects with KernelError, NetlinkError. Where there is no `ipset` there are no sets of ours: only the `ipvs` engine
   * makes any.
   */
  async observe(): Promise<(IpSet | IpSetEntry)[]> {
    this.#readAt = await this.netfilter().setsDigest();
    try {
      return parseSavedSets(await runTool(this.netns, ['ipset', 'save'], ''));
    } catch (err) {
      if (err instanceof KernelError && isToolMissing(err)) return [];
      throw err;
    }
  }

  /** Rejects with KernelError; ops before the failing one have been done. */
  async apply(ops: readonly Op[]): Promise<void> {
    this.#readAt = null;
    await runTool(this.netns, ['ipset', 'restore'], formatSetChanges(ops));
  }
}

/** Reads the output of `ipset save`; sets that are not ours are left out. */
export function parseSavedSets(text: string): (IpSet | IpSetEntry)[] {
  return text.split('\n').flatMap((row): (IpSet | IpSetEntry)[] => {
    const [verb, name, what, ...options] = row.trim().split(' ');
    if (name === undefined || what === undefined || !isOurSet(name)) return [];
    if (verb === 'create')
      return what in creation
        ? [{ kind: 'ipset', name, type: what as IpSet['type'], ...familyIn(options) }]
        : [];
    if (verb !== 'add') return [];
    // Printed with a mask when that is not all ones; ours is.
    const mark = Number(options[options.indexOf('skbmark') + 1] ?? NaN);
    return [{ kind: 'ipsetEntry', set: name, element: what, mark: Number.isNaN(mark) ? 0 : mark }];
  });
}

function familyIn(options: readonly string[]): Pick<IpSet, 'family'> {
  const named = options[options.indexOf('family') + 1];
  const family = families.find((one) => familyNames[one] === named);
  return family === undefined ? {} : { family };
}

/** The text for `ipset restore`. */
export function formatSetChanges(ops: readonly Op[]): string {
  const rows = ops.flatMap(({ op, object }) => {
    if (object.kind === 'ipset') {
      const family = object.family === undefined ? '' : `family ${familyNames[object.family]} `;
      const create = `create ${object.name} ${object.type} ${family}${creation[object.type]} -exist`;
      if (op === 'remake') return [`destroy ${object.name}`, create];
      return op === 'delete' ? [`destroy ${object.name}`] : [create];
    }
    if (object.kind !== 'ipsetEntry') return [];
    const { set, element, mark } = object;
    return op === 'delete'
      ? [`del ${set} ${element} -exist`]
      : [`add ${set} ${element} skbmark ${markName(mark)} -exist`];
  });
  return `${rows.join('\n')}\n`;
}
