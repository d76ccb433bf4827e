/* What is counted: packets and bytes of real servers, and drops of virtual ones (layout.h). */
#ifndef SKEP_COUNTERS_H
#define SKEP_COUNTERS_H

#include "maps.h"
#include "packet.h"

static __always_inline void count_drop(__u32 virtual_server, enum drop_reason reason)
{
  struct virtual_counters *counters = bpf_map_lookup_elem(&skep_virtual_counters, &virtual_server);
  if (counters) __sync_fetch_and_add(&counters->drops[reason], 1);
}

static __always_inline struct counters *counters_of(__u32 real_server)
{
  __u32 index = real_server * COUNTER_SHARDS + bpf_get_smp_processor_id() % COUNTER_SHARDS;
  return bpf_map_lookup_elem(&skep_counters, &index);
}

static __always_inline void count_request(struct __sk_buff *skb, const struct packet *packet, __u32 real_server)
{
  struct counters *counters = counters_of(real_server);
  if (!counters) return;
  __sync_fetch_and_add(&counters->packets, skb->gso_segs ?: 1);
  __sync_fetch_and_add(&counters->bytes, packet->bytes);
}

static __always_inline void count_reply(struct __sk_buff *skb, const struct packet *packet, __u32 real_server)
{
  struct counters *counters = counters_of(real_server);
  if (!counters) return;
  __sync_fetch_and_add(&counters->reply_packets, skb->gso_segs ?: 1);
  __sync_fetch_and_add(&counters->reply_bytes, packet->bytes);
}

#endif
