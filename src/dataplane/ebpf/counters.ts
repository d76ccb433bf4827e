/**
 * What the programs count. A real server's counters lie in shards, which are summed here; those of removed real servers are
 * kept in their virtual server's `retired`, so that its totals never go back while it is there.
 */
import type { DropReason, RealServerCounters, VirtualServerCounters } from '../balancer/engine.js';
import { visitEntries, writeEntries } from './array-entries.js';
import type { Maps } from './image.js';
import { enums, limits, structs } from './layout.js';
import type { RealRecord, VirtualRecord } from './records.js';
import { u64 } from './struct.js';

const shards = limits.COUNTER_SHARDS;
type Totals = ReturnType<typeof structs.counters.decode>;
const nothing: Totals = { connections: 0n, packets: 0n, bytes: 0n, replyPackets: 0n, replyBytes: 0n };

const { dropReason } = enums;
const reasons: readonly (readonly [DropReason, number])[] = [
  ['fragment', dropReason.DROP_FRAGMENT],
  ['collision', dropReason.DROP_COLLISION],
  ['table', dropReason.DROP_TABLE],
  ['oversize', dropReason.DROP_OVERSIZE],
  ['malformed', dropReason.DROP_MALFORMED],
];

/** Counters of these virtual servers and their real servers. Throws KernelError. */
export function readCounters(maps: Maps, records: readonly VirtualRecord[]): VirtualServerCounters[] {
  const indices = records.flatMap(({ reals }) => Array.from(reals.values(), ({ index }) => index));
  const totals = readTotals(maps, indices);
  const active = new Map<number, number>();
  visitEntries(maps.skep_active, indices, 1, (view, at, index) => {
    // Below 0 for a moment where a program of another CPU was quicker to count down than one to count up.
    active.set(index, Number(BigInt.asIntN(64, u64.get(view, at))));
  });
  const own = readVirtualCounters(maps, records);
  return records.map((record) => {
    const { retired, drops } = own.get(record.index) ?? { retired: nothing, drops: [] };
    const realServers = Array.from(record.reals.values(), ({ index, object }): RealServerCounters => ({
      address: object.address,
      port: object.port,
      ...(totals.get(index) ?? nothing),
      drops: {},
      activeFlows: Math.max(0, active.get(index) ?? 0),
    }));
    const { family, mark, frontend } = record.object;
    return {
      family,
      mark,
      frontend,
      ...realServers.reduce(sum, retired),
      drops: dropsByReason(drops),
      activeFlows: realServers.reduce((flows, { activeFlows }) => flows + activeFlows, 0),
      realServers,
    };
  });
}

/** Sets to zero what former owners of entries have counted. */
export function clearCounters(maps: Maps, reals: number[], virtuals: number[]): void {
  writeEntries(maps.skep_counters, reals.flatMap(shardsOf), () => undefined);
  writeEntries(maps.skep_active, reals, () => undefined);
  writeEntries(maps.skep_virtual_counters, virtuals, () => undefined);
}

/**
 * Adds what removed real servers have counted to their virtual servers. Reading, adding and writing are not one step: a drop
 * that a program counts in between is lost.
 */
export function addToRetired(maps: Maps, removed: readonly RealRecord[]): void {
  if (removed.length === 0) return;
  const totals = readTotals(
    maps,
    removed.map(({ index }) => index),
  );
  const owners = new Map<number, VirtualRecord>(removed.map(({ owner }) => [owner.index, owner]));
  const counters = readVirtualCounters(maps, [...owners.values()]);
  for (const { index, owner } of removed) {
    const { retired, drops } = counters.get(owner.index) ?? { retired: nothing, drops: [] };
    counters.set(owner.index, { retired: sum(retired, totals.get(index) ?? nothing), drops });
  }
  writeEntries(maps.skep_virtual_counters, [...owners.keys()], (view, at, index) => {
    const value = counters.get(index);
    if (value) structs.virtualCounters.set(view, at, value);
  });
}

function readTotals(maps: Maps, indices: number[]): Map<number, Totals> {
  const totals = new Map<number, Totals>();
  const { bytes } = structs.counters;
  visitEntries(maps.skep_counters, indices, shards, (view, at, index) => {
    let total = structs.counters.get(view, at);
    for (let shard = 1; shard < shards; shard++)
      total = sum(total, structs.counters.get(view, at + shard * bytes));
    totals.set(index, total);
  });
  return totals;
}

function dropsByReason(drops: readonly bigint[]): Partial<Record<DropReason, bigint>> {
  const found: Partial<Record<DropReason, bigint>> = {};
  for (const [reason, at] of reasons) if (drops[at]) found[reason] = drops[at];
  return found;
}

type VirtualCounters = ReturnType<typeof structs.virtualCounters.decode>;

function readVirtualCounters(maps: Maps, records: readonly VirtualRecord[]): Map<number, VirtualCounters> {
  const found = new Map<number, VirtualCounters>();
  const indices = records.map(({ index }) => index);
  visitEntries(maps.skep_virtual_counters, indices, 1, (view, at, index) =>
    found.set(index, structs.virtualCounters.get(view, at)),
  );
  return found;
}

const sum = (a: Totals, b: Totals): Totals => ({
  connections: a.connections + b.connections,
  packets: a.packets + b.packets,
  bytes: a.bytes + b.bytes,
  replyPackets: a.replyPackets + b.replyPackets,
  replyBytes: a.replyBytes + b.replyBytes,
});

const shardsOf = (index: number): number[] =>
  Array.from({ length: shards }, (_, shard) => index * shards + shard);
