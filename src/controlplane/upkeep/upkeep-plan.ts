/**
 * What one manager's etcd needs done to it now. Pure: state and memory in, operations and the next memory out.
 *
 * History is forgotten by the one who leads Raft, for all: a store's watch needs no more of it than a short break lasts, and one
 * that was away longer reads everything. Space that is free in the database is given back only where it pays, as the member
 * answers nothing meanwhile; so does one that is started anew with other settings. Those two are done by one member at a time,
 * in its turn and while all are well, by the one that leads Raft last, after it has handed that over.
 */
import type { StoreState } from './store-state.js';

export interface UpkeepState extends StoreState {
  /** Of a clock that nobody sets. */
  readonly nowMs: number;
  readonly leadsRaft: boolean;
  /** Another member that could lead Raft; undefined: this one is alone. */
  readonly successor?: string;
  /** Every manager there is votes and is alive. */
  readonly allWell: boolean;
  /** etcd runs with other settings, or trusts other roots, than the cluster wants. */
  readonly isOutdated: boolean;
  /** The other members are known not to be; else they are given time. */
  readonly othersAreDone?: boolean;
}

export interface UpkeepMemory {
  /** Up to here history is forgotten. */
  readonly compacted: number;
  readonly compactedAtMs: number;
  /** Revisions of late looks, oldest first. */
  readonly seen: readonly { readonly atMs: number; readonly revision: number }[];
  readonly defragmentedAtMs: number;
  /** Since when there is something to be done in a turn. */
  readonly waitingSinceMs?: number;
}

export type UpkeepOp =
  | { readonly op: 'compact'; readonly revision: number }
  /** Takes back the alarm of the quota. */
  | { readonly op: 'disarm' }
  | { readonly op: 'handOver'; readonly successor: string }
  | { readonly op: 'defragment' | 'restart'; readonly inTurn: boolean };

export const noMemory: UpkeepMemory = {
  compacted: 0,
  compactedAtMs: 0,
  seen: [],
  defragmentedAtMs: -Infinity,
};

/** Longer than an etcd takes to be started again, and a manager to come back from a cut link. */
const historyMs = 60_000;
/** Forgetting is a write of its own: not for less than this many revisions. */
const compactRevisions = 1_000;
/** One may hold 200 objects: where room is short, or after a while, few are enough. */
const fewRevisions = 20;
const compactGapMs = 10 * 60_000;
/** Of the quota: above, history goes at once and free space sooner. */
const pressureShare = 0.5;
/** Of the quota: an alarm is taken back below. */
const disarmShare = 0.9;
const mebibyte = 1024 * 1024;
/** What is free is used again, so less than this, or than half of the file, is not worth a pause. */
const gainBytesMin = 16 * mebibyte;
const defragmentGapMs = 10 * 60_000;
const pressedGapMs = 60_000;
/** A member with more than this answers nothing for longer than an election takes, and does not lead meanwhile. */
const pauseBytes = 64 * mebibyte;
/** The others see the same need within one look; their turns come first. */
const leaderPatienceMs = 45_000;

export function planUpkeep(
  state: UpkeepState,
  memory: UpkeepMemory,
): { readonly ops: readonly UpkeepOp[]; readonly memory: UpkeepMemory } {
  const { nowMs, leadsRaft, successor, allWell, isFull, isOutdated, usedBytes } = state;
  const ops: UpkeepOp[] = [];
  const next = { ...memory, seen: [...memory.seen, { atMs: nowMs, revision: state.revision }] };
  // The newest that is old enough stays: it is the next to be forgotten.
  const oldEnough = next.seen.filter(({ atMs }) => atMs <= nowMs - historyMs);
  next.seen = next.seen.slice(Math.max(0, oldEnough.length - 1));

  if (isFull && state.databaseBytes < disarmShare * state.quotaBytes) ops.push({ op: 'disarm' });
  const pressed = isPressed(state);
  const revision = pressed ? state.revision : (oldEnough.at(-1)?.revision ?? 0);
  const isDue = pressed || nowMs - memory.compactedAtMs >= compactGapMs;
  const least = isFull ? 1 : isDue ? fewRevisions : compactRevisions;
  if (leadsRaft && revision - memory.compacted >= least) {
    ops.push({ op: 'compact', revision });
    next.compacted = revision;
    next.compactedAtMs = nowMs;
  }

  const op = paysToDefragment(state, memory) ? 'defragment' : isOutdated ? 'restart' : undefined;
  const { waitingSinceMs: since = nowMs, ...rested } = next;
  if (op === undefined) return { ops, memory: rested };
  next.waitingSinceMs = since;
  if (op === 'defragment' && isFull) {
    // No turn can be written down any more, and nothing that is written has to wait.
    ops.push({ op, inTurn: false });
  } else if (allWell) {
    const isLast = leadsRaft && successor !== undefined;
    const othersMayBeDue = op !== 'restart' || state.othersAreDone !== true;
    if (isLast && othersMayBeDue && nowMs - since < leaderPatienceMs) return { ops, memory: next };
    if (isLast && (op === 'restart' || usedBytes > pauseBytes)) {
      ops.push({ op: 'handOver', successor });
      return { ops, memory: rested };
    }
    ops.push({ op, inTurn: true });
  }
  return { ops, memory: next };
}

/** The store fills up: history goes at once, and space is given back sooner. */
export const isPressed = ({ isFull, databaseBytes, quotaBytes }: UpkeepState): boolean =>
  isFull || databaseBytes >= pressureShare * quotaBytes;

function paysToDefragment(state: UpkeepState, memory: UpkeepMemory): boolean {
  const { nowMs, databaseBytes, usedBytes, diskFreeBytes, quotaBytes, hasDirectory } = state;
  const gainBytes = databaseBytes - usedBytes;
  // The new file stands beside the old one for a while.
  if (!hasDirectory || diskFreeBytes < 2 * usedBytes) return false;
  const pressed = isPressed(state);
  if (nowMs - memory.defragmentedAtMs < (pressed ? pressedGapMs : defragmentGapMs)) return false;
  const enough = Math.min(gainBytesMin, quotaBytes / 64);
  return gainBytes >= enough && gainBytes > (pressed ? 0.1 : 0.5) * databaseBytes;
}
