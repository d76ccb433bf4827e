/** What must hold after every step, whatever happened before. Each law throws with what broke it. */
import assert from 'node:assert';
import { isDeepStrictEqual } from 'node:util';
import { isEncrypted } from '../../src/model/encryption.js';
import type { Cidr, Ip } from '../../src/model/addresses.js';
import { cidrContains, cidrsOverlap, hostPart, parseCidr } from '../../src/model/addresses.js';
import { isAttachment } from '../../src/model/attachments.js';
import type { NetworkId, TaskId } from '../../src/model/ids.js';
import { rebalanceBudget } from '../../src/model/rebalancing.js';
import { isTerminal, taskStates } from '../../src/model/task-state.js';
import { instanceOf } from '../../src/model/objects.js';
import type { JobStatus, Service, Task } from '../../src/model/objects.js';
import { byCreation } from '../../src/controlplane/orchestrator/context.js';
import type { Change, View } from '../../src/controlplane/store/store.js';

/**
 * Observed and desired states only move forward; a task keeps its place, its addresses and its node. A job's runs are counted one by
 * one, and no firing of its schedule begins two.
 */
export function checkChange(change: Change): void {
  if (change.kind === 'service' && change.previous && change.current)
    checkRuns(change.previous, change.current);
  if (change.kind !== 'task' || !change.previous || !change.current) return;
  const { previous, current } = change;
  const forward = (from: keyof typeof taskStates, to: keyof typeof taskStates, what: string): void =>
    assert(taskStates[to] >= taskStates[from], `${what} state of ${current.id} went from ${from} to ${to}`);
  forward(previous.status.state, current.status.state, 'observed');
  forward(previous.desiredState, current.desiredState, 'desired');
  assert.equal(current.slot, previous.slot);
  assert.equal(current.jobIteration, previous.jobIteration);
  if (previous.nodeId) assert.equal(current.nodeId, previous.nodeId);
  if (previous.networks.length > 0) assert.deepEqual(current.networks, previous.networks);
}

function checkRuns({ id, jobStatus: before }: Service, { jobStatus: after }: Service): void {
  assert.equal(before === undefined, after === undefined, `${id} became another kind of service`);
  if (!before || !after) return;
  const more = after.iteration - before.iteration;
  assert(more === 0 || more === 1, `run ${after.iteration} of ${id} after run ${before.iteration}`);
  const [was, is] = [before.scheduledForMs, after.scheduledForMs];
  if (more === 1 && was !== undefined && is !== undefined)
    assert(is > was, `${id} was run for the firing of ${is} after that of ${was}`);
}

/** @param changes the last ones: whatever they cannot have broken is not looked at again */
export function checkView(view: View, changes: readonly Change[]): void {
  const kinds = new Set(changes.map(({ kind }) => kind));
  if (kinds.has('network') || kinds.has('node') || kinds.has('service') || kinds.has('task'))
    checkAddresses(view);
  if (kinds.has('network')) checkNetworks(view);
  if (kinds.has('service')) checkPorts(view);
  if (kinds.has('task')) checkTasks(view);
}

function checkAddresses(view: View): void {
  const holders = new Map<string, string>();
  const macs = new Map<string, string>();
  const hold = (network: NetworkId, address: Ip, holder: string, mac?: string): void => {
    const key = `${network} ${address}`;
    assert(!holders.has(key), `${key} is held by ${holders.get(key)} and ${holder}`);
    holders.set(key, holder);
    const allocation = view.get('network', network)?.allocation;
    assert(allocation, `${holder} holds an address of a network without subnet`);
    const wrong = faultOf(allocation.subnet, address);
    assert(wrong === undefined, `${address} of ${holder} ${wrong}`);
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

/** By subnet and address: looked at again and again. */
const faults = new Map<string, string | undefined>();

function faultOf(subnet: Cidr, address: Ip): string | undefined {
  const key = `${subnet} ${address}`;
  if (faults.has(key)) return faults.get(key);
  const fault = ((): string | undefined => {
    if (!cidrContains(subnet, address)) return `is outside ${subnet}`;
    const part = hostPart(subnet, address);
    const last = (1n << BigInt(32 - parseCidr(subnet).prefixLength)) - 1n;
    return part > 0n && part < last ? undefined : "is the network's own or the broadcast address";
  })();
  faults.set(key, fault);
  return fault;
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
    if (isAttachment(task) || taskStates[task.desiredState] > taskStates.complete) continue;
    const instance = `${task.serviceId} ${task.jobIteration ?? ''} ${instanceOf(task)}`;
    live.set(instance, (live.get(instance) ?? 0) + 1);
  }
  for (const service of view.list('service')) checkConcurrency(view, service);
  checkMoves(view);
  // Two while a start-first update hands over.
  for (const [instance, count] of live) assert(count <= 2, `${instance} has ${count} tasks that are to run`);
}

/** No more slots of a job's run are under way than may be, and none is but its own. */
function checkConcurrency(view: View, { id, spec: { mode }, jobStatus }: Service): void {
  const run = view.tasksOfService(id).filter((task) => task.jobIteration === jobStatus?.iteration);
  for (const { jobIteration } of view.tasksOfService(id))
    assert((jobIteration ?? 0) <= (jobStatus?.iteration ?? 0), `${id} has tasks of a run that never began`);
  if (mode.kind !== 'replicated-job') return;
  const underWay = run.filter(
    ({ desiredState, status }) =>
      taskStates[desiredState] <= taskStates.complete && status.state !== 'complete',
  );
  const slots = new Set(underWay.map(({ slot }) => slot));
  assert(slots.size <= mode.maxConcurrent, `${slots.size} slots of ${id} are under way at a time`);
  for (const { slot } of run)
    assert(slot !== undefined && slot < mode.totalCompletions, `${id} has a task in slot ${slot}`);
}

/** Of each service one task at a time is on its way to another node. */
function checkMoves(view: View): void {
  const moving = new Set<string>();
  for (const to of view.list('task')) {
    if (to.succession?.cause !== 'rebalance') continue;
    const from = view.get('task', to.succession.of);
    if (!from || [from, to].some((task) => taskStates[task.desiredState] > taskStates.running)) continue;
    assert(!moving.has(to.serviceId), `two tasks of ${to.serviceId} are moved at once`);
    moving.add(to.serviceId);
  }
}

/** How long a node may still be told of what it has just lost the right to. */
const tellMsMax = 10_000;

/** What the service's containers alone are to know. */
export const plantedOf = (service: string): string => `planted-secret-of-${service}-`;

/** What a secret holds: for nodes alone that have a task with it. */
export const contentOf = (secret: string): string => `planted-content-of-${secret}-`;

/** Whether the task is to have its secrets on its node. */
const needsSecrets = ({ status: { state } }: Task): boolean =>
  taskStates[state] >= taskStates.assigned && taskStates[state] <= taskStates.running;

/** What was once true: laws of a whole run. */
export class Histories {
  /** By node and secret, the tasks that are to have it there, and when there was one last. */
  readonly #secrets = new Map<string, { readonly tasks: Set<string>; untilMs: number }>();
  readonly #startedOn = new Map<string, string>();
  /** By service, the nodes that had a task of it. */
  readonly #nodesOf = new Map<string, Set<string>>();
  /** By node and network, until when it had a part in it; Infinity: it has. */
  readonly #parts = new Map<string, number>();
  readonly #encrypted = new Set<string>();
  /** Of each task, how many restarts of one spec in a row have led to it. */
  readonly #restarts = new Map<string, { readonly count: number; readonly specVersion: number }>();
  #nowMs = 0;

  note({ kind, previous, current }: Change, nowMs: number): void {
    this.#nowMs = nowMs;
    if (kind === 'task' && current?.nodeId) {
      const nodes = this.#nodesOf.get(current.serviceId) ?? new Set();
      this.#nodesOf.set(current.serviceId, nodes.add(current.nodeId));
    }
    if (kind === 'task' && current && !previous) this.#countRestarts(current);
    if (kind === 'task') this.#noteSecrets(previous, current);
    if (kind === 'network' && current && isEncrypted(current.spec)) this.#encrypted.add(current.id);
    if (kind === 'node') {
      for (const { networkId } of previous?.attachments ?? [])
        this.#parts.set(`${previous?.id} ${networkId}`, nowMs);
      for (const { networkId } of current?.attachments ?? [])
        this.#parts.set(`${current?.id} ${networkId}`, Infinity);
    }
  }

  #noteSecrets(previous: Task | undefined, current: Task | undefined): void {
    const task = current ?? previous;
    if (task?.nodeId === undefined) return;
    for (const { id } of task.spec.container.secrets ?? []) {
      const key = `${task.nodeId} ${id}`;
      const held = this.#secrets.get(key) ?? { tasks: new Set(), untilMs: -Infinity };
      this.#secrets.set(key, held);
      if (current && needsSecrets(current)) held.tasks.add(task.id);
      else if (held.tasks.delete(task.id)) held.untilMs = this.#nowMs;
    }
  }

  /** Whether some task on the node is to have the secret, or was a moment ago. */
  hasSecret = (node: string, secret: string): boolean => {
    const held = this.#secrets.get(`${node} ${secret}`);
    return held !== undefined && (held.tasks.size > 0 || held.untilMs > this.#nowMs - tellMsMax);
  };

  /** A restart policy's attempts are as many as it says. */
  #countRestarts({ id, specVersion, succession, spec }: Task): void {
    const before = succession?.cause === 'restart' ? this.#restarts.get(succession.of) : undefined;
    const count = before?.specVersion === specVersion ? before.count + 1 : 0;
    this.#restarts.set(id, { count, specVersion });
    const { maxAttempts = 0, windowNs = 0 } = spec.restartPolicy ?? {};
    if (maxAttempts > 0 && windowNs === 0)
      assert(count <= maxAttempts, `${id} is restart ${count} of a policy with ${maxAttempts}`);
  }

  /** A task's process runs on the node that the task has, and on no other, ever. */
  started(view: View, host: string, taskId: string): void {
    const other = this.#startedOn.get(taskId);
    assert(other === undefined || other === host, `${taskId} runs on ${host}, and ran on ${other}`);
    this.#startedOn.set(taskId, host);
    const task = view.get('task', taskId as TaskId);
    assert(!task || task.nodeId === host, `${taskId} is ${task?.nodeId}'s and runs on ${host}`);
  }

  hadTaskOf = (node: string, service: string): boolean => this.#nodesOf.get(service)?.has(node) ?? false;

  takesPart = (node: string, network: string): boolean =>
    (this.#parts.get(`${node} ${network}`) ?? -Infinity) > this.#nowMs - tellMsMax;

  takesPartEncrypted = (node: string): boolean =>
    [...this.#encrypted].some((network) => this.takesPart(node, network));
}

interface Told {
  readonly remove: boolean;
  readonly overlay?: { readonly id: string };
  readonly peer?: { readonly overlayId: string };
  readonly endpoint?: { readonly overlayId: string };
  readonly service?: { readonly overlayId: string };
  readonly encryptionKey?: object;
}

/** A message to a node has nothing in it that its tasks do not need. */
export function checkAnswer(
  histories: Histories,
  node: string,
  method: string,
  message: object,
  bytes: Buffer,
): void {
  const text = bytes.toString('latin1');
  assert(!text.includes('planted-private-key'), `${method} tells ${node} the cluster's own secrets`);
  for (const [, service = ''] of text.matchAll(/planted-secret-of-(\w+)-/g))
    assert(histories.hadTaskOf(node, service), `${method} tells ${node} a secret of ${service}`);
  for (const [, secret = ''] of text.matchAll(/planted-content-of-(\w+)-/g))
    assert(histories.hasSecret(node, secret), `${method} tells ${node} what ${secret} holds`);
  if (method !== 'Assignments') return;
  for (const change of (message as { readonly changes: readonly Told[] }).changes) {
    if (change.remove) continue;
    const { overlay, peer, endpoint, service, encryptionKey } = change;
    const network = overlay?.id ?? (peer ?? endpoint ?? service)?.overlayId;
    if (network !== undefined)
      assert(histories.takesPart(node, network), `${node} is told of network ${network}, which it is not on`);
    if (encryptionKey)
      assert(histories.takesPartEncrypted(node), `${node} is told a key, and is on no encrypted network`);
  }
}

/** A machine, as far as the laws look at it. */
export interface Machine {
  readonly name: string;
  readonly isGone: boolean;
  readonly engine: {
    tasks(): readonly { readonly taskId: string; readonly status: string }[];
    users(): readonly { readonly networks: ReadonlyMap<string, string> }[];
  };
  /** Of tasks' secrets. */
  readonly payloadFiles: {
    readonly tasks: ReadonlyMap<TaskId, readonly { readonly data: Buffer }[]>;
  };
}

/** What a cluster at rest looks like, in the store and on its machines. */
export function checkConverged(view: View, machines: readonly Machine[]): void {
  checkServices(view);
  checkBalance(view);
  checkRecords(view);
  checkNodes(view);
  checkMachines(view, machines);
}

function checkServices(view: View): void {
  for (const service of view.list('service')) {
    if (service.jobStatus) {
      checkJob(view, service, service.jobStatus);
      continue;
    }
    const tasks = view.tasksOfService(service.id).filter((task) => task.desiredState === 'running');
    const { mode } = service.spec;
    const wanted = mode.kind === 'replicated' ? mode.replicas : view.list('node').length;
    for (const task of tasks)
      assert.equal(task.status.state, 'running', `${task.id} of ${service.id} is ${task.status.state}`);
    const instances = new Set([...tasks, ...gaveUp(view, service)].map(instanceOf)).size;
    assert.equal(instances, wanted, `${service.id} has ${instances} of ${wanted} instances`);
    const state = service.updateStatus?.state;
    assert(state !== 'updating' && state !== 'rollback_started', `${service.id} is still ${state}`);
    // A paused update is left as it stands: mixed, and with start-first both tasks in the slot that failed.
    if (state === 'paused' || state === 'rollback_paused') continue;
    assert.equal(
      new Set(tasks.map(instanceOf)).size,
      tasks.length,
      `${service.id} has two tasks in one slot`,
    );
    const images = new Set(tasks.map((task) => task.spec.container.image));
    assert(images.size <= 1, `${service.id} runs ${[...images].join(' and ')}`);
    assert(service.endpoint, `${service.id} was never allocated`);
  }
}

/** The last tasks of slots whose policy has no attempts left for them. */
function gaveUp(view: View, { id }: Service): readonly Task[] {
  const last = new Map<string, Task>();
  for (const task of [...view.tasksOfService(id)].sort(byCreation))
    if (task.desiredState !== 'remove') last.set(instanceOf(task), task);
  return [...last.values()].filter(
    ({ spec, status, desiredState }) =>
      (spec.restartPolicy?.maxAttempts ?? 0) > 0 && isTerminal(status.state) && desiredState === 'shutdown',
  );
}

/** Every instance of its present run has completed. */
function checkJob(view: View, { id, spec: { mode } }: Service, { iteration }: JobStatus): void {
  const run = view.tasksOfService(id).filter(({ jobIteration }) => jobIteration === iteration);
  const completed = new Set(
    run.filter(({ status }) => status.state === 'complete').map((task) => instanceOf(task)),
  );
  const wanted =
    mode.kind === 'replicated-job'
      ? Array.from({ length: mode.totalCompletions }, (_, slot) => String(slot))
      : view.list('node').map((node) => node.id as string);
  assert.deepEqual([...completed].sort(), wanted.sort(), `what of ${id} has completed`);
}

/** Services that are rebalanced lie evenly: nothing in the simulation keeps their tasks from a node but that they failed there. */
function checkBalance(view: View): void {
  for (const { id, spec, updateStatus } of view.list('service')) {
    if (!rebalanceBudget(spec.labels) || (updateStatus && !updateStatus.state.endsWith('completed')))
      continue;
    const tasks = view.tasksOfService(id);
    if (tasks.some(({ status }) => status.state === 'failed' || status.state === 'rejected')) continue;
    const counts = new Map<string, number>(view.list('node').map((node) => [node.id, 0]));
    for (const { nodeId = '', desiredState } of tasks)
      if (desiredState === 'running') counts.set(nodeId, (counts.get(nodeId) ?? 0) + 1);
    const uneven = Math.max(...counts.values()) - Math.min(...counts.values());
    assert(uneven <= 1, `${id} lies unevenly: ${JSON.stringify([...counts])}`);
  }
}

function checkRecords(view: View): void {
  for (const task of view.list('task')) {
    if (isAttachment(task)) continue;
    assert(view.get('service', task.serviceId), `${task.id} outlived its service`);
    assert(task.desiredState !== 'ready', `${task.id} still waits`);
    // A record that never got its addresses was never anyone's to stop.
    const ended = isTerminal(task.status.state) || task.status.state === 'new' || !task.nodeId;
    if (task.desiredState !== 'running') assert(ended, `${task.id} is still ${task.status.state}`);
  }
}

function checkNodes(view: View): void {
  for (const { id, status, attachments, role, spec, managerStatus } of view.list('node')) {
    assert.equal(status.state, 'ready', `node ${id} is ${status.state}`);
    assert.equal(role, spec.role, `node ${id} is still a ${role}`);
    if (role === 'manager') assert.equal(managerStatus?.reachability, 'reachable', `manager ${id}`);
    const used = view
      .tasksOnNode(id)
      .filter((task) => !isTerminal(task.status.state))
      .flatMap((task) => task.networks.map(({ networkId }) => networkId));
    const wanted = new Set<string>(['ingress', ...used]);
    const held = new Set(attachments.map(({ networkId }) => networkId as string));
    assert(
      isDeepStrictEqual(held, wanted),
      `node ${id} is on ${[...held].join()}, not ${[...wanted].join()}`,
    );
  }
}

function checkMachines(view: View, machines: readonly Machine[]): void {
  const attached = view.list('task').filter(isAttachment);
  const held = attached.map(
    ({ nodeId, networks }) => `${nodeId} ${networks[0]?.networkId} ${networks[0]?.address}`,
  );
  const connected: string[] = [];
  for (const { name, isGone, engine, payloadFiles } of machines) {
    if (isGone) continue;
    checkFiles(view, name, payloadFiles);
    for (const { networks } of engine.users())
      for (const [network, address] of networks) connected.push(`${name} ${network} ${address}`);
    for (const { taskId, status } of engine.tasks()) {
      const task = view.get('task', taskId as TaskId);
      assert(task?.nodeId === name, `${name} has a container of ${taskId}, which is not its task`);
      const isRunning = task.status.state === 'running';
      assert.equal(
        status === 'running',
        isRunning,
        `container of ${taskId} is ${status}, the task ${task.status.state}`,
      );
    }
    const here = new Set(engine.tasks().map(({ taskId }) => taskId));
    for (const { id, status } of view.tasksOnNode(name as never))
      if (status.state === 'running' && !attached.some((each) => each.id === id))
        assert(here.has(id), `${id} is said to run on ${name}`);
  }
  assert.deepEqual(held.sort(), connected.sort(), 'attachments and containers');
}

/** A machine has the secrets of the tasks that run there, and nothing of any other. */
function checkFiles(view: View, name: string, { tasks }: Machine['payloadFiles']): void {
  const wanted = view
    .tasksOnNode(name as never)
    .filter(({ status, spec }) => status.state === 'running' && (spec.container.secrets ?? []).length > 0);
  assert.deepEqual([...tasks.keys()].sort(), wanted.map(({ id }) => id).sort(), `files on ${name}`);
  for (const { id, spec } of wanted)
    assert.deepEqual(
      tasks.get(id)?.map(({ data }) => data.toString()),
      spec.container.secrets?.map((secret) => contentOf(secret.id)),
    );
}
