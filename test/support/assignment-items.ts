/** What a manager tells a node of its networks, one item each, with what a test does not care about filled in. */
import type { Assignment, AssignmentItems } from '../../src/controlplane/rpc/assignment.js';

export const assignedMac = '02:00:00:00:00:01';

export const nodeAssignment = (nodeId: string): Assignment => ({
  kind: 'node',
  item: { nodeId, dataPathAddr: '192.0.2.1', dataPathPort: 4789 },
});

/** A network of that name and ID, whose node has the second address. @param prefix of its /24, as `10.0.1` */
export const overlayAssignment = (
  id: string,
  prefix: string,
  item: Partial<AssignmentItems['overlay']> = {},
): Assignment => ({
  kind: 'overlay',
  item: {
    ...{ id, name: id, vni: 4097, subnet: `${prefix}.0/24`, gateway: `${prefix}.1`, ingress: false },
    ...{ internal: false, ownAddress: `${prefix}.2`, ownMac: assignedMac, attachable: false },
    ...{ driverOptions: {}, labels: {} },
    ...item,
  },
});

export const endpointAssignment = (
  item: Pick<AssignmentItems['endpoint'], 'overlayId' | 'taskId' | 'serviceId' | 'nodeId'> &
    Partial<AssignmentItems['endpoint']>,
): Assignment => ({
  kind: 'endpoint',
  item: {
    ...{ address: '10.0.1.9', mac: assignedMac, name: item.taskId, serving: true, weight: 1 },
    ...{ aliases: [], nameservers: [] },
    ...item,
  },
});
