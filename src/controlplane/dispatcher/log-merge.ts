/**
 * Puts the lines of several tasks, each in order by itself, into one order by their timestamps. Pure; the clock is the caller's.
 * A line goes out when every other task has a later one here, or has ended. A task with nothing to say cannot be told from one
 * that is slow: it is waited for once, for `patienceMs`, and then not again before it has spoken. Who follows what happens is not
 * to be behind it: there no line waits for longer than that in all, so that order is kept among what comes at about the same time.
 */
import assert from 'node:assert';
import type { TaskId } from '../../model/ids.js';
import type { LogLine } from '../task-logs.js';

interface Source {
  readonly lines: LogLine[];
  /** When each of them came. */
  readonly cameMs: number[];
  /** Lines before here have gone out. */
  next: number;
  ended: boolean;
}

/** How many lines that have gone out are kept, rather than all others moved with each. */
const goneMax = 512;

const headOf = ({ lines, next }: Source): string => lines[next]?.timestamp ?? '';

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
    const source = known ?? { lines: [], cameMs: [], next: 0, ended: false };
    this.#sources.set(id, source);
    source.ended = false;
    if (source.lines.length === 0) this.#silent.set(source, nowMs);
  }

  push(id: TaskId, line: LogLine, nowMs: number): void {
    const source = this.#sources.get(id);
    assert(source, 'lines come of tasks that were opened');
    source.lines.push(line);
    source.cameMs.push(nowMs);
    if (source.lines.length > 1) return;
    this.#silent.delete(source);
    this.#rise(source);
  }

  /** Nothing more comes of the task; what is here goes out in its turn. */
  end(id: TaskId): void {
    const source = this.#sources.get(id);
    if (!source) return;
    source.ended = true;
    this.#silent.delete(source);
    if (source.lines.length === 0) this.#sources.delete(id);
  }

  /** What may go out now, at most `max` lines; and when there may be more without a further line, if so. */
  take(nowMs: number, max: number): { readonly lines: LogLine[]; readonly waitMs: number | undefined } {
    const lines: LogLine[] = [];
    for (let head = this.#heads[0]; head && lines.length < max; head = this.#heads[0]) {
      if (this.#silent.size > 0) {
        if (this.isFollowing) this.#waitingSinceMs = head.cameMs[head.next] ?? nowMs;
        else this.#waitingSinceMs ??= nowMs;
        const waitMs = this.#waitingSinceMs + this.patienceMs - nowMs;
        if (waitMs > 0) return { lines, waitMs };
        for (const [source, sinceMs] of this.#silent)
          if (!this.isFollowing || sinceMs + this.patienceMs <= nowMs) this.#silent.delete(source);
      }
      this.#waitingSinceMs = undefined;
      lines.push(this.#next(head, nowMs));
    }
    return { lines, waitMs: this.#heads.length > 0 ? 0 : undefined };
  }

  /** The oldest source's first line; the source goes to where its next one belongs. */
  #next(head: Source, nowMs: number): LogLine {
    const line = head.lines[head.next];
    assert(line, 'a source with lines has a first one');
    head.next += 1;
    if (head.next < head.lines.length) {
      if (head.next === goneMax) {
        head.lines.splice(0, goneMax);
        head.cameMs.splice(0, goneMax);
        head.next = 0;
      }
      this.#sink();
      return line;
    }
    head.lines.length = 0;
    head.cameMs.length = 0;
    head.next = 0;
    if (head.ended) this.#sources.delete(line.taskId);
    else this.#silent.set(head, nowMs);
    const last = this.#heads.pop();
    if (last && last !== head) {
      this.#heads[0] = last;
      this.#sink();
    }
    return line;
  }

  #rise(source: Source): void {
    let at = this.#heads.push(source) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (headOf(this.#heads[above]!) <= headOf(source)) break;
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
      const below = right && headOf(right) < headOf(this.#heads[left]!) ? left + 1 : left;
      if (headOf(source) <= headOf(this.#heads[below]!)) break;
      this.#heads[at] = this.#heads[below]!;
      at = below;
    }
    this.#heads[at] = source;
  }
}
