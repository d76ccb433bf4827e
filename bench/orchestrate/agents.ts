/**
 * Nodes without engines: each follows the real dispatcher's assignments of its node and walks its tasks through every state
 * of an agent, at once, reporting by way of the real agent's reporter and the real dispatcher's batches. Only gRPC is left
 * out: messages are handed over as they would be written to the wire.
 */
import assert from 'node:assert';
import { Acknowledgements } from '../../src/controlplane/dispatcher/acknowledgements.js';
import { AssignmentStreams } from '../../src/controlplane/dispatcher/assignment-stream.js';
import type { Session } from '../../src/controlplane/dispatcher/sessions.js';
import { TaskStatusWriter } from '../../src/controlplane/dispatcher/task-status.js';
import { StatusReporter } from '../../src/controlplane/agent/status-reporter.js';
import { parseChange } from '../../src/controlplane/rpc/assignment.js';
import type {
  EncodedAssignmentsMessage,
  WireAssignmentsMessage,
} from '../../src/controlplane/rpc/assignment.js';
import { dispatcherDefinition } from '../../src/controlplane/rpc/proto.js';
import type { Store } from '../../src/controlplane/store/store.js';
import type { NodeId, SessionId, TaskId } from '../../src/model/ids.js';
import type { Task } from '../../src/model/objects.js';
import { atLeast, compareStates, isTerminal } from '../../src/model/task-state.js';
import type { TaskState } from '../../src/model/task-state.js';
import type { Clock } from '../../src/runtime/clock.js';
import type { Log } from '../../src/runtime/log.js';

export interface AgentsOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
}

/** Runs an agent on each of the nodes until the signal aborts. Rejects with what any of them, or the dispatcher, fails with. */
export async function runAgents(
  options: AgentsOptions,
  nodes: readonly NodeId[],
  signal: AbortSignal,
): Promise<void> {
  const acknowledgements = new Acknowledgements();
  using streams = new AssignmentStreams(options, acknowledgements);
  const statuses = new TaskStatusWriter(options);
  await Promise.all(
    nodes.map(async (nodeId) => {
      const session: Session = { id: nodeId as string as SessionId, nodeId, signal };
      const agent = new Agent(new StatusReporter(options));
      const over = (err: unknown): void => {
        if (!signal.aborted) throw err;
      };
      const write = async (message: EncodedAssignmentsMessage): Promise<void> => {
        agent.take(decode(message));
        acknowledgements.acknowledge(session, message.revision);
      };
      await Promise.all([
        streams.serve(session, { write, signal }, { takesParts: true, takesPacked: true }).catch(over),
        agent.reporter
          .run(async (updates) => {
            await statuses.report(nodeId, updates);
            agent.walk(updates.map(({ taskId }) => taskId as TaskId));
          }, signal)
          .catch(over),
      ]);
    }),
  );
}

/** As the wire has it, and back. */
function decode(message: EncodedAssignmentsMessage): WireAssignmentsMessage {
  const { Assignments: assignments } = dispatcherDefinition;
  assert(assignments);
  return assignments.responseDeserialize(assignments.responseSerialize(message)) as WireAssignmentsMessage;
}

/** What an agent says of a task on its way, each step in a report of its own. */
const steps: readonly TaskState[] = ['accepted', 'preparing', 'ready', 'starting', 'running'];

class Agent {
  /** What this node is to run, and how far it is. */
  readonly #tasks = new Map<TaskId, { readonly desired: TaskState; readonly state: TaskState }>();

  constructor(readonly reporter: StatusReporter) {}

  take({ changes }: WireAssignmentsMessage): void {
    for (const wire of changes) {
      if (!('task' in wire)) continue;
      const { remove, assignment } = parseChange(wire);
      assert(assignment.kind === 'task');
      if (remove) this.#tasks.delete(assignment.item.id as TaskId);
      else this.#assign(assignment.item.task);
    }
  }

  /** The next step of each of these tasks; the one before is in the store. */
  walk(ids: readonly TaskId[]): void {
    for (const id of ids) {
      const task = this.#tasks.get(id);
      const next = task && nextState(task.desired, task.state);
      if (!task || next === undefined) continue;
      this.#tasks.set(id, { ...task, state: next });
      this.reporter.put(id, { state: next, message: next, timestampMs: Date.now() });
    }
  }

  #assign({ id, desiredState: desired, status }: Task): void {
    const known = this.#tasks.get(id);
    this.#tasks.set(id, { desired, state: known?.state ?? status.state });
    // One that is on its way takes its next step when its last report is in.
    if (!known || nextState(known.desired, known.state) === undefined) this.walk([id]);
  }
}

function nextState(desired: TaskState, state: TaskState): TaskState | undefined {
  if (isTerminal(state)) return undefined;
  if (atLeast(desired, 'shutdown')) return 'shutdown';
  if (compareStates(state, desired) >= 0) return undefined;
  return steps.find((step) => compareStates(step, state) > 0);
}
