/**
 * One reader of tasks' output: which tasks it reads, what of each has come, what it is still to be told of. Bounded: a node whose
 * lines are not taken is not read either, and flow control reaches back to the container's log.
 */
import type { NodeId, TaskId } from '../../model/ids.js';
import type { Clock } from '../../runtime/clock.js';
import { Trigger } from '../../runtime/loop.js';
import { packLine, timestampAt } from '../packed-lines.js';
import { sinceBehind } from '../task-logs.js';
import type { LogOptions, TaskLines } from '../task-logs.js';
import { LogMerge } from './log-merge.js';

/** What a reader may be behind, in bytes: in all, and at least of each node. */
const behindBytesMax = 16 * 1024 * 1024;
const behindNodeBytesMin = 256 * 1024;
/** What lines that came together weigh besides themselves. */
const piecesBytes = 500;
/** How long a task's lines wait for those of tasks that may have older ones: a history is worth more order than the present. */
const patienceMs = { history: 1_500, following: 250 };
/** About so much is handed to the reader at once: gRPC keeps up to 16 of them at each end of the way to another manager. */
const handedBytesMax = 64 * 1024;
/** How long a node may say nothing at all, not even that it is there, or be away. */
const silenceMsMax = 3_000;
/** A node that is silent is asked about once more after this: it may be the manager that was held up. */
const secondLookMs = 500;
/** How long a node may be away before a follower is told: sessions are made anew now and then, within a moment. */
const awayMsMax = 1_000;
const waitMsMax = 60_000;

/** One node's answer: a stream of lines of some of its tasks. */
export interface Leg {
  readonly id: string;
  readonly subscription: Subscription;
  readonly nodeId: NodeId;
  /** Those that it has not said the last word of. */
  readonly tasks: Set<TaskId>;
  /** When the node last said anything, by the steady clock. */
  heardMs: number;
  /** Its lines wait for the reader, who must not hold that against it. */
  isBlocked: boolean;
  /** How often in a row the node was found silent. */
  misses: number;
  /** The reader has been told that the node is silent. */
  isNoted: boolean;
}

/** A task that nothing can be read of now: its node is away. */
interface Interruption {
  readonly nodeId: NodeId;
  readonly reason: string;
  readonly sinceMs: number;
  isNoted: boolean;
}

export class Subscription {
  readonly legs = new Map<string, Leg>();
  readonly #merge: LogMerge;
  /** Bytes that are here, by node. */
  readonly #bytes = new Map<NodeId, number>();
  /** Newest line of each task: where to go on after an interruption. */
  readonly #reached = new Map<TaskId, string>();
  readonly #reasons = new Set<string>();
  /** Lines of the manager's own. */
  readonly #notes: TaskLines[] = [];
  readonly #interrupted = new Map<TaskId, Interruption>();
  /** Wakes the reader: a line, or an end. */
  readonly #arrived = new Trigger();
  /** Wakes nodes' streams: there is room, or nobody reads any more. */
  readonly #blocked = new Set<Trigger>();
  #failure: Error | undefined;
  #isClosed = false;
  /** Tasks may come that are not there yet. */
  mayGrow = false;

  constructor(
    readonly options: LogOptions,
    private readonly clock: Clock,
  ) {
    for (const [task, timestamp] of Object.entries(options.reached ?? {}))
      this.#reached.set(task as TaskId, timestamp);
    this.#merge = new LogMerge(options.follow ? patienceMs.following : patienceMs.history, options.follow);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  open(leg: Leg): void {
    this.legs.set(leg.id, leg);
    for (const task of leg.tasks) this.#merge.open(task, this.clock.steadyMs());
  }

  /** Where a task's output is to be read from: behind what has come of it. */
  since(task: TaskId): string {
    const reached = this.#reached.get(task);
    return reached === undefined ? this.options.since : sinceBehind(reached);
  }

  /** Whether anything of the task has come. */
  hasReached(task: TaskId): boolean {
    return this.#reached.has(task);
  }

  /** @param last where the last of the lines begins */
  take(lines: TaskLines, last: number): void {
    const { taskId, nodeId, packed } = lines;
    this.#bytes.set(nodeId, (this.#bytes.get(nodeId) ?? 0) + weightOf(lines));
    this.#reached.set(taskId, timestampAt(packed, last));
    this.#merge.push(lines, this.clock.steadyMs());
    this.#arrived.fire();
  }

  endTask(leg: Leg, task: TaskId): void {
    if (!leg.tasks.delete(task)) return;
    this.#reached.delete(task);
    this.#merge.end(task);
    this.#arrived.fire();
  }

  /** The node has said its last word, or will not come to that. */
  endLeg(leg: Leg): void {
    if (!this.legs.delete(leg.id)) return;
    for (const task of leg.tasks) this.#merge.end(task);
    this.#arrived.fire();
  }

  /** Nothing comes of the leg's tasks before their node is back: for a while at least, that is waited for. */
  interrupt({ nodeId, tasks, isNoted }: Leg, reason: string): void {
    const sinceMs = this.clock.steadyMs();
    for (const task of tasks) this.#interrupted.set(task, { nodeId, reason, sinceMs, isNoted });
    this.#arrived.fire();
  }

  /** @returns the tasks that were interrupted on the node, and are not any more */
  resumeOn(nodeId: NodeId): readonly TaskId[] {
    const tasks = [...this.#interrupted].filter(([, { nodeId: on }]) => on === nodeId).map(([task]) => task);
    for (const task of tasks) this.#interrupted.delete(task);
    return tasks;
  }

  /** Says at the end that something is missing, and why. */
  warn(reason: string): void {
    this.#reasons.add(reason);
    this.#arrived.fire();
  }

  /** What is missing. */
  get reasons(): readonly string[] {
    return [...new Set([...this.#reasons, ...[...this.#interrupted.values()].map(({ reason }) => reason)])];
  }

  /** Puts a line of the manager's own into the task's standard error: the stream has no other place for what is missing now. */
  #note(task: TaskId, nodeId: NodeId, reason: string): void {
    if (!this.options.stderr) return;
    const timestamp = new Date(this.clock.nowMs()).toISOString().replace('Z', '000000Z');
    const text = Buffer.from(`warning: incomplete log stream: ${reason}\n`);
    this.#notes.push({ taskId: task, nodeId, packed: packLine(3, timestamp, '', text) });
    this.#arrived.fire();
  }

  endGrowth(): void {
    this.mayGrow = false;
    this.#arrived.fire();
  }

  /** Ends it for its reader, at once. */
  fail(err: Error): void {
    this.#failure = err;
    this.#arrived.fire();
  }

  /** Resolves when the node's stream may be read further. */
  async untilRoom(leg: Leg): Promise<void> {
    const bytesMax = Math.max(behindNodeBytesMin, behindBytesMax / (this.#bytes.size || 1));
    const isFull = (): boolean => !this.#isClosed && (this.#bytes.get(leg.nodeId) ?? 0) > bytesMax;
    if (!isFull()) return;
    const room = new Trigger();
    const never = new AbortController().signal;
    this.#blocked.add(room);
    leg.isBlocked = true;
    while (isFull()) await room.wait(waitMsMax, this.clock, never);
    leg.isBlocked = false;
    leg.heardMs = this.clock.steadyMs();
    this.#blocked.delete(room);
  }

  /**
   * What has come, in order, until all has or the signal aborts.
   * @param onSilent is told of legs whose node has said nothing for too long
   */
  async *lines(
    signal: AbortSignal,
    onSilent: (leg: Leg) => void,
  ): AsyncGenerator<readonly TaskLines[], void> {
    const never = new AbortController().signal;
    signal.addEventListener('abort', this.#arrived.fire, { once: true });
    try {
      while (!signal.aborted) {
        if (this.#failure) throw this.#failure;
        const { lines, waitMs, done } = this.#merge.take(this.clock.steadyMs(), handedBytesMax);
        for (const each of done)
          this.#bytes.set(each.nodeId, (this.#bytes.get(each.nodeId) ?? 0) - weightOf(each));
        if (done.length > 0) for (const blocked of this.#blocked) blocked.fire();
        lines.push(...this.#notes.splice(0));
        if (lines.length > 0) yield lines;
        if (waitMs === 0) continue;
        const attendMs = Math.min(this.#attendLegs(onSilent), this.#attendInterruptions());
        if (this.#notes.length > 0) continue;
        const isOver = this.legs.size === 0 && this.#interrupted.size === 0 && !this.mayGrow;
        if (isOver && waitMs === undefined) return;
        await this.#arrived.wait(Math.min(waitMs ?? waitMsMax, attendMs), this.clock, never);
      }
    } finally {
      signal.removeEventListener('abort', this.#arrived.fire);
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const blocked of this.#blocked) blocked.fire();
  }

  /** @returns after how long to look again */
  #attendLegs(onSilent: (leg: Leg) => void): number {
    let nextMs = waitMsMax;
    for (const leg of [...this.legs.values()]) {
      const silentMs = this.clock.steadyMs() - leg.heardMs;
      const patience = silenceMsMax + leg.misses * secondLookMs;
      if (leg.isBlocked || silentMs < patience) {
        nextMs = Math.min(nextMs, leg.isBlocked ? silenceMsMax : patience - silentMs);
        continue;
      }
      leg.misses += 1;
      if (leg.misses < 2) nextMs = Math.min(nextMs, secondLookMs);
      else if (!this.options.follow) onSilent(leg);
      else if (!leg.isNoted) {
        // It may come to itself again, and then has more to say.
        for (const task of leg.tasks) this.#note(task, leg.nodeId, `node ${leg.nodeId} does not answer`);
        leg.isNoted = true;
      }
    }
    return nextMs;
  }

  /** @returns after how long to look again */
  #attendInterruptions(): number {
    let nextMs = waitMsMax;
    const { follow } = this.options;
    for (const [task, interruption] of this.#interrupted) {
      if (interruption.isNoted) continue;
      const leftMs = interruption.sinceMs + (follow ? awayMsMax : silenceMsMax) - this.clock.steadyMs();
      if (leftMs > 0) {
        nextMs = Math.min(nextMs, leftMs);
        continue;
      }
      interruption.isNoted = true;
      if (follow) this.#note(task, interruption.nodeId, interruption.reason);
      else {
        this.#reasons.add(interruption.reason);
        this.#interrupted.delete(task);
      }
    }
    return nextMs;
  }
}

const weightOf = ({ packed }: TaskLines): number => packed.length + piecesBytes;
