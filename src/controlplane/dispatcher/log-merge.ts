/**
 * Puts the lines of several tasks, each in order by itself, into one order by their timestamps. Pure; the clock is the caller's.
 * A line goes out when every other task has a later one here, or has ended. A task with nothing to say cannot be told from one
 * that is slow: it is waited for once, for `patienceMs`, and then not again before it has spoken. Who follows what happens is not
 * to be behind it: there no line waits for longer than that in all, so that order is kept among what comes at about the same time.
 *
 * Lines come as pieces, many in one, and go out as slices of them: as far as no other task has an older line. A task alone costs
 * nothing for each line.
 */
import assert from 'node:assert';
import type { TaskId } from '../../model/ids.js';
import { compareTimestamps, lineEnd } from '../packed-lines.js';
import type { TaskLines } from '../task-logs.js';

interface Piece extends TaskLines {
  readonly cameMs: number;
}

interface Source {
  readonly pieces: Piece[];
  /** Pieces before here have gone out. */
  next: number;
  /** And lines of the next one before this offset. */
  at: number;
  ended: boolean;
}

export interface TakenLines {
  readonly lines: TaskLines[];
  /** When there may be more without a further line; undefined: nothing is here, 0: at once. */
  readonly waitMs: number | undefined;
  /** Pieces that were pushed and have gone out whole. */
  readonly done: TaskLines[];
}

/** How many pieces that have gone out are kept, rather than all others moved with each. */
const goneMax = 64;

const headOf = ({ pieces, next }: Source): Piece => {
  const head = pieces[next];
  assert(head, 'a source in the heap has lines');
  return head;
};

const compareHeads = (a: Source, b: Source): number =>
  compareTimestamps(headOf(a).packed, a.at, headOf(b).packed, b.at);

export class LogMerge {
  readonly #sources = new Map<TaskId, Source>();
  /** Those that others wait for, and since when: they have nothing here, and may still say something. */
  readonly #silent = new Map<Source, number>();
  /** Those with lines, as a binary heap: the oldest first. */
  readonly #heads: Source[] = [];
  #waitingSinceMs: number | undefined;

  constructor(
    private readonly patienceMs: number,
    private readonly isFollowing: boolean,
  ) {}

  /** A task that lines may come of from now on. */
  open(id: TaskId, nowMs: number): void {
    const known = this.#sources.get(id);
    const source = known ?? { pieces: [], next: 0, at: 0, ended: false };
    this.#sources.set(id, source);
    source.ended = false;
    if (source.pieces.length === 0) this.#silent.set(source, nowMs);
  }

  push(lines: TaskLines, nowMs: number): void {
    const source = this.#sources.get(lines.taskId);
    assert(source, 'lines come of tasks that were opened');
    source.pieces.push({ ...lines, cameMs: nowMs });
    if (source.pieces.length > 1) return;
    this.#silent.delete(source);
    this.#rise(source);
  }

  /** Nothing more comes of the task; what is here goes out in its turn. */
  end(id: TaskId): void {
    const source = this.#sources.get(id);
    if (!source) return;
    source.ended = true;
    this.#silent.delete(source);
    if (source.pieces.length === 0) this.#sources.delete(id);
  }

  /** What may go out now, about `bytesMax` at most. */
  take(nowMs: number, bytesMax: number): TakenLines {
    const lines: TaskLines[] = [];
    const done: TaskLines[] = [];
    let bytes = 0;
    for (let head = this.#heads[0]; head && bytes < bytesMax; head = this.#heads[0]) {
      if (this.#silent.size > 0) {
        if (this.isFollowing) this.#waitingSinceMs = headOf(head).cameMs;
        else this.#waitingSinceMs ??= nowMs;
        const waitMs = this.#waitingSinceMs + this.patienceMs - nowMs;
        if (waitMs > 0) return { lines, waitMs, done };
        for (const [source, sinceMs] of this.#silent)
          if (!this.isFollowing || sinceMs + this.patienceMs <= nowMs) this.#silent.delete(source);
      }
      this.#waitingSinceMs = undefined;
      const taken = this.#next(head, nowMs, done);
      lines.push(taken);
      bytes += taken.packed.length;
    }
    return { lines, waitMs: this.#heads.length > 0 ? 0 : undefined, done };
  }

  /** Of the oldest source's first piece what is no younger than all others; the source goes to where its next line belongs. */
  #next(head: Source, nowMs: number, done: TaskLines[]): TaskLines {
    const { packed, taskId, nodeId } = headOf(head);
    const from = head.at;
    head.at = this.#runEnd(packed, from);
    const run = { taskId, nodeId, packed: packed.subarray(from, head.at) };
    if (head.at < packed.length) {
      this.#sink();
      return run;
    }
    done.push(headOf(head));
    head.next += 1;
    head.at = 0;
    if (head.next < head.pieces.length) {
      if (head.next === goneMax) {
        head.pieces.splice(0, goneMax);
        head.next = 0;
      }
      this.#sink();
      return run;
    }
    head.pieces.length = 0;
    head.next = 0;
    if (head.ended) this.#sources.delete(taskId);
    else this.#silent.set(head, nowMs);
    const last = this.#heads.pop();
    if (last && last !== head) {
      this.#heads[0] = last;
      this.#sink();
    }
    return run;
  }

  /** Where the lines of the oldest source's piece end that are no younger than any other source's. */
  #runEnd(packed: Buffer, from: number): number {
    const [, left, right] = this.#heads;
    const second = left && right && compareHeads(right, left) < 0 ? right : left;
    if (!second) return packed.length;
    const limit = headOf(second).packed;
    let at = lineEnd(packed, from);
    while (at < packed.length && compareTimestamps(packed, at, limit, second.at) <= 0)
      at = lineEnd(packed, at);
    return at;
  }

  #rise(source: Source): void {
    let at = this.#heads.push(source) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (compareHeads(this.#heads[above]!, source) <= 0) break;
      this.#heads[at] = this.#heads[above]!;
      at = above;
    }
    this.#heads[at] = source;
  }

  #sink(): void {
    const source = this.#heads[0]!;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      if (left >= this.#heads.length) break;
      const right = this.#heads[left + 1];
      const below = right && compareHeads(right, this.#heads[left]!) < 0 ? left + 1 : left;
      if (compareHeads(source, this.#heads[below]!) <= 0) break;
      this.#heads[at] = this.#heads[below]!;
      at = below;
    }
    this.#heads[at] = source;
  }
}
