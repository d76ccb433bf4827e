/*
 * The mesh: a request to a published port goes to a task's alias, the reply back to the client. The alias says which node must undo
 * the translation, so all of a flow's packets pass through that one node (ARCHITECTURE.md).
 *
 * From an uplink a request goes to the far side of the veth pair at once (bpf_redirect_peer), which is the bridge of ingress. The
 * node's own stack takes it instead (by its route to the alias) when an administrator has rules for it, or when it must be
 * fragmented. The node's own calls leave by lo and are turned round there; their replies come in by lo.
 */
#ifndef SKEP_MESH_H
#define SKEP_MESH_H

#include <linux/pkt_cls.h>
#include "fragments.h"
#include "scheduling.h"
#include "too_large.h"

#define LOOPBACK_LINK 1 /* index of lo in every namespace */
#define AF_INET 2

static __always_inline bool is_loopback_address(__be32 address) { return (address & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000); }

static __always_inline struct settings *mesh_settings(void)
{
  __u32 zero = 0;
  struct settings *settings = bpf_map_lookup_elem(&skep_settings, &zero);
  return settings && settings->host_link ? settings : NULL;
}

static __always_inline bool is_alias(const struct settings *settings, __be32 address)
{
  return (address & settings->alias_mask) == settings->alias_base;
}

static __always_inline __u32 virtual_server_of(const struct packet *packet)
{
  __u32 protocol = packet->protocol == IPPROTO_TCP ? PUBLISHED_TCP : packet->protocol == IPPROTO_UDP ? PUBLISHED_UDP : PUBLISHED_SCTP;
  __u32 index = protocol << 16 | bpf_ntohs(packet->destination_port);
  __u32 *server = bpf_map_lookup_elem(&skep_ports, &index);
  return server ? *server : 0;
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

/* Sends a rewritten request on its way. Its frame must already bear the task's MAC, unless it goes by the host. */
static __always_inline int send_to_task(struct __sk_buff *skb, const struct settings *settings, const struct real_server *server,
                                        bool by_host, bool loopback)
{
  if (!by_host) return loopback ? bpf_redirect(settings->host_link, 0) : bpf_redirect_peer(settings->host_link, 0);
  __u32 index = server->virtual_server;
  struct virtual_server *virtual_server = bpf_map_lookup_elem(&skep_virtual_servers, &index);
  if (virtual_server) skb->mark = virtual_server->mark;
  /* Comes in by lo again: only so does it lose the route it left with. */
  return loopback ? bpf_redirect(LOOPBACK_LINK, BPF_F_INGRESS) : TC_ACT_OK;
}

/* An ICMP error about a reply: to the task that sent it, in the task's terms. */
static __noinline int request_error(struct __sk_buff *skb, const struct packet *packet, bool loopback)
{
  struct settings *settings = mesh_settings();
  struct flow_key key = {.source = packet->inner_destination,
                         .destination = packet->inner_source,
                         .source_port = packet->destination_port,
                         .destination_port = packet->source_port,
                         .scope = packet->protocol};
  bool established;
  struct flow *flow = find_flow(&key, &established);
  if (!settings || !flow || flow->flags & FLOW_REPLY) return TC_ACT_OK;
  struct real_server *server = server_of(flow);
  if (!server) return TC_ACT_OK;
  struct rewrite rewrite = {.source = flow->client ?: packet->source,
                            .destination = flow->address,
                            .inner_source = flow->address,
                            .inner_destination = flow->client ?: packet->inner_destination,
                            .source_port = flow->port,
                            .destination_port = packet->destination_port};
  bool by_host = settings->through_chains;
  if (!by_host && !rewrite_frame(skb, server->mac, settings->own_mac)) return TC_ACT_SHOT;
  if (!rewrite_icmp_error(skb, packet, &rewrite)) return TC_ACT_SHOT;
  return send_to_task(skb, settings, server, by_host, loopback);
}

static __noinline int request_fragment(struct __sk_buff *skb, const struct packet *packet, bool loopback)
{
  struct settings *settings = mesh_settings();
  struct fragment *fragment = find_fragment(packet, 0);
  if (!settings || !fragment || fragment->flags & FLOW_REPLY) return TC_ACT_OK;
  __u32 index = fragment->real_server;
  struct real_server *server = bpf_map_lookup_elem(&skep_real_servers, &index);
  if (!server || !server->virtual_server) return TC_ACT_SHOT;
  struct rewrite rewrite = {.source = fragment->client ?: packet->source, .destination = fragment->address};
  bool by_host = fragment->flags & FRAGMENT_BY_HOST;
  if (!by_host && !rewrite_frame(skb, server->mac, settings->own_mac)) return TC_ACT_SHOT;
  if (!rewrite_fragment(skb, packet, &rewrite)) return TC_ACT_SHOT;
  count_request(skb, packet, index);
  return send_to_task(skb, settings, server, by_host, loopback);
}

/*
 * The real server of a request, whose flow was looked up before and may be begun now: then *flow is the new one. NULL: there is none,
 * and *verdict says what becomes of the packet.
 * A flow whose real server has gone is void; so is one that is opened again after its end, or while its real server drains.
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
    if (server && !reopened) {
      follow_request(key, *flow, established, packet->events, bpf_ktime_get_coarse_ns());
      return server;
    }
    forget_flow(key, *flow);
  }
  if (!(packet->events & EVENT_OPEN) && packet->protocol != IPPROTO_UDP) return NULL;
  int beginning = begin_flow(key, virtual_server, client, flags);
  if (beginning != BEGUN) {
    if (beginning == NO_ROOM) *verdict = TC_ACT_SHOT;
    return NULL;
  }
  *flow = bpf_map_lookup_elem(&skep_young_flows, key);
  return *flow ? server_of(*flow) : NULL;
}

/* A packet to this node, from outside or (`loopback`) from one of its own processes. */
static __always_inline int mesh_request(struct __sk_buff *skb, bool loopback)
{
  struct packet packet = {};
  enum packet_kind kind = parse_packet(skb, &packet);
  if (kind == PACKET_FOREIGN) return TC_ACT_OK;
  if (kind == PACKET_ICMP_ERROR) return request_error(skb, &packet, loopback);
  if (kind == PACKET_LATER_FRAGMENT) return request_fragment(skb, &packet, loopback);
  __u32 index = virtual_server_of(&packet);
  if (!index) return TC_ACT_OK;
  struct settings *settings = mesh_settings();
  if (!settings) return TC_ACT_OK;

  __be32 client = 0;
  if (loopback && is_loopback_address(packet.source)) client = settings->own_address;
  struct flow_key key = {.source = packet.source,
                         .destination = packet.destination,
                         .source_port = packet.source_port,
                         .destination_port = packet.destination_port,
                         .scope = packet.protocol};
  bool established;
  struct flow *flow = find_flow(&key, &established);
  /* A flow was begun on an address of this node. */
  if (!flow && !(loopback && is_loopback_address(packet.destination)) && !bpf_map_lookup_elem(&skep_addresses, &packet.destination))
    return TC_ACT_OK;
  int verdict;
  struct real_server *server = serve(&key, &packet, index, client, loopback ? FLOW_LOOPBACK : 0, &flow, established, &verdict);
  if (!server || !flow) return verdict;

  bool too_large = packet.segment_bytes > settings->mtu_bytes;
  if (too_large && packet.unfragmentable && !loopback) {
    count_drop(flow->virtual_server, DROP_OVERSIZE);
    return answer_too_large(skb, &packet, settings->mtu_bytes);
  }
  if (too_large && loopback && !make_fragmentable(skb)) return TC_ACT_SHOT;
  bool by_host = too_large || settings->through_chains;
  if (kind == PACKET_FIRST_FRAGMENT) remember_fragment(&packet, 0, flow, by_host ? FRAGMENT_BY_HOST : 0);
  count_request(skb, &packet, flow->real_server);
  struct rewrite rewrite = {.source = flow->client ?: packet.source,
                            .destination = flow->address,
                            .source_port = packet.source_port,
                            .destination_port = flow->port};
  if (!by_host && !rewrite_frame(skb, server->mac, settings->own_mac)) return TC_ACT_SHOT;
  if (!rewrite_packet(skb, kind, &packet, &rewrite)) {
    count_drop(flow->virtual_server, DROP_MALFORMED);
    return TC_ACT_SHOT;
  }
  return send_to_task(skb, settings, server, by_host, loopback);
}

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
  struct flow_key key = {.source = packet->inner_destination,
                         .destination = packet->inner_source,
                         .source_port = packet->destination_port,
                         .destination_port = packet->source_port,
                         .scope = packet->protocol};
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
  if (!reply || !(reply->flags & FLOW_REPLY))
    /* To the node itself: perhaps it called the alias. Else the flow has ended, and the client would not know this source. */
    return packet.destination == settings->own_address ? TC_ACT_OK : TC_ACT_SHOT;
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

/* A packet from a local container on ingress: a reply goes to the node that its alias names. */
static __always_inline int mesh_alias(struct __sk_buff *skb)
{
  if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present) return TC_ACT_OK;
  struct settings *settings = mesh_settings();
  struct iphdr *ip = header_at(skb, IP_OFFSET, sizeof *ip);
  if (!settings || !ip || !is_alias(settings, ip->saddr)) return TC_ACT_OK;
  __u32 part = bpf_ntohl(ip->saddr) / ALIAS_NODES_MAX % ALIAS_NODES_MAX;
  struct alias_node *node = bpf_map_lookup_elem(&skep_alias_nodes, &part);
  if (!node || !node->present) return TC_ACT_SHOT;
  return rewrite_frame(skb, node->mac, NULL) ? TC_ACT_OK : TC_ACT_SHOT;
}

#endif
