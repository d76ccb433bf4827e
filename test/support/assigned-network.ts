/** A node's own network with what managers assign to it, for tests that have neither. */
import type { NodeNetworkOptions } from '../../src/controlplane/agent/node-network.js';
import { NodeNetwork } from '../../src/controlplane/agent/node-network.js';
import type { Assignment, AssignmentChange } from '../../src/controlplane/rpc/assignment.js';
import { applyChanges } from '../../src/controlplane/rpc/assignment.js';
import type { TraceId } from '../../src/model/trace.js';
import { systemClock } from '../../src/runtime/clock.js';
import type { Log } from '../../src/runtime/log.js';

export interface AssignedNetwork {
  readonly network: NodeNetwork;
  /**
   * The next revision of what is assigned.
   * @param whole nobody says what has changed: always so at first
   */
  readonly set: (changes: readonly AssignmentChange[], whole?: boolean, traces?: readonly TraceId[]) => void;
}

export const put = (assignment: Assignment): AssignmentChange => ({ remove: false, assignment });

/** Runs until the signal aborts. @param setState of its dataplane, which programs at once */
export function assignedNetwork(
  setState: NodeNetworkOptions['dataplane']['setState'],
  log: Log,
  signal: AbortSignal,
): AssignedNetwork {
  const network = new NodeNetwork({
    dataplane: { setState, waitProgrammed: async () => undefined },
    barrier: { wait: async () => undefined },
    hasEsp: () => true,
    clock: systemClock,
    log,
  });
  void network.run(signal);
  let assignments = new Map<string, Assignment>();
  let revision = 0;
  return {
    network,
    set: (changes, whole = false, traces) => {
      assignments = applyChanges(assignments, changes);
      revision += 1;
      network.set(assignments, revision, whole || revision === 1 ? null : changes, traces);
    },
  };
}
