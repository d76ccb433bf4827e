/**
 * Maglev's lookup table (Eisenbud and others, NSDI 2016, section 3.4): each real server fills the table in an order of its
 * own, taking turns by weight. Everyone gets its share to within a place or two, and when one comes or goes the others
 * keep nearly all of their places, so that nearly all clients stay where they are.
 *
 * The order hangs on the task (MAC and port) alone: every node builds the same table, and a client that changes to
 * another node meets the same task.
 */
import type { Mac } from '../../model/addresses.js';

export interface MaglevCandidate {
  readonly index: number;
  readonly weight: number;
  readonly mac: Mac;
  readonly port: number;
}

/**
 * Primes: some thirty places a real server keep shares and disruption within a few percent. A change of size moves nearly
 * every client, so sizes are few, and the smallest is enough for what most services ever have; a thousand virtual
 * servers of that size fit into the slots.
 */
export const maglevSizes = [
  { size: 1021, realServersMax: 32 },
  { size: 16381, realServersMax: 16381 },
] as const;

/** Places for this number of real servers; beyond the largest size some have none. */
export const maglevSize = (realServers: number): number =>
  maglevSizes.find(({ realServersMax }) => realServers <= realServersMax)?.size ?? 16381;

/** @param candidates in an order that is the same on every node; weights at least 1 */
export function maglev(candidates: readonly MaglevCandidate[]): Uint32Array {
  if (candidates.length === 0) return new Uint32Array(0);
  const size = maglevSize(candidates.length);
  const table = new Uint32Array(size);
  const taken = new Uint8Array(size);
  const weightMax = candidates.reduce((most, { weight }) => Math.max(most, weight), 0);
  const turns = candidates.map(({ index, weight, mac, port }) => ({
    index,
    share: weight / weightMax,
    credit: 0,
    place: taskHash(mac, port, 0x243f6a88) % size,
    step: 1 + (taskHash(mac, port, 0x85a308d3) % (size - 1)),
  }));
  for (let filled = 0; filled < size;) {
    for (const turn of turns) {
      turn.credit += turn.share;
      if (turn.credit < 1) continue;
      turn.credit -= 1;
      // A prime size and a step below it: every place is met once before the first comes again.
      while (taken[turn.place] === 1) turn.place = (turn.place + turn.step) % size;
      taken[turn.place] = 1;
      table[turn.place] = turn.index;
      if (++filled === size) break;
    }
  }
  return table;
}

/** FNV-1a over the text, then the mixing of MurmurHash3's end: close MACs must give far places. */
function taskHash(mac: Mac, port: number, seed: number): number {
  let hash = seed ^ port;
  for (let i = 0; i < mac.length; i++) hash = Math.imul(hash ^ mac.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
