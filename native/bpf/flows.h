/*
 * Flows and the two tiers they live in: skep_young_flows while half-open, unanswered or closed, which the kernel evicts under
 * pressure, and skep_flows once both sides have agreed, which it never does. Only a move between tiers touches both entries of
 * a mesh flow; a packet of an established flow costs one look-up and, once a second, a write of the time.
 *
 * Several CPUs work on one flow at once. Flags are added atomically; of two that move a flow, the one whose insertion
 * (BPF_NOEXIST) or deletion the kernel accepted also counts it. An entry is put where it goes before it is taken from where
 * it was, so that no packet finds it nowhere.
 */
#ifndef SKEP_FLOWS_H
#define SKEP_FLOWS_H

#include <linux/in.h>
#include "maps.h"
#include "packet.h"

#define SECOND_NS 1000000000ull
/* A half-open flow older than this does not keep others from its reply's key. */
#define HALF_OPEN_NS (60 * SECOND_NS)

/* A VIP's flow keeps its ports. (The VNI of its key says nothing: the low half of a VNI may be 0.) */
static __always_inline bool is_mesh(const struct flow *flow) { return flow->port != 0; }

/* The client has closed a VIP's flow when it has sent its FIN: of the server's nothing is seen. */
static __always_inline bool is_closed(const struct flow *flow, __u32 flags)
{
  __u32 fins = is_mesh(flow) ? FLOW_CLIENT_FIN | FLOW_SERVER_FIN : FLOW_CLIENT_FIN;
  return flags & FLOW_RESET || (flags & fins) == fins;
}

static __always_inline struct flow *find_flow(const struct flow_key *key, bool *established)
{
  struct flow *flow = bpf_map_lookup_elem(&skep_flows, key);
  *established = flow;
  return flow ?: bpf_map_lookup_elem(&skep_young_flows, key);
}

/* Adds flags for all CPUs to see and gives them with those that were there. Atomics are of words: port and flags are one. */
static __always_inline __u32 add_flags(struct flow *flow, __u32 flags)
{
  _Static_assert(offsetof(struct flow, flags) == offsetof(struct flow, port) + 2 && offsetof(struct flow, port) % 4 == 0, "a word");
  _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "flags are the high half of the word");
  if ((flow->flags & flags) == flags) return flow->flags;
  return __sync_fetch_and_or((__u32 *)((void *)flow + offsetof(struct flow, port)), flags << 16) >> 16 | flags;
}

/* The reply's entry of a mesh flow: all of it follows from the request's. */
static __always_inline void reply_of(const struct flow_key *key, const struct flow *flow, struct flow_key *reply_key,
                                     struct flow *reply)
{
  __be32 client = flow->client;
  *reply_key = (struct flow_key){.source = flow->address,
                                 .destination = client ?: key->source,
                                 .source_port = flow->port,
                                 .destination_port = key->source_port,
                                 .scope = key->scope};
  *reply = (struct flow){.seen_ns = flow->seen_ns,
                         .real_server = flow->real_server,
                         .generation = flow->generation,
                         .address = key->destination,
                         .client = client ? key->source : 0,
                         .port = key->destination_port,
                         .flags = FLOW_REPLY | (flow->flags & FLOW_LOOPBACK),
                         .virtual_server = flow->virtual_server};
}

/* The key of the request's entry that a reply's entry belongs to. */
static __always_inline struct flow_key request_of(const struct flow_key *reply_key, const struct flow *reply)
{
  return (struct flow_key){.source = reply->client ?: reply_key->destination,
                           .destination = reply->address,
                           .source_port = reply_key->destination_port,
                           .destination_port = reply->port,
                           .scope = reply_key->scope};
}

/* The flow's real server; NULL when that has gone or its entry is another's by now. */
static __always_inline struct real_server *server_of(const struct flow *flow)
{
  __u32 index = flow->real_server;
  struct real_server *server = bpf_map_lookup_elem(&skep_real_servers, &index);
  return server && server->virtual_server && server->generation == flow->generation ? server : NULL;
}

static __always_inline void count_active(const struct flow *flow, __s64 change)
{
  __u32 index = flow->real_server;
  __u64 *active = bpf_map_lookup_elem(&skep_active, &index);
  if (active && server_of(flow)) __sync_fetch_and_add(active, change);
}

/*
 * What follows is seldom needed and is verified once, being global functions, rather than once for each way that leads there.
 * The verifier then knows of their arguments only that they may be NULL, and takes no key from behind such a pointer.
 */

/* From young to established. When there is no room it stays young: it works, but may be evicted. */
__noinline int promote_flow(const struct flow_key *request, struct flow *young)
{
  if (!request || !young) return 0;
  struct flow_key key = *request;
  struct flow flow = *young;
  flow.flags |= FLOW_ESTABLISHED;
  if (bpf_map_update_elem(&skep_flows, &key, &flow, BPF_NOEXIST)) return 0;
  if (is_mesh(&flow)) {
    struct flow_key reply_key;
    struct flow reply;
    reply_of(&key, &flow, &reply_key, &reply);
    if (bpf_map_update_elem(&skep_flows, &reply_key, &reply, BPF_ANY)) {
      bpf_map_delete_elem(&skep_flows, &key);
      return 0;
    }
    bpf_map_delete_elem(&skep_young_flows, &reply_key);
  }
  count_active(&flow, 1);
  /* What another CPU added since the copy. */
  __u32 missed = young->flags & ~flow.flags;
  if (missed) {
    struct flow *established = bpf_map_lookup_elem(&skep_flows, &key);
    if (established) add_flags(established, missed);
  }
  bpf_map_delete_elem(&skep_young_flows, &key);
  return 0;
}

/* From established to young: closed, and the first to give way. */
__noinline int demote_flow(const struct flow_key *request, struct flow *established)
{
  if (!request || !established) return 0;
  struct flow_key key = *request;
  struct flow flow = *established;
  struct flow_key reply_key;
  struct flow reply;
  bpf_map_update_elem(&skep_young_flows, &key, &flow, BPF_ANY);
  if (is_mesh(&flow)) {
    reply_of(&key, &flow, &reply_key, &reply);
    bpf_map_update_elem(&skep_young_flows, &reply_key, &reply, BPF_ANY);
    bpf_map_delete_elem(&skep_flows, &reply_key);
  }
  if (bpf_map_delete_elem(&skep_flows, &key) == 0) count_active(&flow, -1);
  return 0;
}

/* Removes the request's entry of a flow, wherever it is. */
__noinline int forget_request(const struct flow_key *request, struct flow *found)
{
  if (!request || !found) return 0;
  struct flow_key key = *request;
  struct flow flow = *found;
  if (bpf_map_delete_elem(&skep_flows, &key) == 0) count_active(&flow, -1);
  bpf_map_delete_elem(&skep_young_flows, &key);
  return 0;
}

/* Removes a flow, wherever it is. */
__noinline int forget_flow(const struct flow_key *request, struct flow *found)
{
  if (!request || !found) return 0;
  struct flow_key key = *request;
  struct flow flow = *found;
  if (is_mesh(&flow)) {
    struct flow_key reply_key;
    struct flow reply;
    reply_of(&key, &flow, &reply_key, &reply);
    bpf_map_delete_elem(&skep_flows, &reply_key);
    bpf_map_delete_elem(&skep_young_flows, &reply_key);
  }
  return forget_request(&key, &flow);
}

/*
 * Marks a request's entry and the reply's as seen now, so that they expire together; makes the reply's anew if it was evicted.
 * Affinity lasts as long as there are packets.
 */
__noinline int touch_request(const struct flow_key *key, struct flow *flow, bool established, __u64 now_ns)
{
  if (!key || !flow) return 0;
  flow->seen_ns = now_ns;
  if (is_mesh(flow)) {
    struct flow_key reply_key;
    struct flow reply;
    reply_of(key, flow, &reply_key, &reply);
    bool reply_established;
    struct flow *entry = find_flow(&reply_key, &reply_established);
    if (entry)
      entry->seen_ns = now_ns;
    else if (established)
      bpf_map_update_elem(&skep_flows, &reply_key, &reply, BPF_NOEXIST);
    else
      bpf_map_update_elem(&skep_young_flows, &reply_key, &reply, BPF_NOEXIST);
  }
  __u32 index = flow->virtual_server;
  struct virtual_server *server = bpf_map_lookup_elem(&skep_virtual_servers, &index);
  if (server && server->affinity_s) {
    struct affinity_key affinity_key = {.virtual_server = index, .client = key->source};
    struct affinity *affinity = bpf_map_lookup_elem(&skep_affinity, &affinity_key);
    if (affinity && affinity->real_server == flow->real_server)
      affinity->expires_ns = now_ns + server->affinity_s * SECOND_NS;
  }
  return 0;
}

__noinline int touch_reply(const struct flow_key *reply_key, struct flow *reply, __u64 now_ns)
{
  if (!reply_key || !reply) return 0;
  reply->seen_ns = now_ns;
  struct flow_key key = request_of(reply_key, reply);
  bool established;
  struct flow *flow = find_flow(&key, &established);
  if (flow) flow->seen_ns = now_ns;
  return 0;
}

/* Whether it is a second since the flow was last marked. Coarse clocks of two CPUs differ by a tick: signed. */
static __always_inline bool is_stale(const struct flow *flow, __u64 now_ns)
{
  return (__s64)(now_ns - flow->seen_ns) > (__s64)SECOND_NS;
}

/* Follows what a client's packet says of the flow's state; for packets that may change it (see follow_request). */
__noinline int change_by_request(const struct flow_key *key, struct flow *flow, bool established, __u32 events)
{
  if (!key || !flow) return 0;
  __u32 news = (events & EVENT_RESET ? FLOW_RESET : 0) | (events & EVENT_FIN ? FLOW_CLIENT_FIN : 0);
  bool tcp = (key->scope & 0xff) == IPPROTO_TCP;
  bool answered = flow->flags & FLOW_ANSWERED;
  /* Of a VIP's server nothing is seen: an ACK, or a second packet, says that it has answered. */
  if (!is_mesh(flow) && events & EVENT_ACK) {
    if (tcp) answered = true;
    news |= FLOW_ANSWERED;
  }
  __u32 flags = news ? add_flags(flow, news) : flow->flags;
  if (is_closed(flow, flags)) {
    if (established) demote_flow(key, flow);
  } else if (!established && events & EVENT_ACK && (answered || !is_mesh(flow))) {
    promote_flow(key, flow);
  }
  return 0;
}

static __always_inline void follow_request(const struct flow_key *key, struct flow *flow, bool established, __u32 events,
                                           __u64 now_ns)
{
  if (is_stale(flow, now_ns) || (!established && events & EVENT_OPEN)) touch_request(key, flow, established, now_ns);
  if (!established || events & (EVENT_FIN | EVENT_RESET)) change_by_request(key, flow, established, events);
}

/* The same for a server's packet: what it says is kept in the request's entry. */
__noinline int change_by_reply(const struct flow_key *reply_key, struct flow *reply, __u32 events)
{
  if (!reply_key || !reply) return 0;
  struct flow_key key = request_of(reply_key, reply);
  bool established;
  struct flow *flow = find_flow(&key, &established);
  if (!flow || flow->flags & FLOW_REPLY) return 0;
  bool tcp = (key.scope & 0xff) == IPPROTO_TCP;
  bool answered = flow->flags & FLOW_ANSWERED;
  __u32 news = (events & EVENT_RESET ? FLOW_RESET : 0) | (events & EVENT_FIN ? FLOW_SERVER_FIN : 0);
  if (!tcp || events & EVENT_ACCEPT) news |= FLOW_ANSWERED;
  __u32 flags = news ? add_flags(flow, news) : flow->flags;
  if (is_closed(flow, flags)) {
    if (established) demote_flow(&key, flow);
  } else if (!established && !tcp && answered) {
    promote_flow(&key, flow); /* a second reply: more than a question and its answer */
  }
  return 0;
}

static __always_inline void follow_reply(const struct flow_key *reply_key, struct flow *reply, bool established, __u32 events,
                                         __u64 now_ns)
{
  if (is_stale(reply, now_ns)) touch_reply(reply_key, reply, now_ns);
  if (!established || events & (EVENT_FIN | EVENT_RESET)) change_by_reply(reply_key, reply, events);
}

#endif
