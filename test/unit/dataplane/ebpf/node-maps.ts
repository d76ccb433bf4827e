/** All the maps of a node in memory, with what tests count, damage and compare. */
import { mapShapes } from '../../../../src/dataplane/ebpf/layout.js';
import type { MapName } from '../../../../src/dataplane/ebpf/layout.js';
import { MemoryMap } from '../../../support/memory-map.js';

const hashes: ReadonlySet<MapName> = new Set([
  'skep_addresses',
  'skep_listeners',
  'skep_vips',
  'skep_flows',
  'skep_young_flows',
  'skep_affinity',
  'skep_fragments',
]);
export const mapNames = Object.keys(mapShapes) as MapName[];

export type NodeMaps = Readonly<Record<MapName, MemoryMap>>;

export function nodeMaps(capacities: Partial<Record<MapName, number>> = {}): NodeMaps {
  const maps = mapNames.map((name) => {
    const { keyBytes, valueBytes, entriesMax } = mapShapes[name];
    const kind = hashes.has(name) ? 'hash' : 'array';
    return [name, new MemoryMap(kind, name, keyBytes, valueBytes, capacities[name] ?? entriesMax)];
  });
  return Object.fromEntries(maps) as NodeMaps;
}

export const byName = (maps: NodeMaps): ReadonlyMap<string, MemoryMap> => new Map(Object.entries(maps));

/** Calls so far and entries written, of all maps. */
export function costs(maps: NodeMaps): { calls: number; changes: number } {
  return mapNames.reduce(
    ({ calls, changes }, name) => ({
      calls: calls + maps[name].calls,
      changes: changes + maps[name].changes,
    }),
    { calls: 0, changes: 0 },
  );
}

/** Every entry that is not zero, as text: equal texts are equal maps. */
export function contents(maps: NodeMaps, names: readonly MapName[] = mapNames): string[] {
  return names.flatMap((name) => {
    const map = maps[name];
    if (map.kind === 'hash')
      return map.getAll().map(({ key, value }) => `${name} ${key.toString('hex')} ${value.toString('hex')}`);
    const octets = map.getRange(0, map.entriesMax);
    const found: string[] = [];
    const size = map.valueBytes;
    const zero = Buffer.alloc(size);
    for (let index = 0; index < map.entriesMax; index++)
      if (octets.compare(zero, 0, size, index * size, (index + 1) * size) !== 0)
        found.push(`${name} ${index} ${octets.toString('hex', index * size, (index + 1) * size)}`);
    return found;
  });
}
