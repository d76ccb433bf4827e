/*
 * The tc programs of the ebpf engine (classifiers in direct-action mode; README.md has the picture). They hold no state of their
 * own and no configuration: all of it is in the maps of layout.h, so that a program can be replaced by its successor between two
 * packets. For Linux 6.1 and later.
 */
#include "mesh_reply.h"
#include "mesh_request.h"
#include "vip.h"

/* Ingress of each device of the host that has an IPv4 address: requests to published ports, from outside and from containers. */
SEC("tc") int skep_uplink(struct __sk_buff *skb)
{
  return skb->pkt_type == PACKET_HOST ? mesh_request(skb, false) : TC_ACT_OK;
}

/* Egress of lo: requests of the node's own processes. */
SEC("tc") int skep_loopback(struct __sk_buff *skb) { return mesh_request(skb, true); }

/* Ingress of the host's end of the veth pair to ingress: replies. (And what the bridge floods there.) */
SEC("tc") int skep_return(struct __sk_buff *skb)
{
  return skb->pkt_type == PACKET_HOST ? mesh_reply(skb) : TC_ACT_OK;
}

/* Ingress of containers' ports on overlays: calls of VIPs. The class id of the filter names the overlay, see layout.h. */
SEC("tc") int skep_vip(struct __sk_buff *skb) { return vip_request(skb); }

/* Ingress of containers' ports on ingress: replies set out. */
SEC("tc") int skep_alias(struct __sk_buff *skb) { return mesh_alias(skb); }

/* The kernel offers its helpers to programs under the GPL. */
char LICENSE[] SEC("license") = "GPL";
