/** Many simulated nodes in one process, and when each of them was told of a change. */
import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import type { AssignmentChange } from '../../src/controlplane/rpc/assignment.js';
import { NodeNetwork } from '../../src/controlplane/agent/node-network.js';
import type { NodeId, TaskId } from '../../src/model/ids.js';
import { systemClock } from '../../src/runtime/clock.js';
import { createLog } from '../../src/runtime/log.js';
import { Waiters } from '../../src/runtime/waiters.js';
import { machineMs, serveParent } from '../harness/child.js';
import { Following } from './following.js';
import type { NodeKeysText } from './manager-process.js';
import { PlanningDataplane } from './planning-dataplane.js';
import { SimulatedAgent } from './simulated-agent.js';
import type { SimulatedNetwork } from './simulated-agent.js';

export interface AgentsRequest {
  readonly addr: string;
  readonly nodes: readonly (NodeKeysText & { readonly dataPathAddr: string })[];
  /** They read all that they are told, and plan it; otherwise they only take note of it. */
  readonly plans: boolean;
}

export interface ReportRequest {
  readonly taskId: TaskId;
  /** That the task runs on, and that reports it. */
  readonly nodeId: NodeId;
  readonly state: 'running' | 'failed';
  readonly timeoutMs: number;
}

export interface ToldRequest {
  readonly taskId: TaskId;
  readonly serving: boolean;
  readonly timeoutMs: number;
}

const log = createLog('agents', process.env['SKEP_LOG']);
const over = new AbortController();
// Each agent's session waits for it.
setMaxListeners(0, over.signal);
const startMsMax = 600_000;
/** As many ask a manager to take them in at a time: these are one process, and would keep each other from hearing in time. */
const startingMax = 20;
let agents: ReadonlyMap<NodeId, SimulatedAgent> = new Map();
const following = new Following(machineMs);
const waiters = new Waiters();
/** When each node was told so of the task's endpoint, by that. */
const toldMs = new Map<string, number[]>();
const keyOf = (taskId: string, serving: boolean): string => `${taskId} ${serving}`;

/** Resolves when all of them know what they have to. @returns how long that took, in ms */
async function start({ addr, nodes, plans }: AgentsRequest): Promise<number> {
  const startedMs = machineMs();
  const common = { addr, clock: systemClock, random: (size: number) => randomBytes(size), log };
  agents = new Map(
    nodes.map(({ dataPathAddr, ...keys }) => {
      const network = plans ? planningNetwork(keys.nodeId) : { set: take };
      return [
        keys.nodeId,
        new SimulatedAgent({ ...common, keys, dataPathAddr, network, readsAll: plans }),
      ] as const;
    }),
  );
  const late = AbortSignal.timeout(startMsMax);
  setMaxListeners(0, late);
  const waiting = [...agents.values()];
  const begin = async (): Promise<void> => {
    for (let agent = waiting.shift(); agent; agent = waiting.shift()) {
      void agent.run(over.signal);
      // What they have to know takes longer than a node that is not heard of is waited for.
      await agent.registered(late);
    }
  };
  await Promise.all(Array.from({ length: startingMax }, begin));
  await Promise.all([...agents.values()].map((agent) => agent.told(late)));
  return machineMs() - startedMs;
}

/** The product's, in front of a dataplane that plans. */
function planningNetwork(nodeId: NodeId): SimulatedNetwork {
  const dataplane = new PlanningDataplane((state, ops) => following.planned(nodeId, state, ops));
  const network = new NodeNetwork({
    ...{ dataplane, clock: systemClock, log, hasEsp: () => false },
    // Asked by tasks alone, of which none is run.
    barrier: { wait: async () => undefined },
  });
  void network.run(over.signal);
  return network;
}

/** The task's node reports it. @returns how long after that each node had planned what follows from it, the first first; ms */
async function report({ taskId, nodeId, state, timeoutMs }: ReportRequest): Promise<readonly number[]> {
  const agent = agents.get(nodeId);
  if (!agent) throw new Error('that node is not simulated');
  const reportedMs = machineMs();
  const plannedMs = await following.until(
    { taskId, serving: state === 'running' },
    agents.size,
    () =>
      agent.reporter.put(taskId, {
        ...{ state, message: state, timestampMs: systemClock.nowMs() },
        container: { containerId: taskId, pid: 1_000, exitCode: 0 },
      }),
    AbortSignal.timeout(timeoutMs),
  );
  return plannedMs.map((atMs) => atMs - reportedMs);
}

function take(_all: unknown, _revision: number, changes: readonly AssignmentChange[] | null): void {
  const nowMs = machineMs();
  for (const { remove, assignment } of changes ?? []) {
    if (assignment.kind !== 'endpoint') continue;
    const key = keyOf(assignment.item.taskId, !remove && assignment.item.serving);
    const times = toldMs.get(key) ?? [];
    times.push(nowMs);
    toldMs.set(key, times);
  }
  waiters.check();
}

/** Resolves when every node was told so: when each was, by {@link machineMs}, the first first. */
async function told({ taskId, serving, timeoutMs }: ToldRequest): Promise<readonly number[]> {
  const key = keyOf(taskId, serving);
  await waiters.until(() => (toldMs.get(key)?.length ?? 0) >= agents.size, AbortSignal.timeout(timeoutMs));
  const times = toldMs.get(key) ?? [];
  toldMs.delete(key);
  return times;
}

serveParent({ start, told, report }, async () => over.abort(new Error('over')));
