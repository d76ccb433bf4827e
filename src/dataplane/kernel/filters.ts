/**
 * Programs of ours on the devices of one namespace (cls_bpf), at one place of each hook: so they are found by priority, handle
 * and name. A clsact qdisc stays when ours was its last filter: it costs nothing, and may be a stranger's.
 * Observing costs a dump of qdiscs and two for each device that has a clsact.
 */
import assert from 'node:assert';
import type { BalancerEngine, LinkIndices } from '../balancer/engine.js';
import { isErrno } from '../netlink/netlink-error.js';
import type { BpfFilter, TrafficControl } from '../netlink/tc.js';
import type { Op } from '../plan/diff.js';
import type { Filter } from '../plan/objects.js';

/** As of every other number of ours ('^' of ASCII). */
const ourPlace = { priority: 0x5e, handle: 1 } as const;
const ourNames = /^skep_/;
const hooks = ['ingress', 'egress'] as const;

export class Filters {
  constructor(
    private readonly tc: TrafficControl,
    private readonly links: LinkIndices,
    private readonly engine: Pick<BalancerEngine, 'programs'>,
  ) {}

  /** Rejects with NetlinkError, or as BalancerEngine.programs does. */
  async observe(): Promise<Filter[]> {
    const found: Filter[] = [];
    for (const index of await this.tc.listClsact()) {
      const device = await this.links.nameOf(index);
      if (device === null) continue;
      for (const hook of hooks)
        for (const filter of await this.tc.list(index, hook)) {
          if (!isOurs(filter)) continue;
          const { name, classId } = filter;
          const tag = await this.#tagOf(filter);
          found.push({ kind: 'filter', device, hook, program: name ?? '', tag, classId });
        }
    }
    return found;
  }

  /** Rejects with NetlinkError; with ENODEV when there is no such device to attach to. */
  async apply({ op, object }: Op & { readonly object: Filter }): Promise<void> {
    const { device, hook, program: name, classId } = object;
    const index = await this.links.indexOf(device);
    if (op === 'delete') {
      // A device that is gone took its filters along.
      if (index !== null) await absentIsFine(this.tc.remove({ index, hook, ...ourPlace }));
      return;
    }
    const program = (await this.engine.programs()).get(name);
    assert(program, `the object file has a program ${name}`);
    if (index === null) throw Object.assign(new Error(`no device ${device}`), { code: 'ENODEV' });
    await this.tc.ensureClsact(index);
    await this.tc.replace({ index, hook, ...ourPlace, programFd: program.fd, name, classId });
  }

  /** No tag for a program of the right tag that works on maps which are pinned no more. */
  async #tagOf({ name, tag, programId }: BpfFilter): Promise<string> {
    const loaded = (await this.engine.programs()).get(name ?? '');
    const elsewhere = loaded !== undefined && !loaded.reusedMaps && loaded.id !== programId;
    return elsewhere ? '' : (tag ?? '');
  }
}

const isOurs = ({ priority, handle, name }: BpfFilter): boolean =>
  priority === ourPlace.priority && handle === ourPlace.handle && ourNames.test(name ?? '');

/** Removes every program of ours from the devices of a namespace. Rejects with NetlinkError. */
export async function removeOurFilters(tc: TrafficControl): Promise<number> {
  let removed = 0;
  for (const index of await tc.listClsact())
    for (const hook of hooks)
      for (const filter of (await tc.list(index, hook)).filter(isOurs)) {
        await absentIsFine(tc.remove(filter));
        removed += 1;
      }
  return removed;
}

/** The filter, its qdisc or its device went in between. */
async function absentIsFine(request: Promise<void>): Promise<void> {
  try {
    await request;
  } catch (err) {
    if (!isErrno(err, 'ENOENT', 'EINVAL', 'ENODEV')) throw err;
  }
}
