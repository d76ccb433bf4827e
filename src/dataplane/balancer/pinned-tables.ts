/**
 * The maps of one node, pinned in `<directory>/v<layout>`: a daemon of another layout makes its own beside them, and what the
 * older one has pinned goes as soon as the newer has loaded, as attached programs keep their maps until they are replaced.
 */
import { readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../runtime/clock.js';
import { loadPrograms, removePins } from '../ebpf/bpf.js';
import { limits } from '../ebpf/layout.js';
import { EbpfTable } from '../ebpf/table.js';
import { errnoOf, KernelError } from '../kernel/kernel-error.js';
import type { Program } from './engine.js';
import type { NodeTables } from './node-tables.js';

/** The directory of the maps of this daemon's layout. */
export const layoutName = `v${limits.LAYOUT_VERSION}`;
const layoutNames = /^v\d+$/;

/**
 * Loads programs and maps; what is pinned is used with what is in it.
 * @param capacities entries of the maps that shall not have what the object file says, e.g. for many nodes on one kernel
 * @throws MissingBpfError where BPF cannot be used; KernelError
 */
export function openPinnedTables(
  directory: string,
  capacities: Readonly<Record<string, number>> = {},
): NodeTables {
  const loaded = loadPrograms({ pinDirectory: join(directory, layoutName), capacities });
  try {
    removeLayouts(directory, (name) => name !== layoutName);
    const table = new EbpfTable(loaded.maps, systemClock);
    const reusedMaps = [...loaded.maps.keys()].every((name) => loaded.reused.has(name));
    return {
      programs: new Map(
        [...loaded.programs].map(([name, program]): [string, Program] => [name, { ...program, reusedMaps }]),
      ),
      view: (vni, links) => table.view(vni, links),
      overlays: () => table.overlays(),
      forget: (vni) => table.forget(vni),
      expireFlows: async () => {
        const { expired, voided } = await loaded.expireFlows();
        return expired + voided;
      },
      remove: async () => removeAllPins(directory),
      [Symbol.dispose]: () => loaded[Symbol.dispose](),
    };
  } catch (err) {
    loaded[Symbol.dispose]();
    throw err;
  }
}

/** Whether maps of any layout are pinned for the node. Throws KernelError. */
export const hasPins = (directory: string): boolean =>
  namesIn(directory).some((name) => layoutNames.test(name));

/** Removes what any layout has pinned for the node, and the directory unless it is a file system's own. Throws KernelError. */
export function removeAllPins(directory: string): void {
  removeLayouts(directory, () => true);
  try {
    rmdirSync(directory);
  } catch (err) {
    // EBUSY: a mount point. ENOTEMPTY: a stranger's pins.
    if (!['ENOENT', 'EBUSY', 'ENOTEMPTY'].includes(errnoOf(err)))
      throw new KernelError(`remove ${directory}`, errnoOf(err), { cause: err });
  }
}

function removeLayouts(directory: string, which: (name: string) => boolean): void {
  for (const name of namesIn(directory))
    if (layoutNames.test(name) && which(name)) removePins(join(directory, name));
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return [];
    throw new KernelError(`list ${directory}`, errnoOf(err), { cause: err });
  }
}
