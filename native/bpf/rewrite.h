/*
 * Changing the addresses and ports of packets in place. The checksum of TCP and UDP is changed by the kernel's helper, since only
 * the kernel knows whether it is complete or left to the device (CHECKSUM_PARTIAL: most of what comes from a veth); all pointers
 * into the frame are void after it. Where the kernel keeps a sum of the whole packet (CHECKSUM_COMPLETE) it stays right: every
 * other change here is made up for by the header's own checksum.
 */
#ifndef SKEP_REWRITE_H
#define SKEP_REWRITE_H

#include "packet.h"
#include "sctp_checksum.h"

/* RFC 1071 arithmetic: a difference is a one's complement sum of what goes (inverted) and what comes. */
static __always_inline __u32 checksum_difference(__be32 from, __be32 to, __u32 difference)
{
  __u64 sum = (__u64)(__u32)~from + to + difference;
  sum = (sum & 0xffffffff) + (sum >> 32);
  return (sum & 0xffffffff) + (sum >> 32);
}

static __always_inline __u16 checksum_plus(__u16 checksum, __u32 difference)
{
  __u32 sum = (__u16)~checksum + (difference & 0xffff) + (difference >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return ~((sum & 0xffff) + (sum >> 16));
}

/* Of a header whose checksum field is 0, and of what else counts. */
static __always_inline __u16 checksum_of(const void *header, __u32 bytes, __u32 sum)
{
  const __u16 *half = header;
  __u32 of_header = 0;
  for (__u32 i = 0; i < bytes / 2; i++) of_header += half[i];
  return checksum_plus(0xffff, checksum_difference(0, of_header, sum));
}

static __always_inline void copy_mac(void *to, const void *from)
{
  __u16 *target = to;
  const __u16 *mac = from;
  target[0] = mac[0];
  target[1] = mac[1];
  target[2] = mac[2];
}

/* Back to where it came from. */
static __always_inline void turn_frame(struct ethhdr *ethernet)
{
  __u16 mac[3];
  copy_mac(mac, ethernet->h_dest);
  copy_mac(ethernet->h_dest, ethernet->h_source);
  copy_mac(ethernet->h_source, mac);
}

/* Gives the frame new Ethernet addresses; NULL leaves one as it is. */
static __always_inline bool rewrite_frame(struct __sk_buff *skb, const void *destination, const void *source)
{
  struct ethhdr *ethernet = frame_start(skb);
  if ((void *)(ethernet + 1) > frame_end(skb)) return false;
  if (destination) copy_mac(ethernet->h_dest, destination);
  if (source) copy_mac(ethernet->h_source, source);
  return true;
}

/* What a packet's addresses and ports are to be; `inner` those of the packet that an ICMP error quotes. */
struct rewrite {
  __be32 source;
  __be32 destination;
  __be32 inner_source;
  __be32 inner_destination;
  __be16 source_port;
  __be16 destination_port;
};

static __always_inline bool rewrite_addresses(struct __sk_buff *skb, const struct packet *packet,
                                              const struct rewrite *rewrite, __u32 *difference)
{
  struct iphdr *ip = frame_start(skb) + IP_OFFSET;
  if ((void *)(ip + 1) > frame_end(skb)) return false;
  *difference = checksum_difference(packet->source, rewrite->source, 0);
  *difference = checksum_difference(packet->destination, rewrite->destination, *difference);
  ip->saddr = rewrite->source;
  ip->daddr = rewrite->destination;
  ip->check = checksum_plus(ip->check, *difference);
  return true;
}

/* Changes addresses and ports of a packet that has ports. False: cannot be done, and the packet is as it was. */
static __always_inline bool rewrite_packet(struct __sk_buff *skb, enum packet_kind kind, const struct packet *packet,
                                           const struct rewrite *rewrite)
{
  __u32 transport = packet->transport & 0x7f; /* known to be less: 14 + 60 */
  __u32 before = packet->source_port | (__u32)packet->destination_port << 16;
  __u32 after = rewrite->source_port | (__u32)rewrite->destination_port << 16;
  if (packet->protocol == IPPROTO_SCTP && before != after) {
    /* Its checksum covers the whole datagram, whose length the first fragment does not tell. */
    if (kind == PACKET_FIRST_FRAGMENT) return false;
    struct sctp_header *sctp = header_at(skb, transport, SCTP_HEADER_BYTES);
    if (!sctp) return false;
    /* Left to the device: 0 until then. (One checksum in 2^32 is 0 by itself and is then wrong: that packet is sent again.) */
    if (sctp->checksum) sctp->checksum ^= crc32c_of_change(before ^ after, packet->bytes + IP_OFFSET - transport);
  }
  __be16 *ports = header_at(skb, transport, 4);
  if (!ports) return false;
  ports[0] = rewrite->source_port;
  ports[1] = rewrite->destination_port;
  __u32 difference;
  if (!rewrite_addresses(skb, packet, rewrite, &difference)) return false;

  __u32 checksum, flags;
  if (packet->protocol == IPPROTO_TCP) {
    checksum = transport + offsetof(struct tcphdr, check);
    flags = 0;
  } else if (packet->protocol == IPPROTO_UDP) {
    checksum = transport + offsetof(struct udphdr, check);
    flags = BPF_F_MARK_MANGLED_0; /* none stays none */
  } else {
    return true;
  }
  bpf_l4_csum_replace(skb, checksum, 0, difference, flags | BPF_F_PSEUDO_HDR);
  if (before != after)
    bpf_l4_csum_replace(skb, checksum, 0, checksum_difference(before, after, 0), flags);
  return true;
}

/*
 * Changes an ICMP error: its own addresses, and those and the ports of the packet it quotes. The sum of an IP header does not
 * change, its checksum being part of it; so in the ICMP checksum only the ports tell. The quoted transport checksum stays as it
 * is: the quote is cut short anyway, and nobody verifies it.
 */
static __always_inline bool rewrite_icmp_error(struct __sk_buff *skb, const struct packet *packet, const struct rewrite *rewrite)
{
  __u32 transport = packet->transport & 0x7f, inner = packet->inner & 0xff, difference;
  if (!rewrite_addresses(skb, packet, rewrite, &difference)) return false;
  __u32 *ports = header_at(skb, inner, 4);
  if (!ports) return false;
  __u32 before = packet->source_port | (__u32)packet->destination_port << 16;
  __u32 after = rewrite->source_port | (__u32)rewrite->destination_port << 16;
  *ports = after;
  struct icmp_header *icmp = header_at(skb, transport, sizeof *icmp + sizeof(struct iphdr));
  if (!icmp) return false;
  icmp->checksum = checksum_plus(icmp->checksum, checksum_difference(before, after, 0));
  struct iphdr *quoted = (void *)(icmp + 1);
  difference = checksum_difference(packet->inner_source, rewrite->inner_source, 0);
  difference = checksum_difference(packet->inner_destination, rewrite->inner_destination, difference);
  quoted->saddr = rewrite->inner_source;
  quoted->daddr = rewrite->inner_destination;
  quoted->check = checksum_plus(quoted->check, difference);
  return true;
}

#endif
