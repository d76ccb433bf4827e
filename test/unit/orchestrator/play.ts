/**
 * A play of a whole update: all loops of a task's life over one store, users who change services at set times, and nodes whose
 * tasks do what their image says. Time jumps to whatever comes next. What was written, and when, is the transcript.
 */
import assert from 'node:assert';
import { planAllocations } from '../../../src/controlplane/allocator/allocator.js';
import { nextStatus } from '../../../src/controlplane/dispatcher/task-status.js';
import { planEnforcement } from '../../../src/controlplane/orchestrator/constraint-enforcer.js';
import { planServices } from '../../../src/controlplane/orchestrator/orchestrator.js';
import { planReaping } from '../../../src/controlplane/orchestrator/reaper.js';
import type { Planner } from '../../../src/controlplane/plan.js';
import { applyPlanner } from '../../../src/controlplane/plan.js';
import { planScheduling } from '../../../src/controlplane/scheduler/scheduler.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { Change, Transaction } from '../../../src/controlplane/store/store.js';
import type { TaskId } from '../../../src/model/ids.js';
import type { Service, Task } from '../../../src/model/objects.js';
import { instanceOf } from '../../../src/model/objects.js';
import type { TaskState } from '../../../src/model/task-state.js';
import { atLeast, isTerminal } from '../../../src/model/task-state.js';
import { FakeTime, network, node, seededBytes, storeOf } from '../../support/cluster-objects.js';

/** What becomes of a task on its node. */
export interface Life {
  /** The image is not to be had. */
  readonly noSuchImage?: true;
  /** How long the process runs before it ends with 1; absent: until it is stopped. */
  readonly diesAfterMs?: number;
}

/** How long a node takes: to prepare a task, to start it, and to stop it. */
const prepareMs = 300;
const startMs = 200;
const stopMs = 1_000;
/** Longest play; those whose tasks fail for ever end there. */
const playMs = 300_000;

export interface Script {
  readonly service: Service;
  /** By image; one that is not there runs for ever. `nth` counts the tasks of the slot that have had this image, from 1. */
  readonly lives?: Readonly<Record<string, (slot: string, nth: number) => Life>>;
  /** What users do, by the millisecond. */
  readonly users: readonly (readonly [atMs: number, what: string, (tx: Transaction) => void])[];
  readonly untilMs?: number;
  readonly nodes?: readonly string[];
  /** Another manager leads before every pass: nothing is remembered, identifiers are others. */
  readonly leadersChange?: boolean;
}

/** Plays it to its end. @returns the transcript, a line for each write */
export async function play(script: Script): Promise<string> {
  const { service, nodes = ['n1', 'n2', 'n3'] } = script;
  const time = new FakeTime();
  const objects = {
    network: [network('ingress', { ingress: true, subnet: '10.0.0.0/24' })],
    node: nodes.map((name) => node(name)),
    service: [service],
  };
  return new Play(script, await storeOf(objects, time), time).run();
}

class Play {
  readonly #lines: string[] = [];
  /** Tasks by name: slot or node, and which one of it. */
  readonly #names = new Map<string, string>();
  readonly #counts = new Map<string, number>();
  readonly #nth = new Map<TaskId, number>();
  /** Since when a node knows what it is to do with a task. */
  readonly #told = new Map<string, number>();
  #seed = 1;
  #random = seededBytes(1);

  constructor(
    private readonly script: Script,
    private readonly store: MemoryStore,
    private readonly time: FakeTime,
  ) {
    // What is written together is in no order; by identifier it would be in another one with every leader.
    store.subscribe(({ changes }) =>
      changes
        .flatMap((change) => this.#line(change) ?? [])
        .sort()
        .forEach((line) => this.#say(line)),
    );
  }

  async run(): Promise<string> {
    const { users, untilMs = playMs } = this.script;
    const waiting = [...users];
    for (let step = 0; step < 10_000; step++) {
      const wakeAtMs = await this.#settle();
      const [user] = waiting;
      const next = this.#nextOfNodes();
      const atMs = Math.min(wakeAtMs, user?.[0] ?? Infinity, next?.atMs ?? Infinity);
      if (atMs === Infinity || atMs > untilMs) return `${this.#lines.join('\n')}\n`;
      this.time.ms = Math.max(this.time.ms, atMs);
      if (user && user[0] <= this.time.ms) {
        waiting.shift();
        this.#say(`user: ${user[1]}`);
        await this.store.update(user[2]);
      } else if (next && next.atMs <= this.time.ms) await this.#report(next);
    }
    assert.fail('the play does not end');
  }

  /** @returns when a loop wants to run again */
  async #settle(): Promise<number> {
    for (let round = 0; round < 100; round++) {
      const { revision } = this.store.view();
      let wakeAtMs = Infinity;
      for (const plan of this.#planners())
        wakeAtMs = Math.min(wakeAtMs, (await applyPlanner(this.store, plan, this.time.nowMs)) ?? Infinity);
      if (this.store.view().revision === revision) return wakeAtMs;
    }
    assert.fail('the loops do not come to rest');
  }

  #planners(): readonly Planner[] {
    if (this.script.leadersChange) this.#random = seededBytes((this.#seed += 1));
    return [
      (view, nowMs) => planServices(view, nowMs, this.#random),
      planAllocations,
      planScheduling,
      planEnforcement,
      planReaping,
    ];
  }

  /** The earliest that a node has to say of a task. */
  #nextOfNodes(): Deed | undefined {
    const deeds = this.store
      .view()
      .list('task')
      .flatMap((task) => this.#deed(task) ?? []);
    return deeds.sort((a, b) => a.atMs - b.atMs || (this.#name(a.task) < this.#name(b.task) ? -1 : 1))[0];
  }

  #deed(task: Task): Deed | undefined {
    const { state } = task.status;
    if (!atLeast(state, 'assigned') || isTerminal(state)) return undefined;
    const since = (what: string): number => {
      const key = `${task.id} ${what}`;
      this.#told.set(key, this.#told.get(key) ?? this.time.ms);
      return this.#told.get(key) ?? this.time.ms;
    };
    const at = (atMs: number, to: TaskState, err = ''): Deed => ({ task, atMs, to, err });
    const life = this.script.lives?.[task.spec.container.image]?.(
      instanceOf(task),
      this.#nth.get(task.id) ?? 1,
    );
    if (atLeast(task.desiredState, 'shutdown'))
      return at(since('stop') + (state === 'running' ? stopMs : 0), 'shutdown');
    if (state === 'running')
      return life?.diesAfterMs === undefined
        ? undefined
        : at(since('run') + life.diesAfterMs, 'failed', 'task: non-zero exit (1)');
    if (state === 'ready')
      return task.desiredState === 'ready' ? undefined : at(since('start') + startMs, 'running');
    return life?.noSuchImage
      ? at(since('prepare') + prepareMs, 'rejected', `No such image: ${task.spec.container.image}`)
      : at(since('prepare') + prepareMs, 'ready');
  }

  async #report({ task, to, err }: Deed): Promise<void> {
    await this.store.update((tx) => {
      const current = tx.get('task', task.id);
      assert(current);
      const report = {
        taskId: task.id,
        state: to,
        message: to,
        err,
        timestampMs: this.time.ms,
        draining: false,
      };
      const status = nextStatus(current, { ...report, container: null, ports: [] }, tx.nowMs);
      assert(status);
      tx.update('task', { ...current, status });
    });
  }

  #line({ kind, previous, current }: Change): string | undefined {
    if (kind === 'service' && current) {
      const { updateStatus } = current;
      if (!updateStatus || updateStatus.state === previous?.updateStatus?.state) return undefined;
      return `service: ${updateStatus.state}: ${this.#named(updateStatus.message)}`;
    }
    if (kind !== 'task') return undefined;
    if (!current) return previous && `${this.#name(previous)} forgotten`;
    const { state, err } = current.status;
    if (previous?.desiredState === current.desiredState && previous.status.state === state) return undefined;
    const place = current.nodeId === previous?.nodeId ? '' : ` on ${current.nodeId}`;
    return `${this.#name(current)} ${current.desiredState}/${state}${place}${err ? `: ${err}` : ''}`;
  }

  #say(line: string): void {
    this.#lines.push(`${(this.time.ms / 1000).toFixed(1).padStart(6)}  ${line}`);
  }

  /** `slot.nth image`, the same whatever the identifier is. */
  #name(task: Task): string {
    const known = this.#names.get(task.id);
    if (known !== undefined) return known;
    const count = (key: string): number => {
      this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
      return this.#counts.get(key) ?? 1;
    };
    const { image } = task.spec.container;
    this.#nth.set(task.id, count(`${instanceOf(task)} ${image}`));
    const name = `${instanceOf(task)}.${count(instanceOf(task))} ${image}`;
    this.#names.set(task.id, name);
    return name;
  }

  #named(message: string): string {
    return message.replace(/\b[0-9a-z]{25}\b/, (id) => `"${this.#names.get(id)}"`);
  }
}

interface Deed {
  readonly task: Task;
  readonly atMs: number;
  readonly to: TaskState;
  readonly err: string;
}
