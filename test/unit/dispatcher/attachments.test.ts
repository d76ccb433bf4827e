/** Containers of users' on attachable networks: who may have what, and that asking again changes nothing. */
import { describe, expect, test } from 'vitest';
import { planAllocations } from '../../../src/controlplane/allocator/allocator.js';
import { allocateLeg } from '../../../src/controlplane/allocator/leg.js';
import { Attachments } from '../../../src/controlplane/dispatcher/attachments.js';
import { applyPlanner } from '../../../src/controlplane/plan.js';
import type { AttachNetworkRequest } from '../../../src/controlplane/rpc/messages.js';
import type { NodeId, TaskId } from '../../../src/model/ids.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { createLog } from '../../../src/runtime/log.js';
import { network, node, service, storeOf, task } from '../../support/cluster-objects.js';

const log = createLog('test');
log.level = 'silent';
const n1 = 'n1' as NodeId;
const id = (digit: number): string => String(digit).repeat(25);
const containerId = 'c'.repeat(64);

async function cluster() {
  const store = await storeOf({
    node: [node('n1'), node('n2')],
    network: [
      network('ingress', { ingress: true }),
      network('open', { subnet: '10.5.0.0/29', attachable: true }),
      network('same', { subnet: '10.5.0.0/24', attachable: true }),
      network('closed', { subnet: '10.6.0.0/24' }),
      network('later', { attachable: true, vnis: '4097', subnet: '10.5.0.0/24' }),
    ],
    service: [service('web')],
    task: [task('service-task', service('web'), 'running', { node: 'n1' })],
  });
  await applyPlanner(store, planAllocations, () => 0);
  const attachments = new Attachments({ store, clock: systemClock, log, allocateLeg });
  const attach = (attachmentId: string, over: Partial<AttachNetworkRequest> = {}, nodeId = n1) =>
    attachments.attach(nodeId, {
      sessionId: 's',
      attachmentId,
      network: 'open',
      containerId: '',
      containerName: 'box',
      aliases: [],
      address: '',
      nameservers: [],
      ...over,
    });
  const held = () =>
    store
      .view()
      .list('task')
      .filter(({ spec }) => spec.runtime === 'attachment')
      .map((one) => `${one.id.slice(0, 2)} ${one.nodeId} ${one.networks[0]?.address}`);
  return { store, attachments, attach, held };
}

test('an attachment is a running task without a service, and its node takes part in the network', async () => {
  const { store, attach } = await cluster();
  const reply = await attach(id(1), { containerId, aliases: ['db'], nameservers: ['9.9.9.9'] });
  expect(reply).toEqual({
    attachmentId: id(1),
    networkId: 'open',
    networkName: 'open',
    address: '10.5.0.2',
    revision: store.view().revision,
  });
  expect(store.view().get('task', id(1) as TaskId)).toMatchObject({
    serviceId: '',
    nodeId: 'n1',
    desiredState: 'running',
    status: { state: 'running' },
    spec: {
      runtime: 'attachment',
      networks: [{ target: 'open', aliases: ['db'] }],
      networkAttachment: { containerId, containerName: 'box', nameservers: ['9.9.9.9'] },
    },
    networks: [{ networkId: 'open', address: '10.5.0.2', prefixLength: 29, aliases: ['db'] }],
  });
  await applyPlanner(store, planAllocations, () => 0);
  expect(
    store
      .view()
      .get('node', n1)
      ?.attachments.map(({ networkId }) => networkId),
  ).toEqual(['ingress', 'open']);
});

describe('asked again', () => {
  test('by id: the same address, and what became known is written', async () => {
    const { store, attach, held } = await cluster();
    const first = await attach(id(1), { containerName: '' });
    const again = await attach(id(1), { containerId, containerName: 'box', aliases: ['db'] });
    expect(again).toMatchObject({ attachmentId: id(1), address: first.address });
    await attach(id(1), { containerName: '', aliases: ['db'] });
    expect(store.view().get('task', id(1) as TaskId)?.spec.networkAttachment).toMatchObject({
      containerId,
      containerName: 'box',
    });
    expect(held()).toEqual(['11 n1 10.5.0.2']);
  });

  test('by container: the attachment that it has', async () => {
    const { attach, held } = await cluster();
    await attach(id(1), { containerId });
    expect(await attach(id(2), { containerId })).toMatchObject({ attachmentId: id(1), address: '10.5.0.2' });
    expect(held()).toEqual(['11 n1 10.5.0.2']);
    // Another node's container of that id is another one.
    await attach(id(3), { containerId }, 'n2' as NodeId);
    expect(held()).toEqual(['11 n1 10.5.0.2', '33 n2 10.5.0.3']);
  });

  test('for another address: the attachment moves there', async () => {
    const { attach, held } = await cluster();
    await attach(id(1), { containerId });
    await attach(id(2), { containerId, address: '10.5.0.5' });
    expect(held()).toEqual(['11 n1 10.5.0.5']);
    await attach(id(2), { containerId: 'd'.repeat(64), address: '10.5.0.2' });
    expect(held()).toEqual(['11 n1 10.5.0.5', '22 n1 10.5.0.2']);
  });

  test('at once for the same address: one gets it', async () => {
    const { attach } = await cluster();
    const outcomes = await Promise.allSettled(
      [1, 2, 3].map((digit) => attach(id(digit), { address: '10.5.0.4' })),
    );
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected']);
  });
});

describe('refused, and nothing is written:', () => {
  test.each<[string, string, Partial<AttachNetworkRequest>, object]>([
    ['no such network', id(2), { network: 'none' }, { kind: 'notFound', message: 'network none not found' }],
    [
      'not attachable',
      id(2),
      { network: 'closed' },
      { kind: 'permissionDenied', message: 'network closed not manually attachable' },
    ],
    ['nor is ingress', id(2), { network: 'ingress' }, { kind: 'permissionDenied' }],
    [
      'a network that waits for its subnet',
      id(2),
      { network: 'later' },
      { kind: 'unavailable', message: 'network later has no subnet yet' },
    ],
    [
      'an address that is taken',
      id(2),
      { address: '10.5.0.2' },
      { kind: 'permissionDenied', message: 'Address already in use' },
    ],
    ['the gateway', id(2), { address: '10.5.0.1' }, { message: 'Address already in use' }],
    ['the broadcast address', id(2), { address: '10.5.0.7' }, { message: 'Address already in use' }],
    [
      'an address of elsewhere',
      id(2),
      { address: '10.9.0.2' },
      {
        kind: 'invalidArgument',
        message: "Invalid address 10.9.0.2: It does not belong to any of this network's subnets",
      },
    ],
    ['no address', id(2), { address: 'ten' }, { message: 'invalid IP address: ten' }],
    ['no id', 'short', {}, { kind: 'invalidArgument' }],
    ['no container', id(2), { containerId: '../x' }, { kind: 'invalidArgument' }],
    ['a name that no state can hold', id(2), { aliases: ['a b'] }, { kind: 'invalidArgument' }],
    ['too many names', id(2), { aliases: Array(65).fill('a') }, { kind: 'invalidArgument' }],
    ['a nameserver that is none', id(2), { nameservers: ['x'] }, { kind: 'invalidArgument' }],
    [
      'an attachment of another network',
      id(1),
      { network: 'later' },
      { kind: 'invalidArgument', message: `attachment ${id(1)} is of another network` },
    ],
  ])('%s', async (_, attachmentId, over, refusal) => {
    const { store, attach } = await cluster();
    await attach(id(1));
    const { revision } = store.view();
    await expect(attach(attachmentId, over)).rejects.toMatchObject(refusal);
    expect(store.view().revision).toBe(revision);
  });

  test('a full network, until somebody goes', async () => {
    const { attach, attachments } = await cluster();
    for (const digit of [1, 2, 3, 4, 5]) await attach(id(digit));
    await expect(attach(id(6))).rejects.toMatchObject({
      kind: 'unavailable',
      message: 'network open has no free address',
    });
    await attachments.detach(n1, [id(3)]);
    expect(await attach(id(6))).toMatchObject({ address: '10.5.0.4' });
  });

  test('what is another node’s, or no attachment', async () => {
    const { store, attach, attachments, held } = await cluster();
    await attach(id(1));
    const denied = {
      kind: 'permissionDenied',
      message: 'cannot update a task not assigned this node',
    };
    const before = held();
    await expect(attach(id(1), {}, 'n2' as NodeId)).rejects.toMatchObject(denied);
    await expect(attachments.detach('n2' as NodeId, [id(1)])).rejects.toMatchObject(denied);
    await expect(attachments.detach(n1, [id(1), 'service-task'])).rejects.toMatchObject(denied);
    expect(held()).toEqual(before);
    expect(store.view().get('task', 'service-task' as TaskId)).toBeDefined();
  });
});

test('a container gets no place on a second network of the same addresses; another one does', async () => {
  const { attach, held } = await cluster();
  await attach(id(1), { containerId });
  const same = { network: 'same', containerName: 'box' };
  await expect(attach(id(2), { ...same, containerId })).rejects.toMatchObject({
    kind: 'invalidArgument',
    message: 'networks open (10.5.0.0/29) and same (10.5.0.0/24) overlap and cannot be used by one container',
  });
  expect(held()).toHaveLength(1);
  await attach(id(3), { ...same, containerId: 'd'.repeat(64) });
  expect(held()).toHaveLength(2);
});

test('detaching twice is once', async () => {
  const { attach, attachments, held } = await cluster();
  await attach(id(1));
  await attach(id(2));
  await attachments.detach(n1, [id(1)]);
  await attachments.detach(n1, [id(1)]);
  expect(held()).toEqual(['22 n1 10.5.0.3']);
});
