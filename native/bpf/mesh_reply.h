/* Replies of the mesh, and tasks' ICMP errors about requests: from ingress to the client, by the routing table or by lo. */
#ifndef SKEP_MESH_REPLY_H
#define SKEP_MESH_REPLY_H

#include "counters.h"
#include "fragments.h"
#include "mesh.h"
#include "reset.h"

#define AF_INET 2

/*
 * Sends a rewritten reply on: to a process of this node by lo, else by the routing table and its neighbour. What that does not
 * do (a route with an encapsulation, a packet to be fragmented) the stack does, which takes a packet from the node's own
 * address here because of accept_local.
 */
static __always_inline int send_to_client(struct __sk_buff *skb, const struct packet *packet, const struct rewrite *rewrite,
                                          bool loopback)
{
  if (loopback) return bpf_redirect(LOOPBACK_LINK, BPF_F_INGRESS);
  struct bpf_fib_lookup route = {.family = AF_INET,
                                 .l4_protocol = packet->protocol,
                                 .sport = rewrite->source_port,
                                 .dport = rewrite->destination_port,
                                 .tot_len = packet->segment_bytes,
                                 .ifindex = skb->ifindex,
                                 .ipv4_src = rewrite->source,
                                 .ipv4_dst = rewrite->destination};
  long found = bpf_fib_lookup(skb, &route, sizeof route, 0);
  if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH) return TC_ACT_OK;
  /* Always by the neighbour, not by the MAC just found: a neighbour that nobody asks for is never checked again. */
  struct bpf_redir_neigh next = {.nh_family = AF_INET, .ipv4_nh = route.ipv4_dst};
  return bpf_redirect_neigh(route.ifindex, &next, sizeof next, 0);
}

/* lo's address, and that of all that passes it. */
static __always_inline bool rewrite_loopback_frame(struct __sk_buff *skb)
{
  __u16 none[3] = {};
  return rewrite_frame(skb, none, none);
}

static __noinline int reply_error(struct __sk_buff *skb, const struct packet *packet)
{
  struct flow_key key = quoted_flow_key(packet);
  bool established;
  struct flow *reply = find_flow(&key, &established);
  if (!reply || !(reply->flags & FLOW_REPLY)) return TC_ACT_SHOT;
  struct rewrite rewrite = {.source = reply->address, /* whoever sent it: nothing of the tunnel is seen outside */
                            .destination = reply->client ?: packet->destination,
                            .inner_source = reply->client ?: packet->inner_source,
                            .inner_destination = reply->address,
                            .source_port = packet->source_port,
                            .destination_port = reply->port};
  bool loopback = reply->flags & FLOW_LOOPBACK;
  if (loopback && !rewrite_loopback_frame(skb)) return TC_ACT_SHOT;
  if (!rewrite_icmp_error(skb, packet, &rewrite)) return TC_ACT_SHOT;
  return send_to_client(skb, packet, &rewrite, loopback);
}

static __noinline int reply_fragment(struct __sk_buff *skb, const struct packet *packet)
{
  struct fragment *fragment = find_fragment(packet, 0);
  if (!fragment || !(fragment->flags & FLOW_REPLY)) {
    count_drop(0, DROP_FRAGMENT); /* whose it was is not known: virtual server 0 is nobody's */
    return TC_ACT_SHOT;
  }
  struct rewrite rewrite = {.source = fragment->address, .destination = fragment->client ?: packet->destination};
  bool loopback = fragment->flags & FLOW_LOOPBACK;
  if (loopback && !rewrite_loopback_frame(skb)) return TC_ACT_SHOT;
  if (!rewrite_fragment(skb, packet, &rewrite)) return TC_ACT_SHOT;
  count_reply(skb, packet, fragment->real_server);
  return send_to_client(skb, packet, &rewrite, loopback);
}

/* A packet from ingress to this node: a task's reply, if an alias is its source. */
static __always_inline int mesh_reply(struct __sk_buff *skb)
{
  struct packet packet = {};
  enum packet_kind kind = parse_packet(skb, &packet);
  struct settings *settings = mesh_settings();
  if (kind == PACKET_FOREIGN || !settings) return TC_ACT_OK;
  if (!is_alias(settings, kind == PACKET_ICMP_ERROR ? packet.inner_destination : packet.source)) return TC_ACT_OK;
  if (kind == PACKET_ICMP_ERROR) return reply_error(skb, &packet);
  if (kind == PACKET_LATER_FRAGMENT) return reply_fragment(skb, &packet);

  struct flow_key key = {.source = packet.source,
                         .destination = packet.destination,
                         .source_port = packet.source_port,
                         .destination_port = packet.destination_port,
                         .scope = packet.protocol};
  bool established;
  struct flow *reply = find_flow(&key, &established);
  /* Another CPU may have moved it to the other tier between the two look-ups, and a reset would end a flow that lives. */
  if (!reply) reply = find_flow(&key, &established);
  if (!reply || !(reply->flags & FLOW_REPLY))
    /* To the node itself: perhaps it called the alias. Else the flow has ended, and the client would not know this source. */
    return packet.destination == settings->own_address ? TC_ACT_OK : answer_with_reset(skb, &packet);
  follow_reply(&key, reply, established, packet.events, bpf_ktime_get_coarse_ns());
  if (kind == PACKET_FIRST_FRAGMENT) remember_fragment(&packet, 0, reply, 0);
  if (server_of(reply)) count_reply(skb, &packet, reply->real_server);
  struct rewrite rewrite = {.source = reply->address,
                            .destination = reply->client ?: packet.destination,
                            .source_port = reply->port,
                            .destination_port = packet.destination_port};
  bool loopback = reply->flags & FLOW_LOOPBACK;
  if (loopback && !rewrite_loopback_frame(skb)) return TC_ACT_SHOT;
  if (!rewrite_packet(skb, kind, &packet, &rewrite)) {
    count_drop(reply->virtual_server, DROP_MALFORMED);
    return TC_ACT_SHOT;
  }
  return send_to_client(skb, &packet, &rewrite, loopback);
}

#endif
