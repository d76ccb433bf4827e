/*
 * Fragments: only the first has ports. What its datagram was given is remembered under its id, and the others follow, by the
 * same way: what the node's stack is to take (see FRAGMENT_BY_HOST) it may gather first, and must then see all of.
 *
 * A fragment ahead of its first one is lost if it can only be ours (an alias, a VIP); on an uplink it may as well be for the
 * node itself, and is left to it.
 */
#ifndef SKEP_FRAGMENTS_H
#define SKEP_FRAGMENTS_H

#include "flows.h"
#include "rewrite.h"

static __always_inline struct fragment_key fragment_key_of(const struct packet *packet, __u32 vni)
{
  return (struct fragment_key){.source = packet->source,
                               .destination = packet->destination,
                               .id = packet->id,
                               .protocol = packet->protocol,
                               .vni = vni};
}

/* Remembers what the first fragment was given. */
static __always_inline void remember_fragment(const struct packet *packet, __u32 vni, const struct flow *flow, __u32 flags)
{
  struct fragment_key key = fragment_key_of(packet, vni);
  struct fragment fragment = {
      .address = flow->address, .client = flow->client, .real_server = flow->real_server, .flags = flow->flags | flags};
  bpf_map_update_elem(&skep_fragments, &key, &fragment, BPF_ANY);
}

static __always_inline struct fragment *find_fragment(const struct packet *packet, __u32 vni)
{
  struct fragment_key key = fragment_key_of(packet, vni);
  return bpf_map_lookup_elem(&skep_fragments, &key);
}

/* Changes the addresses of a later fragment; the checksum of its datagram changed in the first one. */
static __always_inline bool rewrite_fragment(struct __sk_buff *skb, const struct packet *packet, const struct rewrite *rewrite)
{
  __u32 difference;
  return rewrite_addresses(skb, packet, rewrite, &difference);
}

#endif
