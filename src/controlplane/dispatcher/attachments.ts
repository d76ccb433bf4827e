/**
 * Nodes' attachments: containers of users' that take an address of an attachable network. A node speaks for its own
 * containers only. What is asked is done in one transaction, so the answer is what holds.
 *
 * Asked twice, an attachment is the same: the node chooses its id, and a container has one on a network.
 */
import type { Ip } from '../../model/addresses.js';
import { cidrsOverlap, isIp, parseIp } from '../../model/addresses.js';
import { attachedNetwork, attachmentTask, isAttachment } from '../../model/attachments.js';
import { faultOfAliases } from '../../model/dns-names.js';
import { SkepError } from '../../model/errors.js';
import type { NetworkId, NodeId, TaskId } from '../../model/ids.js';
import { isId } from '../../model/ids.js';
import { subnetsOf } from '../../model/network-subnets.js';
import { isNodeNetwork } from '../../model/node-networks.js';
import type { Network, NetworkAttachment, Task } from '../../model/objects.js';
import type { NetworkAttachmentSpec } from '../../model/service-spec.js';
import type { Clock } from '../../runtime/clock.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import type { AttachNetworkReply, AttachNetworkRequest } from '../rpc/messages.js';
import type { Store, Transaction, View } from '../store/store.js';
import { maxWrites } from '../store/store.js';

/** The allocator's: takes an address, in the transaction, or throws why there is none. */
export type AllocateLeg = (
  tx: Transaction,
  request: { readonly holder: TaskId; readonly networkId: NetworkId; readonly address?: Ip },
  nowMs: number,
) => Omit<NetworkAttachment, 'aliases'>;

export interface AttachmentsOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly allocateLeg: AllocateLeg;
}

/** What a node may say of one container: it becomes part of what every node of the network has to know. */
const nameserversMax = 64;
const nameLengthMax = 255;
const containerIdPattern = /^([0-9a-f]{64})?$/;

export class Attachments {
  constructor(private readonly options: AttachmentsOptions) {}

  /** Takes an address for a container of `nodeId`, or writes what became known of it since. */
  async attach(nodeId: NodeId, request: AttachNetworkRequest): Promise<AttachNetworkReply> {
    const { store, clock, log, allocateLeg } = this.options;
    const { wanted, spec } = readRequest(request);
    const { attachment, network, isNew } = await store.update((tx) => {
      const found = attachableNetwork(tx, request.network);
      const held = heldAttachment(tx, nodeId, request, found.id);
      if (!held) refuseOverlap(tx, nodeId, request, found);
      const id = held?.id ?? (request.attachmentId as TaskId);
      const present = held?.networks[0];
      const leg =
        present && (wanted === undefined || wanted === present.address)
          ? present
          : allocateLeg(
              tx,
              { holder: id, networkId: found.id, ...(wanted === undefined ? {} : { address: wanted }) },
              clock.nowMs(),
            );
      const made = attachmentTask(id, nodeId, spec, { ...leg, aliases: request.aliases }, clock.nowMs());
      const known = held?.spec.networkAttachment;
      if (!held) tx.create('task', made);
      else
        tx.update('task', {
          ...held,
          networks: made.networks,
          spec: {
            ...made.spec,
            networkAttachment: {
              ...spec,
              containerId: spec.containerId || (known?.containerId ?? ''),
              containerName: spec.containerName || (known?.containerName ?? ''),
            },
          },
        });
      return { attachment: { id, address: leg.address }, network: found, isNew: !held };
    });
    const { id, address } = attachment;
    if (isNew)
      decide(log, 'container.attached', { node: nodeId, attachment: id, network: network.id, address });
    return {
      attachmentId: id,
      networkId: network.id,
      networkName: network.spec.name,
      address,
      revision: store.view().revision,
    };
  }

  /** Gives back what these attachments hold. */
  async detach(nodeId: NodeId, attachmentIds: readonly string[]): Promise<void> {
    const { store, log } = this.options;
    for (let i = 0; i < attachmentIds.length; i += maxWrites) {
      const ids = attachmentIds.slice(i, i + maxWrites) as TaskId[];
      const gone = await store.update((tx) => {
        const tasks = ids.flatMap((id) => tx.get('task', id) ?? []);
        for (const task of tasks) requireOwn(task, nodeId);
        for (const { id } of tasks) tx.delete('task', id);
        return tasks;
      });
      for (const { id } of gone) decide(log, 'container.detached', { node: nodeId, attachment: id });
    }
  }
}

function readRequest(request: AttachNetworkRequest): {
  readonly wanted: Ip | undefined;
  readonly spec: NetworkAttachmentSpec;
} {
  const { attachmentId, containerId, containerName, aliases, address, nameservers } = request;
  const refuse = (why: string): never => {
    throw new SkepError('invalidArgument', why);
  };
  if (!isId(attachmentId)) refuse(`invalid attachment id ${JSON.stringify(attachmentId)}`);
  if (!containerIdPattern.test(containerId)) refuse(`invalid container id ${JSON.stringify(containerId)}`);
  if (containerName !== '' && !isName(containerName))
    refuse(`invalid name ${JSON.stringify(containerName)} of a container on a network`);
  const wrong = faultOfAliases(request.network, aliases);
  if (wrong !== undefined) refuse(wrong);
  if (address !== '' && !isIp(address)) refuse(`invalid IP address: ${address}`);
  if (nameservers.length > nameserversMax || !nameservers.every(isIp))
    refuse('invalid nameservers of a container');
  return {
    wanted: address === '' ? undefined : parseIp(address),
    spec: { containerId, containerName, nameservers },
  };
}

/** What the dataplane takes for a name; anything else would make it refuse the network's whole state. */
const isName = (name: string): boolean => name.length <= nameLengthMax && /^[\x21-\x7e]+$/.test(name);

/** The network by id or name, in swarmkit's words. */
function attachableNetwork(view: View, target: string): Network {
  const named = view.byName('network', target);
  const network =
    view.get('network', target as NetworkId) ?? (named?.spec.name === target ? named : undefined);
  if (!network) throw new SkepError('notFound', `network ${target} not found`);
  if (!network.spec.attachable)
    throw new SkepError('permissionDenied', `network ${target} not manually attachable`);
  if (isNodeNetwork(network))
    throw new SkepError(
      'unimplemented',
      `network ${network.spec.name} is of driver ${network.spec.driver}: only tasks of services are on such networks of the swarm`,
    );
  return network;
}

/** The attachment that is meant, if there is one: by its id, else by its container. */
function heldAttachment(
  tx: Transaction,
  nodeId: NodeId,
  { attachmentId, containerId }: AttachNetworkRequest,
  networkId: NetworkId,
): Task | undefined {
  const named = tx.get('task', attachmentId as TaskId);
  if (named) {
    requireOwn(named, nodeId);
    if (attachedNetwork(named) !== networkId)
      throw new SkepError('invalidArgument', `attachment ${attachmentId} is of another network`);
    return named;
  }
  if (containerId === '') return undefined;
  return tx
    .tasksOnNode(nodeId)
    .find(
      (task) =>
        attachedNetwork(task) === networkId && task.spec.networkAttachment?.containerId === containerId,
    );
}

/** A container could not tell whom to send by which; its engine refuses the second one, but lists it as connected ever after. */
function refuseOverlap(
  tx: Transaction,
  nodeId: NodeId,
  { containerId }: AttachNetworkRequest,
  { spec, allocation }: Network,
): void {
  if (containerId === '') return;
  for (const task of tx.tasksOnNode(nodeId)) {
    if (task.spec.networkAttachment?.containerId !== containerId) continue;
    const other = tx.get('network', attachedNetwork(task) as NetworkId);
    if (!allocation || !other?.allocation) continue;
    for (const { subnet } of subnetsOf(allocation))
      for (const { subnet: theirs } of subnetsOf(other.allocation))
        if (cidrsOverlap(subnet, theirs))
          throw new SkepError(
            'invalidArgument',
            `networks ${other.spec.name} (${theirs}) and ${spec.name} (${subnet}) overlap and cannot be used by one container`,
          );
  }
}

function requireOwn(task: Task, nodeId: NodeId): void {
  if (task.nodeId !== nodeId || !isAttachment(task))
    throw new SkepError('permissionDenied', 'cannot update a task not assigned this node');
}
