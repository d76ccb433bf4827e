/** Why a manager may not simply leave (semantics 11.2). */
import type { View } from '../store/store.js';

const texts = {
  beManager: 'You are attempting to leave the swarm on a node that is participating as a manager. ',
  lastManager:
    'Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ',
  noQuorum: (left: number, all: number): string =>
    `Removing this node leaves ${left} managers out of ${all}. Without a Raft quorum your swarm will be inaccessible. `,
  unknown: 'Doing so may lose the consensus of your cluster. ',
  hint: 'The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message.',
};

/** On a node that is locked. */
export const lockedLeaveRefusal =
  'Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message.';

/** @param view undefined: of a manager that does not serve (yet) */
export function leaveRefusal(view: View | undefined): string {
  const { beManager, lastManager, noQuorum, unknown, hint } = texts;
  if (!view) return beManager + unknown + hint;
  const all = view.list('node').filter(({ managerStatus }) => managerStatus);
  const alive = all.filter(({ managerStatus }) => managerStatus?.reachability === 'reachable').length;
  if (all.length <= 1) return beManager + lastManager;
  const lost = all.length - alive;
  return beManager + (alive - 2 <= lost ? noQuorum(alive - 1, all.length) : '') + hint;
}
