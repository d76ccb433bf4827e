/* Which real server a request goes to: that of its flow, which is begun when there is none. */
#ifndef SKEP_SERVING_H
#define SKEP_SERVING_H

#include <linux/pkt_cls.h>
#include "counters.h"
#include "scheduling.h"

enum beginning {
  BEGUN,      /* the flow is in skep_young_flows */
  NOT_SERVED, /* nobody takes flows: the node's own stack refuses it */
  NO_ROOM,    /* dropped, and counted */
};

/*
 * Begins the flow of a request. Another CPU may begin the same one at the same time: then there is one flow, the first.
 * @param client what replaces the request's source, 0: nothing
 * @param flags FLOW_LOOPBACK or none
 */
__noinline int begin_flow(const struct flow_key *request, __u32 virtual_server, __be32 client, __u32 flags)
{
  if (!request) return NOT_SERVED;
  struct flow_key key = *request;
  struct virtual_server *server = bpf_map_lookup_elem(&skep_virtual_servers, &virtual_server);
  if (!server) return NOT_SERVED;
  struct choice choice = {.key = key,
                          .client = client,
                          .virtual_server = virtual_server,
                          .first_slot = server->first_slot,
                          .slot_count = server->slot_count,
                          .mesh = server->port != 0};
  if (!choice.slot_count) return NOT_SERVED;
  __u32 affinity_s = server->affinity_s;
  if (affinity_s) choose_by_affinity(&choice);
  if (!choice.chosen) choose_by_scheduler(&choice, server->scheduler);
  if (!choice.chosen && !choice.collided && server->slot_count && server->first_slot != choice.first_slot) {
    /* Userspace has switched to other slots, and then told those in the former that they drain. */
    choice.first_slot = server->first_slot;
    choice.slot_count = server->slot_count;
    choose_by_scheduler(&choice, server->scheduler);
  }
  if (!choice.chosen && !choice.collided) return NOT_SERVED;
  __u32 index = choice.chosen;
  struct real_server *chosen = bpf_map_lookup_elem(&skep_real_servers, &index);
  if (!index || !chosen) {
    count_drop(virtual_server, DROP_COLLISION);
    return NO_ROOM;
  }

  __u64 now_ns = bpf_ktime_get_coarse_ns();
  struct flow flow = {.seen_ns = now_ns,
                      .real_server = index,
                      .generation = chosen->generation,
                      .address = chosen->address,
                      .client = client,
                      .port = choice.mesh ? chosen->port : 0,
                      .flags = flags,
                      .virtual_server = virtual_server};
  long error = bpf_map_update_elem(&skep_young_flows, &key, &flow, BPF_NOEXIST);
  if (error == -17 /* EEXIST */) return BEGUN;
  if (!error && choice.mesh) {
    struct flow_key reply_key;
    struct flow reply;
    reply_of(&key, &flow, &reply_key, &reply);
    /* One that is there belongs to nobody: it would have collided. */
    bpf_map_delete_elem(&skep_flows, &reply_key);
    error = bpf_map_update_elem(&skep_young_flows, &reply_key, &reply, BPF_ANY);
    if (error) bpf_map_delete_elem(&skep_young_flows, &key);
  }
  if (error) {
    count_drop(virtual_server, DROP_TABLE);
    return NO_ROOM;
  }
  if (affinity_s) {
    struct affinity_key affinity_key = {.virtual_server = virtual_server, .client = key.source};
    struct affinity affinity = {
        .expires_ns = now_ns + affinity_s * SECOND_NS, .real_server = index, .generation = flow.generation};
    bpf_map_update_elem(&skep_affinity, &affinity_key, &affinity, BPF_ANY);
  }
  struct counters *counters = counters_of(index);
  if (counters) __sync_fetch_and_add(&counters->connections, 1);
  return BEGUN;
}

/* Whether anybody takes new flows: who drains is in no slot. */
static __always_inline bool is_open(__u32 virtual_server)
{
  struct virtual_server *server = bpf_map_lookup_elem(&skep_virtual_servers, &virtual_server);
  return server && server->slot_count;
}

#define VERDICT_RESET (-2) /* none of tc's: the caller answers */

/*
 * The real server of a request, whose flow was looked up before and may be begun now: then *flow is the new one. NULL: there is none,
 * and *verdict says what becomes of the packet; VERDICT_RESET: it belongs to a flow that has just ended, which no stack knows of.
 * A flow whose real server has gone is void; so is one that is opened again after its end, or while its real server drains.
 * Nothing ends a UDP flow, so it leaves a real server that drains at its next packet if there is another one. The entry of its
 * replies is left to expire: what the former one has yet to answer still reaches the client.
 */
static __always_inline struct real_server *serve(const struct flow_key *key, const struct packet *packet, __u32 virtual_server,
                                                 __be32 client, __u32 flags, struct flow **flow, bool established, int *verdict)
{
  struct real_server *server;
  *verdict = TC_ACT_OK;
  if (*flow) {
    if ((*flow)->flags & FLOW_REPLY) return NULL;
    server = server_of(*flow);
    bool reopened = packet->events & EVENT_OPEN && (!server || !server->weight || is_closed(*flow, (*flow)->flags));
    bool leaves = server && !server->weight && packet->protocol == IPPROTO_UDP && is_open(virtual_server);
    if (server && !reopened && !leaves) {
      follow_request(key, *flow, established, packet->events, bpf_ktime_get_coarse_ns());
      return server;
    }
    if (leaves)
      forget_request(key, *flow);
    else
      forget_flow(key, *flow);
    if (packet->protocol == IPPROTO_TCP) *verdict = VERDICT_RESET;
  }
  if (!(packet->events & EVENT_OPEN) && packet->protocol != IPPROTO_UDP) return NULL;
  int beginning = begin_flow(key, virtual_server, client, flags);
  if (beginning != BEGUN) {
    *verdict = beginning == NO_ROOM ? TC_ACT_SHOT : TC_ACT_OK;
    return NULL;
  }
  *flow = bpf_map_lookup_elem(&skep_young_flows, key);
  return *flow ? server_of(*flow) : NULL;
}

#endif
