/** What must hold after every step, whatever happened before. Each law throws with what broke it. */
import assert from 'node:assert';
import { cidrContains, cidrsOverlap, hostPart, parseCidr } from '../../src/model/addresses.js';
import { isAttachment } from '../../src/model/attachments.js';
import type { NetworkId } from '../../src/model/ids.js';
import { isTerminal, taskStates } from '../../src/model/task-state.js';
import type { Change, View } from '../../src/controlplane/store/store.js';

/** Observed and desired states only move forward; a task keeps its place, its addresses and its node. */
export function checkChange(change: Change): void {
  if (change.kind !== 'task' || !change.previous || !change.current) return;
  const { previous, current } = change;
  const forward = (from: keyof typeof taskStates, to: keyof typeof taskStates, what: string): void =>
    assert(taskStates[to] >= taskStates[from], `${what} state of ${current.id} went from ${from} to ${to}`);
  forward(previous.status.state, current.status.state, 'observed');
  forward(previous.desiredState, current.desiredState, 'desired');
  assert.equal(current.slot, previous.slot);
  if (previous.nodeId) assert.equal(current.nodeId, previous.nodeId);
  if (previous.networks.length > 0) assert.deepEqual(current.networks, previous.networks);
}

export function checkView(view: View): void {
  checkAddresses(view);
  checkNetworks(view);
  checkPorts(view);
  checkTasks(view);
}

function checkAddresses(view: View): void {
  const holders = new Map<string, string>();
  const macs = new Map<string, string>();
  const hold = (network: NetworkId, address: string, holder: string, mac?: string): void => {
    const key = `${network} ${address}`;
    assert(!holders.has(key), `${key} is held by ${holders.get(key)} and ${holder}`);
    holders.set(key, holder);
    const allocation = view.get('network', network)?.allocation;
    assert(allocation, `${holder} holds an address of a network without subnet`);
    assert(
      cidrContains(allocation.subnet, address),
      `${address} of ${holder} is outside ${allocation.subnet}`,
    );
    const part = hostPart(allocation.subnet, address);
    const last = (1n << BigInt(32 - parseCidr(allocation.subnet).prefixLength)) - 1n;
    assert(part > 0n && part < last, `${holder} holds the network's or the broadcast address ${address}`);
    if (mac === undefined) return;
    const macKey = `${network} ${mac}`;
    assert(!macs.has(macKey), `${macKey} is held by ${macs.get(macKey)} and ${holder}`);
    macs.set(macKey, holder);
  };
  for (const { id, allocation } of view.list('network'))
    if (allocation) hold(id, allocation.gateway, `gateway of ${id}`);
  for (const { id, attachments } of view.list('node'))
    for (const leg of attachments) hold(leg.networkId, leg.address, `node ${id}`, leg.mac);
  for (const { id, endpoint } of view.list('service'))
    for (const vip of endpoint?.virtualIps ?? []) hold(vip.networkId, vip.address, `service ${id}`);
  for (const { id, status, networks } of view.list('task'))
    if (!isTerminal(status.state))
      for (const leg of networks) hold(leg.networkId, leg.address, `task ${id}`, leg.mac);
}

function checkNetworks(view: View): void {
  const allocated = view.list('network').flatMap(({ allocation }) => allocation ?? []);
  assert.equal(new Set(allocated.map(({ vni }) => vni)).size, allocated.length, 'a VNI is held twice');
  for (const [index, a] of allocated.entries())
    for (const b of allocated.slice(index + 1))
      assert(!cidrsOverlap(a.subnet, b.subnet), `${a.subnet} and ${b.subnet} overlap`);
}

function checkPorts(view: View): void {
  const holders = new Map<string, string>();
  for (const { id, endpoint } of view.list('service'))
    for (const { publishMode, protocol, publishedPort } of endpoint?.ports ?? []) {
      if (publishMode !== 'ingress') continue;
      const key = `${protocol}/${publishedPort}`;
      assert(!holders.has(key), `${key} is held by ${holders.get(key)} and ${id}`);
      holders.set(key, id);
    }
}

function checkTasks(view: View): void {
  const live = new Map<string, number>();
  for (const task of view.list('task')) {
    const { state } = task.status;
    if (taskStates[state] >= taskStates.assigned && !isTerminal(state))
      assert(task.nodeId, `${task.id} is ${state} without a node`);
    if (taskStates[task.desiredState] > taskStates.running || isAttachment(task)) continue;
    const instance = `${task.serviceId} ${task.slot || task.nodeId}`;
    live.set(instance, (live.get(instance) ?? 0) + 1);
  }
  // Two while a start-first update hands over.
  for (const [instance, count] of live) assert(count <= 2, `${instance} has ${count} tasks that are to run`);
}
