/**
 * Attachments: tasks that run nothing. One stands for one container of a user (`docker run --network`, `docker network
 * connect`) on one attachable network. It belongs to no service, is `running` from its making, holds the container's
 * address, and lives as long as the container is connected, whether its process runs or not: the engine restarts
 * containers without asking anybody, with the address that they were given.
 */
import type { NetworkId, NodeId, ServiceId, TaskId } from './ids.js';
import type { NetworkAttachment, Task, TaskStatus } from './objects.js';
import type { NetworkAttachmentSpec } from './service-spec.js';
import { emptyContainer } from './service-spec.js';

/** Docker's name of the runtime. */
export const attachmentRuntime = 'attachment';

export const isAttachment = ({ spec }: Pick<Task, 'spec'>): boolean => spec.runtime === attachmentRuntime;

/** A new attachment as the store keeps it. */
export const attachmentTask = (
  id: TaskId,
  nodeId: NodeId,
  networkAttachment: NetworkAttachmentSpec,
  leg: NetworkAttachment,
  nowMs: number,
): Omit<Task, 'version' | 'createdAtMs' | 'updatedAtMs'> => ({
  id,
  serviceId: '' as ServiceId,
  serviceName: '',
  serviceLabels: {},
  nodeId,
  spec: {
    container: emptyContainer,
    networkAttachment,
    networks: [{ target: leg.networkId, aliases: leg.aliases }],
    forceUpdate: 0,
    runtime: attachmentRuntime,
  },
  specVersion: 0,
  desiredState: 'running',
  status: attachedStatus(nowMs),
  networks: [leg],
});

const attachedStatus = (nowMs: number): TaskStatus => ({
  state: 'running',
  message: 'attached',
  timestampMs: nowMs,
  appliedAtMs: nowMs,
});

/** The network of an attachment; undefined for any other task. */
export const attachedNetwork = (task: Task): NetworkId | undefined =>
  isAttachment(task) ? task.networks[0]?.networkId : undefined;

const shortIdLength = 12;

/** The id that the engine gives a container as its host name and first alias. */
export const shortContainerId = (containerId: string): string => containerId.slice(0, shortIdLength);
