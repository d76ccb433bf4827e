/** Many simulated nodes in one process, and when each of them was told of a change. */
import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import type { AssignmentChange } from '../../src/controlplane/rpc/assignment.js';
import type { TaskId } from '../../src/model/ids.js';
import { systemClock } from '../../src/runtime/clock.js';
import { createLog } from '../../src/runtime/log.js';
import { Waiters } from '../../src/runtime/waiters.js';
import { machineMs, serveParent } from '../harness/child.js';
import type { NodeKeysText } from './manager-process.js';
import { SimulatedAgent } from './simulated-agent.js';

export interface AgentsRequest {
  readonly addr: string;
  readonly nodes: readonly (NodeKeysText & { readonly dataPathAddr: string })[];
}

export interface ToldRequest {
  readonly taskId: TaskId;
  readonly serving: boolean;
  readonly timeoutMs: number;
}

const log = createLog('agents');
const over = new AbortController();
// Each agent's session waits for it.
setMaxListeners(0, over.signal);
const startMsMax = 600_000;
/** As many begin at a time. */
const startingMax = 20;
let agents: readonly SimulatedAgent[] = [];
const waiters = new Waiters();
/** When each node was told so of the task's endpoint, by that. */
const toldMs = new Map<string, number[]>();
const keyOf = (taskId: string, serving: boolean): string => `${taskId} ${serving}`;

/** Resolves when all of them know what they have to. @returns how long that took, in ms */
async function start({ addr, nodes }: AgentsRequest): Promise<number> {
  const startedMs = machineMs();
  const common = { addr, clock: systemClock, random: (size: number) => randomBytes(size), log };
  agents = nodes.map(
    ({ dataPathAddr, ...keys }) => new SimulatedAgent({ ...common, keys, dataPathAddr, onTold: take }),
  );
  const late = AbortSignal.timeout(startMsMax);
  setMaxListeners(0, late);
  const waiting = [...agents];
  const begin = async (): Promise<void> => {
    for (let agent = waiting.shift(); agent; agent = waiting.shift()) {
      void agent.run(over.signal);
      await agent.told(late);
    }
  };
  await Promise.all(Array.from({ length: startingMax }, begin));
  return machineMs() - startedMs;
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
  await waiters.until(() => (toldMs.get(key)?.length ?? 0) >= agents.length, AbortSignal.timeout(timeoutMs));
  const times = toldMs.get(key) ?? [];
  toldMs.delete(key);
  return times;
}

serveParent({ start, told }, async () => over.abort(new Error('over')));
