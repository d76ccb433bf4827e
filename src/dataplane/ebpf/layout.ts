/**
 * Keys and values of the maps, as native/bpf/layout.h has them; a test compiles that header and compares every constant,
 * size and offset. Names are the header's in camel case; its comments say what things mean.
 */
import { array, be16, be32, mac, padding, struct, u16, u32, u64, u8 } from './struct.js';

export const limits = {
  LAYOUT_VERSION: 3,
  VIRTUAL_SERVERS_MAX: 16384,
  REAL_SERVERS_MAX: 131072,
  SLOTS_MAX: 1048576,
  FLOW_ENTRIES_MAX: 2097152,
  YOUNG_FLOW_ENTRIES_MAX: 131072,
  AFFINITIES_MAX: 65536,
  FRAGMENTS_MAX: 8192,
  ADDRESSES_MAX: 1024,
  VIPS_MAX: 65536,
  LISTENERS_MAX: 65536,
  ALIAS_NODES_MAX: 16384,
  COUNTER_SHARDS: 2,
  PORTS_MAX: 3 << 16,
  FRAGMENT_BY_HOST: 1 << 16,
} as const;

export const enums = {
  publishedProtocol: { PUBLISHED_TCP: 0, PUBLISHED_UDP: 1, PUBLISHED_SCTP: 2 },
  limitedBy: { LIMITED_BY_DEVICE: 1, LIMITED_BY_ADDRESS: 2 },
  scheduler: { SCHEDULER_RR: 0, SCHEDULER_WRR: 1, SCHEDULER_LC: 2, SCHEDULER_MH: 3 },
  flowFlags: {
    FLOW_ANSWERED: 1,
    FLOW_ESTABLISHED: 2,
    FLOW_CLIENT_FIN: 4,
    FLOW_SERVER_FIN: 8,
    FLOW_RESET: 16,
    FLOW_REPLY: 32,
    FLOW_LOOPBACK: 64,
  },
  dropReason: {
    DROP_FRAGMENT: 0,
    DROP_COLLISION: 1,
    DROP_TABLE: 2,
    DROP_OVERSIZE: 3,
    DROP_MALFORMED: 4,
    DROP_REASONS: 8,
  },
} as const;

const settings = struct({
  aliasBase: be32,
  aliasMask: be32,
  ownAddress: be32,
  hostLink: u32,
  mtuBytes: u32,
  ownMac: mac,
  throughChains: u16,
});

const listenerKey = struct({ mark: u32, device: u32, address: be32 });

const vipKey = struct({ vni: u32, address: be32 });

const virtualServer = struct({
  firstSlot: u32,
  slotCount: u32,
  scheduler: u32,
  affinityS: u32,
  vni: u32,
  mark: u32,
  address: be32,
  port: be16,
  protocol: u8,
  limitedBy: u8,
});

const realServer = struct({
  virtualServer: u32,
  generation: u32,
  address: be32,
  port: be16,
  mac,
  weight: u16,
  pad: padding(u16),
});

const flowKey = struct({
  source: be32,
  destination: be32,
  sourcePort: be16,
  destinationPort: be16,
  scope: u32,
});

const flow = struct({
  seenNs: u64,
  realServer: u32,
  generation: u32,
  address: be32,
  client: be32,
  port: be16,
  flags: u16,
  virtualServer: u32,
});

const affinityKey = struct({ virtualServer: u32, client: be32 });
const affinity = struct({ expiresNs: u64, realServer: u32, generation: u32 });

const fragmentKey = struct({
  source: be32,
  destination: be32,
  id: be16,
  protocol: u8,
  pad: padding(u8),
  vni: u32,
});
const fragment = struct({ address: be32, client: be32, realServer: u32, flags: u32 });

const counters = struct({ connections: u64, packets: u64, bytes: u64, replyPackets: u64, replyBytes: u64 });
const virtualCounters = struct({ retired: counters, drops: array(u64, enums.dropReason.DROP_REASONS) });

const aliasNode = struct({ mac, present: u16 });

export const structs = {
  settings,
  listenerKey,
  vipKey,
  virtualServer,
  realServer,
  flowKey,
  flow,
  affinityKey,
  affinity,
  fragmentKey,
  fragment,
  counters,
  virtualCounters,
  aliasNode,
} as const;

/** The maps by name, with the lengths of key and value in bytes and the capacity. */
export const mapShapes = {
  skep_settings: { keyBytes: 4, valueBytes: settings.bytes, entriesMax: 1 },
  skep_ports: { keyBytes: 4, valueBytes: 4, entriesMax: limits.PORTS_MAX },
  skep_addresses: { keyBytes: 4, valueBytes: 4, entriesMax: limits.ADDRESSES_MAX },
  skep_listeners: { keyBytes: listenerKey.bytes, valueBytes: 4, entriesMax: limits.LISTENERS_MAX },
  skep_vips: { keyBytes: vipKey.bytes, valueBytes: 4, entriesMax: limits.VIPS_MAX },
  skep_virtual_servers: {
    keyBytes: 4,
    valueBytes: virtualServer.bytes,
    entriesMax: limits.VIRTUAL_SERVERS_MAX,
  },
  skep_slots: { keyBytes: 4, valueBytes: 4, entriesMax: limits.SLOTS_MAX },
  skep_real_servers: { keyBytes: 4, valueBytes: realServer.bytes, entriesMax: limits.REAL_SERVERS_MAX },
  skep_flows: { keyBytes: flowKey.bytes, valueBytes: flow.bytes, entriesMax: limits.FLOW_ENTRIES_MAX },
  skep_young_flows: {
    keyBytes: flowKey.bytes,
    valueBytes: flow.bytes,
    entriesMax: limits.YOUNG_FLOW_ENTRIES_MAX,
  },
  skep_affinity: {
    keyBytes: affinityKey.bytes,
    valueBytes: affinity.bytes,
    entriesMax: limits.AFFINITIES_MAX,
  },
  skep_fragments: {
    keyBytes: fragmentKey.bytes,
    valueBytes: fragment.bytes,
    entriesMax: limits.FRAGMENTS_MAX,
  },
  skep_counters: {
    keyBytes: 4,
    valueBytes: counters.bytes,
    entriesMax: limits.REAL_SERVERS_MAX * limits.COUNTER_SHARDS,
  },
  skep_active: { keyBytes: 4, valueBytes: 8, entriesMax: limits.REAL_SERVERS_MAX },
  skep_cursors: { keyBytes: 4, valueBytes: 8, entriesMax: limits.VIRTUAL_SERVERS_MAX },
  skep_virtual_counters: {
    keyBytes: 4,
    valueBytes: virtualCounters.bytes,
    entriesMax: limits.VIRTUAL_SERVERS_MAX,
  },
  skep_alias_nodes: { keyBytes: 4, valueBytes: aliasNode.bytes, entriesMax: limits.ALIAS_NODES_MAX },
} as const;

export type MapName = keyof typeof mapShapes;
