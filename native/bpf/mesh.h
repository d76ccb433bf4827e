/*
 * The mesh: a request to a published port goes to a task's alias, the reply back to the client. The alias says which node must undo
 * the translation, so all of a flow's packets pass through that one node (ARCHITECTURE.md). Requests are in mesh_request.h,
 * replies at the node that translates in mesh_reply.h; here is what sends them there from a task's own node.
 */
#ifndef SKEP_MESH_H
#define SKEP_MESH_H

#include <linux/pkt_cls.h>
#include "maps.h"
#include "rewrite.h"

#define LOOPBACK_LINK 1 /* index of lo in every namespace */

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

/* The key under which an ICMP error's flow is found: what it quotes went the other way. */
static __always_inline struct flow_key quoted_flow_key(const struct packet *packet)
{
  return (struct flow_key){.source = packet->inner_destination,
                           .destination = packet->inner_source,
                           .source_port = packet->destination_port,
                           .destination_port = packet->source_port,
                           .scope = packet->protocol};
}

#endif
