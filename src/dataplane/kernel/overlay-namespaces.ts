/** Which overlays have a namespace on this node: by the names of the files that keep them. */
import { readdir } from 'node:fs/promises';
import type { Vni } from '../../model/ids.js';
import { isErrno } from '../netlink/netlink-error.js';
import { overlayNamespacePrefix } from '../plan/names.js';
import { errnoOf, KernelError } from './kernel-error.js';

/** None where the directory is not there (yet). Rejects with KernelError. */
export async function overlayNamespacesIn(directory: string): Promise<Vni[]> {
  try {
    return (await readdir(directory)).flatMap((name) => {
      const vni = name.startsWith(overlayNamespacePrefix) ? name.slice(overlayNamespacePrefix.length) : '';
      return /^\d+$/.test(vni) ? [Number(vni) as Vni] : [];
    });
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return [];
    throw new KernelError(`list ${directory}`, errnoOf(err), { cause: err });
  }
}
