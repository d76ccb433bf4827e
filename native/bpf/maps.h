/*
 * The maps of layout.h, each pinned by its name. Large hashes are not preallocated: what is not used costs no memory but for
 * the buckets.
 */
#ifndef SKEP_MAPS_H
#define SKEP_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "layout.h"

#define ARRAY_MAP(name, entries, value_type) FLAGGED_ARRAY_MAP(name, 0, entries, value_type)
/* Userspace looks at all of it every few seconds, which by system calls would take some percent of a core. */
#define MAPPED_ARRAY_MAP(name, entries, value_type) FLAGGED_ARRAY_MAP(name, BPF_F_MMAPABLE, entries, value_type)
#define FLAGGED_ARRAY_MAP(name, flags, entries, value_type) \
  struct {                                        \
    __uint(type, BPF_MAP_TYPE_ARRAY);             \
    __uint(map_flags, flags);                     \
    __uint(max_entries, entries);                 \
    __type(key, __u32);                           \
    __type(value, value_type);                    \
    __uint(pinning, LIBBPF_PIN_BY_NAME);          \
  } name SEC(".maps")

#define HASH_MAP(name, map_type, flags, entries, key_type, value_type) \
  struct {                                                             \
    __uint(type, map_type);                                            \
    __uint(map_flags, flags);                                          \
    __uint(max_entries, entries);                                      \
    __type(key, key_type);                                             \
    __type(value, value_type);                                         \
    __uint(pinning, LIBBPF_PIN_BY_NAME);                               \
  } name SEC(".maps")

ARRAY_MAP(skep_settings, 1, struct settings);
MAPPED_ARRAY_MAP(skep_ports, PORTS_MAX, __u32);
MAPPED_ARRAY_MAP(skep_virtual_servers, VIRTUAL_SERVERS_MAX, struct virtual_server);
MAPPED_ARRAY_MAP(skep_slots, SLOTS_MAX, __u32);
MAPPED_ARRAY_MAP(skep_real_servers, REAL_SERVERS_MAX, struct real_server);
ARRAY_MAP(skep_counters, REAL_SERVERS_MAX *COUNTER_SHARDS, struct counters);
/* Mapped by the addon: userspace takes away from it what it deletes, atomically as the programs do. */
MAPPED_ARRAY_MAP(skep_active, REAL_SERVERS_MAX, __u64);
ARRAY_MAP(skep_cursors, VIRTUAL_SERVERS_MAX, __u64);
ARRAY_MAP(skep_virtual_counters, VIRTUAL_SERVERS_MAX, struct virtual_counters);
MAPPED_ARRAY_MAP(skep_alias_nodes, ALIAS_NODES_MAX, struct alias_node);
HASH_MAP(skep_addresses, BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, ADDRESSES_MAX, __be32, __u32);
HASH_MAP(skep_listeners, BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, LISTENERS_MAX, struct listener_key, __u32);
HASH_MAP(skep_vips, BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, VIPS_MAX, struct vip_key, __u32);
HASH_MAP(skep_flows, BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, FLOW_ENTRIES_MAX, struct flow_key, struct flow);
HASH_MAP(skep_young_flows, BPF_MAP_TYPE_LRU_HASH, 0, YOUNG_FLOW_ENTRIES_MAX, struct flow_key, struct flow);
HASH_MAP(skep_affinity, BPF_MAP_TYPE_LRU_HASH, 0, AFFINITIES_MAX, struct affinity_key, struct affinity);
HASH_MAP(skep_fragments, BPF_MAP_TYPE_LRU_HASH, 0, FRAGMENTS_MAX, struct fragment_key, struct fragment);

#endif
