/*
 * Which real server a new flow gets. Affinity first, then the virtual server's scheduler over its slots:
 * rr, wrr  the slots in turn (userspace repeats and mixes them by weight);
 * lc       the one with the fewest established flows of SLOTS_SCANNED_MAX slots, beginning anew each time so that equals take turns;
 * mh       the slot that the client's address hashes to (userspace fills in the Maglev table).
 * A slot whose real server drains, belongs to somebody else, or has a flow with the same reply already, gives way to the next.
 */
#ifndef SKEP_SCHEDULING_H
#define SKEP_SCHEDULING_H

#include "flows.h"

/* Slots looked at for one flow at most: what bounds the work of a new flow. */
#define SLOTS_SCANNED_MAX 256

/* A choice under way: numbers only, as the steps of bpf_loop() see it through the stack. */
struct choice {
  struct flow_key key;  /* of the request */
  __be32 client;        /* what replaces its source; 0: nothing */
  __u32 virtual_server;
  __u32 first_slot;
  __u32 slot_count;
  __u32 start;
  __u32 chosen;         /* real server; 0: none yet */
  __u64 active;         /* lc: flows of the chosen one */
  bool mesh;
  bool collided;
};

/*
 * Whether another request's flow has this reply: one client port, through two published ports or addresses of this node, to
 * the same task and target port. At the task both are one connection, and there would be no telling the replies apart.
 * What is closed or was never answered does not count.
 */
static __always_inline bool reply_is_taken(const struct choice *choice, const struct real_server *server)
{
  struct flow_key reply_key = {.source = server->address,
                               .destination = choice->client ?: choice->key.source,
                               .source_port = server->port,
                               .destination_port = choice->key.source_port,
                               .scope = choice->key.scope};
  bool established;
  struct flow *reply = find_flow(&reply_key, &established);
  if (!reply) return false;
  struct flow_key other = request_of(&reply_key, reply);
  if (other.source == choice->key.source && other.destination == choice->key.destination &&
      other.destination_port == choice->key.destination_port)
    return false;
  struct flow *request = find_flow(&other, &established);
  if (!request || is_closed(request, request->flags)) return false;
  return established || (__s64)(bpf_ktime_get_coarse_ns() - request->seen_ns) < (__s64)HALF_OPEN_NS;
}

static __always_inline struct real_server *candidate(struct choice *choice, __u32 index)
{
  struct real_server *server = bpf_map_lookup_elem(&skep_real_servers, &index);
  if (!server || server->virtual_server != choice->virtual_server || !server->weight) return NULL;
  if (choice->mesh && reply_is_taken(choice, server)) {
    choice->collided = true;
    return NULL;
  }
  return server;
}

static __always_inline __u32 server_in_slot(const struct choice *choice, __u32 step)
{
  __u32 count = choice->slot_count;
  if (!count) return 0;
  __u32 slot = choice->first_slot + (choice->start + step) % count;
  __u32 *index = bpf_map_lookup_elem(&skep_slots, &slot);
  return index ? *index : 0;
}

/* A step of bpf_loop(): 1 ends it. */
static long try_slot(__u32 step, struct choice *choice)
{
  __u32 index = server_in_slot(choice, step);
  if (!index || !candidate(choice, index)) return 0;
  choice->chosen = index;
  return 1;
}

static long weigh_slot(__u32 step, struct choice *choice)
{
  __u32 index = server_in_slot(choice, step);
  __u64 *active = bpf_map_lookup_elem(&skep_active, &index);
  if (!index || !active) return 0;
  __u64 flows = *active;
  if ((choice->chosen && flows >= choice->active) || !candidate(choice, index)) return 0;
  choice->chosen = index;
  choice->active = flows;
  return flows == 0; /* nobody has fewer */
}

/* Spreads addresses, which are often consecutive, over all of 32 bits (the finaliser of MurmurHash3). */
static __always_inline __u32 hash_address(__be32 address)
{
  __u32 hash = bpf_ntohl(address);
  hash = (hash ^ hash >> 16) * 0x85ebca6b;
  hash = (hash ^ hash >> 13) * 0xc2b2ae35;
  return hash ^ hash >> 16;
}

static __noinline int choose_by_affinity(struct choice *choice)
{
  struct affinity_key key = {.virtual_server = choice->virtual_server, .client = choice->key.source};
  struct affinity *affinity = bpf_map_lookup_elem(&skep_affinity, &key);
  if (!affinity || (__s64)(affinity->expires_ns - bpf_ktime_get_coarse_ns()) < 0) return 0;
  struct real_server *server = candidate(choice, affinity->real_server);
  if (server && server->generation == affinity->generation) choice->chosen = affinity->real_server;
  return 0;
}

static __noinline int choose_by_scheduler(struct choice *choice, __u32 scheduler)
{
  if (scheduler == SCHEDULER_MH) {
    choice->start = hash_address(choice->key.source);
  } else {
    __u32 index = choice->virtual_server;
    __u64 *cursor = bpf_map_lookup_elem(&skep_cursors, &index);
    if (!cursor) return 0;
    choice->start = __sync_fetch_and_add(cursor, 1);
  }
  /* Below the count, so that adding steps cannot overflow. */
  choice->start %= choice->slot_count;
  __u32 scanned = choice->slot_count < SLOTS_SCANNED_MAX ? choice->slot_count : SLOTS_SCANNED_MAX;
  if (scheduler == SCHEDULER_LC)
    bpf_loop(scanned, weigh_slot, choice, 0);
  else
    bpf_loop(scanned, try_slot, choice, 0);
  return 0;
}

#endif
