/** Small whole objects for tests of the store. */
import type { NetworkId, NodeId, ServiceId, TaskId } from '../../../src/model/ids.js';
import type { Meta, Network, Node, Service, Task } from '../../../src/model/objects.js';
import { emptyContainer } from '../../../src/model/service-spec.js';

type New<T> = Omit<T, keyof Meta>;

const container = { ...emptyContainer, image: 'web:1', env: ['SECRET=do-not-show'] };

export const service = (id: string, name: string): New<Service> =>
  ({
    id: id as ServiceId,
    spec: {
      name,
      labels: {},
      taskTemplate: { container, forceUpdate: 0 },
      mode: { kind: 'replicated', replicas: 1 },
    },
  }) as unknown as New<Service>;

export const network = (id: string, name: string): New<Network> => ({
  id: id as NetworkId,
  spec: {
    name,
    labels: {},
    driver: 'overlay',
    driverOptions: {},
    ipv6: false,
    internal: false,
    attachable: false,
    ingress: false,
    ipam: { driver: 'default', options: {}, configs: [] },
  },
  addressCursor: 0,
});

export const node = (id: string): New<Node> => ({
  id: id as NodeId,
  spec: { name: '', labels: {}, role: 'worker', availability: 'active' },
  role: 'worker',
  status: { state: 'ready', message: '', addr: '192.0.2.1' },
  attachments: [],
});

export const task = (id: string, serviceId: string, nodeId?: string): New<Task> => ({
  id: id as TaskId,
  serviceId: serviceId as ServiceId,
  serviceName: serviceId,
  serviceLabels: {},
  slot: 1,
  ...(nodeId !== undefined && { nodeId: nodeId as NodeId }),
  spec: { container, forceUpdate: 0 },
  specVersion: 1,
  desiredState: 'running',
  status: { timestampMs: 0, appliedAtMs: 0, state: 'new', message: 'created' },
  networks: [],
});
