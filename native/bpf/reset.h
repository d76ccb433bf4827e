/*
 * The answer to TCP whose flow is gone: whoever still believes in it learns so at once (RFC 9293, 3.10.7.1), rather than
 * when its retries end.
 */
#ifndef SKEP_RESET_H
#define SKEP_RESET_H

#include <linux/pkt_cls.h>
#include "too_large.h"

#define TCP_WORD_RST (0x5004 << 16)     /* the fourth word of a header without options: its length, the flags, no window */
#define TCP_WORD_RST_ACK (0x5014 << 16)

/* Turns the packet into the reset and sends it back where it came from. Anything but TCP is dropped, and so is a reset. */
static __noinline int answer_with_reset(struct __sk_buff *skb, const struct packet *packet)
{
  if (packet->protocol != IPPROTO_TCP || packet->events & EVENT_RESET) return TC_ACT_SHOT;
  __u32 transport = packet->transport & 0x7f;
  struct tcphdr *tcp = header_at(skb, transport, sizeof *tcp);
  if (!tcp) return TC_ACT_SHOT;
  bool acknowledges = tcp->ack;
  __be32 sequence = acknowledges ? tcp->ack_seq : 0;
  __u32 taken = packet->bytes - (transport - IP_OFFSET) - tcp->doff * 4 + tcp->syn + tcp->fin;
  __be32 acknowledged = acknowledges ? 0 : bpf_htonl(bpf_ntohl(tcp->seq) + taken);
  bool partial = checksum_is_partial(skb, packet);
  if (bpf_skb_change_tail(skb, IP_OFFSET + sizeof(struct iphdr) + sizeof *tcp, 0)) return TC_ACT_SHOT;

  struct ethhdr *ethernet = header_at(skb, 0, IP_OFFSET + sizeof(struct iphdr) + sizeof *tcp);
  if (!ethernet) return TC_ACT_SHOT;
  turn_frame(ethernet);
  struct iphdr *ip = (void *)(ethernet + 1);
  *ip = (struct iphdr){.version = 4,
                       .ihl = 5,
                       .tot_len = bpf_htons(sizeof *ip + sizeof *tcp),
                       .frag_off = bpf_htons(IP_DF),
                       .ttl = 64,
                       .protocol = IPPROTO_TCP,
                       .saddr = packet->destination,
                       .daddr = packet->source};
  ip->check = checksum_of(ip, sizeof *ip, 0);
  __be32 *word = (void *)(ip + 1);
  tcp = (void *)word;
  word[0] = packet->destination_port | (__u32)packet->source_port << 16;
  word[1] = sequence;
  word[2] = acknowledged;
  word[3] = bpf_htonl(acknowledges ? TCP_WORD_RST : TCP_WORD_RST_ACK);
  word[4] = 0;
  __u32 pseudo = checksum_difference(0, packet->source, 0);
  pseudo = checksum_difference(0, packet->destination, pseudo);
  pseudo = checksum_difference(0, bpf_htonl(IPPROTO_TCP << 16 | sizeof *tcp), pseudo);
  /* Left to the device, the field holds the sum of the pseudo header, as it stands. */
  tcp->check = partial ? ~checksum_plus(0xffff, pseudo) : checksum_of(tcp, sizeof *tcp, pseudo);
  return bpf_redirect(skb->ifindex, 0);
}

#endif
