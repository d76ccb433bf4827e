/*
 * Packets that are larger than the tunnel takes and are not to be fragmented. Their sender is told so (RFC 1191), unless it is this
 * node: a socket connected to an address of its own node would not follow (Linux keeps no route for it that could be outdated).
 * Those are fragmented all the same: lo has no path to discover.
 */
#ifndef SKEP_TOO_LARGE_H
#define SKEP_TOO_LARGE_H

#include <linux/pkt_cls.h>
#include "rewrite.h"

/* Of the packet's transport header; what there is of a TCP header without options. */
#define QUOTED_BYTES 20

static __always_inline __u16 *transport_checksum(struct __sk_buff *skb, const struct packet *packet)
{
  __u32 field = packet->protocol == IPPROTO_TCP ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check);
  return header_at(skb, (packet->transport & 0x7f) + field, sizeof(__u16));
}

/*
 * Whether the packet's checksum is left to the device, which will then write it where it now is: into our quote. The kernel does
 * not tell, but its helper changes the checksum by a change of the payload only if it is there already.
 */
static __always_inline bool checksum_is_partial(struct __sk_buff *skb, const struct packet *packet)
{
  __u16 *checksum = transport_checksum(skb, packet);
  if (packet->protocol == IPPROTO_SCTP || !checksum) return false;
  __u16 before = *checksum;
  __u32 field = (void *)checksum - frame_start(skb);
  bpf_l4_csum_replace(skb, field, 0, 1, 0);
  checksum = transport_checksum(skb, packet);
  if (!checksum) return false;
  bool partial = *checksum == before;
  *checksum = before;
  return partial;
}

/* Turns the packet into the error and sends it back where it came from. */
static __noinline int answer_too_large(struct __sk_buff *skb, const struct packet *packet, __u32 mtu_bytes)
{
  const __u32 grown = sizeof(struct iphdr) + sizeof(struct icmp_header);
  __u32 quoted_header = (packet->transport & 0x7f) - IP_OFFSET;
  bool partial = checksum_is_partial(skb, packet);
  if (bpf_skb_change_tail(skb, IP_OFFSET + quoted_header + QUOTED_BYTES, 0)) return TC_ACT_SHOT;
  if (bpf_skb_adjust_room(skb, grown, BPF_ADJ_ROOM_MAC, 0)) return TC_ACT_SHOT;
  __u32 transport = IP_OFFSET + grown + (quoted_header & 0x7f);
  __u16 *quoted = header_at(skb, transport, QUOTED_BYTES);
  if (!quoted) return TC_ACT_SHOT;

  /* The sum of an IP header is nothing: what counts is the ICMP header and the quoted part behind. */
  __u32 sum = 0;
  for (int i = 0; i < QUOTED_BYTES / 2; i++) sum += quoted[i];
  if (partial) /* what the sum will be once the device has filled in the checksum: the inverse of what is there now */
    sum = (__u16)~quoted[(packet->protocol == IPPROTO_TCP ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check)) / 2];

  struct ethhdr *ethernet = header_at(skb, 0, IP_OFFSET + grown);
  if (!ethernet) return TC_ACT_SHOT;
  struct iphdr *ip = (void *)(ethernet + 1);
  struct icmp_header *icmp = (void *)(ip + 1);
  turn_frame(ethernet);
  ethernet->h_proto = bpf_htons(ETH_P_IP);
  *ip = (struct iphdr){.version = 4,
                       .ihl = 5,
                       .tot_len = bpf_htons(grown + quoted_header + QUOTED_BYTES),
                       .ttl = 64,
                       .protocol = IPPROTO_ICMP,
                       .saddr = packet->destination,
                       .daddr = packet->source};
  *icmp = (struct icmp_header){.type = ICMP_DEST_UNREACH, .code = ICMP_FRAG_NEEDED, .mtu = bpf_htons(mtu_bytes)};
  icmp->checksum = checksum_plus(0xffff, sum + *(__u16 *)icmp + icmp->mtu);
  ip->check = checksum_of(ip, sizeof *ip, 0);
  return bpf_redirect(skb->ifindex, 0);
}

/* Takes the mark off that forbids fragments, and gives an id to tell them by: with the mark Linux often leaves that 0. */
static __noinline bool make_fragmentable(struct __sk_buff *skb)
{
  struct iphdr *ip = header_at(skb, IP_OFFSET, sizeof *ip);
  if (!ip) return false;
  __u32 *word = (void *)&ip->id, before = *word; /* id and fragment offset */
  if (!(ip->frag_off & bpf_htons(IP_DF))) return true;
  ip->frag_off &= ~bpf_htons(IP_DF);
  ip->id = bpf_get_prandom_u32();
  ip->check = checksum_plus(ip->check, checksum_difference(before, *word, 0));
  return true;
}

#endif
