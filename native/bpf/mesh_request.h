/*
 * Requests of the mesh. From an uplink a request goes to the far side of the veth pair at once (bpf_redirect_peer), which is the
 * bridge of ingress. The node's own stack takes it instead, by its route to the alias, when an administrator has rules for it or
 * when it must be fragmented. The node's own calls leave by lo and are turned round there.
 */
#ifndef SKEP_MESH_REQUEST_H
#define SKEP_MESH_REQUEST_H

#include "fragments.h"
#include "mesh.h"
#include "reset.h"
#include "serving.h"

static __always_inline bool is_loopback_address(__be32 address) { return (address & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000); }

static __always_inline __u32 virtual_server_of(const struct packet *packet)
{
  __u32 protocol = packet->protocol == IPPROTO_TCP ? PUBLISHED_TCP : packet->protocol == IPPROTO_UDP ? PUBLISHED_UDP : PUBLISHED_SCTP;
  __u32 index = protocol << 16 | bpf_ntohs(packet->destination_port);
  __u32 *server = bpf_map_lookup_elem(&skep_ports, &index);
  return server ? *server : 0;
}

/* For the host's chains: what this packet has to do with us. */
static __always_inline void mark_request(struct __sk_buff *skb, __u32 index)
{
  struct virtual_server *server = bpf_map_lookup_elem(&skep_virtual_servers, &index);
  if (server) skb->mark = server->mark;
}

/* Whether the published port listens where the request comes in: on an address of this node, within the port's limits. */
static __always_inline bool listens(struct __sk_buff *skb, __u32 virtual_server, __be32 called, bool loopback)
{
  bool to_loopback = loopback && is_loopback_address(called);
  if (!to_loopback && !bpf_map_lookup_elem(&skep_addresses, &called)) return false;
  struct virtual_server *server = bpf_map_lookup_elem(&skep_virtual_servers, &virtual_server);
  if (!server) return false;
  __u8 limited_by = server->limited_by;
  if (!limited_by) return true;
  struct listener_key key = {.mark = server->mark,
                             .device = limited_by & LIMITED_BY_DEVICE ? skb->ifindex : 0,
                             .address = !(limited_by & LIMITED_BY_ADDRESS) ? 0 : to_loopback ? bpf_htonl(0x7f000000) : called};
  return bpf_map_lookup_elem(&skep_listeners, &key);
}

/* Sends a rewritten request on its way. Its frame must already bear the task's MAC, unless it goes by the host. */
static __always_inline int send_to_task(struct __sk_buff *skb, const struct settings *settings, const struct real_server *server,
                                        bool by_host, bool loopback)
{
  if (!by_host) return loopback ? bpf_redirect(settings->host_link, 0) : bpf_redirect_peer(settings->host_link, 0);
  mark_request(skb, server->virtual_server);
  /* Comes in by lo again: only so does it lose the route it left with. */
  return loopback ? bpf_redirect(LOOPBACK_LINK, BPF_F_INGRESS) : TC_ACT_OK;
}

/* An ICMP error about a reply: to the task that sent it, in the task's terms. */
static __noinline int request_error(struct __sk_buff *skb, const struct packet *packet, bool loopback)
{
  struct settings *settings = mesh_settings();
  struct flow_key key = quoted_flow_key(packet);
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
  /* A flow was begun where the port listens. */
  if ((!flow || packet.events & EVENT_OPEN) && !listens(skb, index, packet.destination, loopback)) return TC_ACT_OK;
  int verdict;
  struct real_server *server = serve(&key, &packet, index, client, loopback ? FLOW_LOOPBACK : 0, &flow, established, &verdict);
  if (!server || !flow) {
    if (verdict == VERDICT_RESET && !loopback) return answer_with_reset(skb, &packet);
    /* Perhaps of a flow that was forgotten: the node's own TCP shall see it, whatever its firewall does, and reset it. */
    if (packet.protocol == IPPROTO_TCP && !(packet.events & EVENT_OPEN)) mark_request(skb, index);
    return verdict == VERDICT_RESET ? TC_ACT_OK : verdict;
  }

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

#endif
