/**
 * Tasks on encrypted networks go to nodes whose kernel has ESP. Where there is none, a node gets the task all the same and
 * refuses it with the reason, which a task left pending would not show.
 */
import { isEncrypted, lacksEsp } from '../../model/encryption.js';
import type { Task } from '../../model/objects.js';
import type { View } from '../store/store.js';
import type { NodeLoad } from './node-load.js';

/** Whether a network of the task is encrypted. */
export const usesEncryption = (view: View, task: Task | undefined): boolean =>
  (task?.networks ?? []).some(({ networkId }) => {
    const network = view.get('network', networkId);
    return network !== undefined && isEncrypted(network.spec);
  });

/** Those that can; all of them if none can. */
export function preferEsp(passing: readonly NodeLoad[]): readonly NodeLoad[] {
  const able = passing.filter(({ node }) => !lacksEsp(node.description));
  return able.length > 0 ? able : passing;
}
