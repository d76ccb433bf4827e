/** All that a node has to know, as it knows it once it has been told. */
import { changesBetween, nodeAssignments } from '../../src/controlplane/dispatcher/assignments.js';
import { sharedAssignments } from '../../src/controlplane/dispatcher/shared-assignments.js';
import type { Assignment } from '../../src/controlplane/rpc/assignment.js';
import { applyChanges } from '../../src/controlplane/rpc/assignment.js';
import type { View } from '../../src/controlplane/store/store.js';
import type { NodeId } from '../../src/model/ids.js';

export const assignmentsFor = (view: View, nodeId: NodeId): Map<string, Assignment> =>
  applyChanges(
    new Map(),
    changesBetween(null, nodeAssignments(view, nodeId, sharedAssignments(view)), nodeId),
  );
