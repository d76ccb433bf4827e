/*
 * VIPs: a packet from a container to a VIP goes to the MAC of the task that its flow has; nothing else of it changes, the task
 * holds the VIP itself and answers the caller directly. ICMP echo and what nobody serves stay with the overlay's bridge,
 * which has the VIP as an address.
 */
#ifndef SKEP_VIP_H
#define SKEP_VIP_H

#include "fragments.h"
#include "reset.h"
#include "serving.h"

/* To the real server's MAC: the bridge carries it on; a bridge does not send a frame back to the port it came from. */
static __always_inline int send_to_server(struct __sk_buff *skb, const struct real_server *server)
{
  struct ethhdr *ethernet = frame_start(skb);
  if ((void *)(ethernet + 1) > frame_end(skb)) return TC_ACT_SHOT;
  const __u16 *from = (void *)ethernet->h_source, *to = (void *)server->mac;
  bool hairpin = from[0] == to[0] && from[1] == to[1] && from[2] == to[2];
  copy_mac(ethernet->h_dest, server->mac);
  return hairpin ? bpf_redirect(skb->ifindex, 0) : TC_ACT_OK;
}

static __noinline int vip_error(struct __sk_buff *skb, const struct packet *packet, __u32 vni)
{
  struct flow_key key = {.source = packet->inner_destination,
                         .destination = packet->inner_source,
                         .source_port = packet->destination_port,
                         .destination_port = packet->source_port,
                         .scope = vni << 8 | packet->protocol};
  bool established;
  struct flow *flow = find_flow(&key, &established);
  struct real_server *server = flow ? server_of(flow) : NULL;
  return server ? send_to_server(skb, server) : TC_ACT_OK;
}

static __noinline int vip_fragment(struct __sk_buff *skb, const struct packet *packet, __u32 vni, __u32 virtual_server)
{
  struct fragment *fragment = find_fragment(packet, vni);
  __u32 index = fragment ? fragment->real_server : 0;
  struct real_server *server = bpf_map_lookup_elem(&skep_real_servers, &index);
  if (!index || !server || !server->virtual_server) {
    count_drop(virtual_server, DROP_FRAGMENT);
    return TC_ACT_SHOT;
  }
  count_request(skb, packet, index);
  return send_to_server(skb, server);
}

static __always_inline int vip_request(struct __sk_buff *skb)
{
  struct packet packet = {};
  enum packet_kind kind = parse_packet(skb, &packet);
  if (kind == PACKET_FOREIGN) return TC_ACT_OK;
  struct vip_key vip = {.vni = skb->tc_classid, .address = packet.destination};
  __u32 *index = bpf_map_lookup_elem(&skep_vips, &vip);
  if (!index || !*index) return TC_ACT_OK;
  if (kind == PACKET_ICMP_ERROR) return vip_error(skb, &packet, vip.vni);
  if (kind == PACKET_LATER_FRAGMENT) return vip_fragment(skb, &packet, vip.vni, *index);

  struct flow_key key = {.source = packet.source,
                         .destination = packet.destination,
                         .source_port = packet.source_port,
                         .destination_port = packet.destination_port,
                         .scope = vip.vni << 8 | packet.protocol};
  bool established;
  struct flow *flow = find_flow(&key, &established);
  int verdict;
  struct real_server *server = serve(&key, &packet, *index, 0, 0, &flow, established, &verdict);
  if (!server || !flow) return verdict == VERDICT_RESET ? answer_with_reset(skb, &packet) : verdict;
  if (kind == PACKET_FIRST_FRAGMENT) remember_fragment(&packet, vip.vni, flow, 0);
  count_request(skb, &packet, flow->real_server);
  return send_to_server(skb, server);
}

#endif
