/*
 * What a frame is to the balancer, and changing its addresses and ports. Only IPv4 in untagged frames with TCP, UDP or SCTP,
 * and ICMP errors about those, are ever touched; IP options are stepped over.
 *
 * Headers are read in place. The checksum of TCP and UDP is changed by the kernel's helper, since only the kernel knows whether it
 * is complete or left to the device (CHECKSUM_PARTIAL: all that comes from a veth); its callers must read no header after it.
 */
#ifndef SKEP_PACKET_H
#define SKEP_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "sctp_checksum.h"

#define IP_OFFSET ((__u32)sizeof(struct ethhdr))
/* Of linux/ip.h in the kernel; not in its uapi. */
#define IP_DF 0x4000
#define IP_MF 0x2000
#define IP_OFFSET_MASK 0x1fff

/* RFC 792; linux/icmp.h of the uapi wants the C library. */
enum icmp_error { ICMP_DEST_UNREACH = 3, ICMP_SOURCE_QUENCH = 4, ICMP_TIME_EXCEEDED = 11, ICMP_PARAMETERPROB = 12 };
#define ICMP_FRAG_NEEDED 4 /* code of ICMP_DEST_UNREACH */
struct icmp_header {
  __u8 type;
  __u8 code;
  __u16 checksum;
  __be16 unused;
  __be16 mtu;
};

/* Chunk types that begin and end an association, RFC 9260, section 3.2. */
enum sctp_chunk { SCTP_INIT = 1, SCTP_ABORT = 6, SCTP_SHUTDOWN_COMPLETE = 14 };
struct sctp_header {
  __be16 source;
  __be16 destination;
  __be32 tag;
  __le32 checksum;
  __u8 first_chunk;
};
#define SCTP_HEADER_BYTES 12 /* without the chunk */

enum packet_kind {
  PACKET_FOREIGN,        /* not for us, or cut short: left as it is */
  PACKET_WHOLE,          /* has ports */
  PACKET_FIRST_FRAGMENT, /* has ports, and others follow without */
  PACKET_LATER_FRAGMENT,
  PACKET_ICMP_ERROR,     /* protocol, ports and inner addresses are those of the packet it quotes */
};

enum packet_event {
  EVENT_OPEN = 1,   /* TCP: SYN without ACK; SCTP: INIT */
  EVENT_ACK = 2,    /* TCP: ACK without SYN; SCTP, UDP: any */
  EVENT_FIN = 4,
  EVENT_RESET = 8,  /* TCP: RST; SCTP: ABORT, SHUTDOWN COMPLETE */
  EVENT_ACCEPT = 16 /* TCP: SYN with ACK */
};

struct packet {
  __be32 source;
  __be32 destination;
  __be32 inner_source;
  __be32 inner_destination;
  __u32 transport; /* where the header after IP's begins, from the start of the frame */
  __u32 inner;     /* the same of the quoted packet */
  __u32 segment_bytes; /* the IP packet; of a GSO packet the largest it will be cut to */
  __u32 bytes;         /* the IP packet, all segments together */
  __u32 events;        /* enum packet_event */
  __be16 source_port;
  __be16 destination_port;
  __be16 id;
  __u8 protocol;
  bool unfragmentable;
};

/*
 * Start and end of the frame's linear part. Two 32-bit fields that the kernel reads as pointers: written in assembler, as the
 * compiler would move them through 32-bit registers, where the verifier loses the pointer.
 */
static __always_inline void *frame_start(const struct __sk_buff *skb)
{
  void *start;
  asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(start) : "r"(skb), "i"(offsetof(struct __sk_buff, data)));
  return start;
}

static __always_inline void *frame_end(const struct __sk_buff *skb)
{
  void *end;
  asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(end) : "r"(skb), "i"(offsetof(struct __sk_buff, data_end)));
  return end;
}

/* The bytes at an offset of the frame, pulled into the linear part if they are not there; NULL when it is not that long.
 * What was found before is void after it. */
static __always_inline void *header_at(struct __sk_buff *skb, __u32 offset, __u32 bytes)
{
  void *data = frame_start(skb) + offset;
  if (data + bytes <= frame_end(skb)) return data;
  if (bpf_skb_pull_data(skb, offset + bytes)) return NULL;
  data = frame_start(skb) + offset;
  return data + bytes <= frame_end(skb) ? data : NULL;
}

static __always_inline enum packet_kind parse_icmp(struct __sk_buff *skb, struct packet *packet)
{
  struct icmp_header *icmp = header_at(skb, packet->transport, sizeof *icmp);
  if (!icmp) return PACKET_FOREIGN;
  __u8 type = icmp->type;
  if (type != ICMP_DEST_UNREACH && type != ICMP_TIME_EXCEEDED && type != ICMP_PARAMETERPROB && type != ICMP_SOURCE_QUENCH)
    return PACKET_FOREIGN;
  struct iphdr *quoted = header_at(skb, packet->transport + sizeof *icmp, sizeof *quoted);
  if (!quoted || quoted->version != 4 || quoted->ihl < 5) return PACKET_FOREIGN;
  if (quoted->frag_off & bpf_htons(IP_OFFSET_MASK)) return PACKET_FOREIGN; /* no ports in it */
  if (quoted->protocol != IPPROTO_TCP && quoted->protocol != IPPROTO_UDP && quoted->protocol != IPPROTO_SCTP)
    return PACKET_FOREIGN;
  packet->protocol = quoted->protocol;
  packet->inner_source = quoted->saddr;
  packet->inner_destination = quoted->daddr;
  packet->inner = packet->transport + sizeof *icmp + quoted->ihl * 4;
  __be16 *ports = header_at(skb, packet->inner, 8);
  if (!ports) return PACKET_FOREIGN;
  packet->source_port = ports[0];
  packet->destination_port = ports[1];
  return PACKET_ICMP_ERROR;
}

static __always_inline enum packet_kind parse_packet(struct __sk_buff *skb, struct packet *packet)
{
  if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present) return PACKET_FOREIGN;
  struct iphdr *ip = header_at(skb, IP_OFFSET, sizeof *ip);
  if (!ip || ip->version != 4 || ip->ihl < 5) return PACKET_FOREIGN;
  __u16 fragment = ip->frag_off;
  packet->source = ip->saddr;
  packet->destination = ip->daddr;
  packet->protocol = ip->protocol;
  packet->id = ip->id;
  packet->bytes = packet->segment_bytes = bpf_ntohs(ip->tot_len);
  packet->unfragmentable = fragment & bpf_htons(IP_DF);
  packet->transport = IP_OFFSET + ip->ihl * 4;
  packet->events = EVENT_ACK;
  if (fragment & bpf_htons(IP_OFFSET_MASK)) {
    bool ours = packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP || packet->protocol == IPPROTO_SCTP;
    return ours ? PACKET_LATER_FRAGMENT : PACKET_FOREIGN;
  }

  __u32 header_bytes;
  if (packet->protocol == IPPROTO_TCP) {
    struct tcphdr *tcp = header_at(skb, packet->transport, sizeof *tcp);
    if (!tcp) return PACKET_FOREIGN;
    packet->source_port = tcp->source;
    packet->destination_port = tcp->dest;
    packet->events = (tcp->rst ? EVENT_RESET : 0) | (tcp->fin ? EVENT_FIN : 0) |
                     (tcp->syn ? (tcp->ack ? EVENT_ACCEPT : EVENT_OPEN) : (tcp->ack ? EVENT_ACK : 0));
    header_bytes = tcp->doff * 4;
  } else if (packet->protocol == IPPROTO_UDP) {
    struct udphdr *udp = header_at(skb, packet->transport, sizeof *udp);
    if (!udp) return PACKET_FOREIGN;
    packet->source_port = udp->source;
    packet->destination_port = udp->dest;
    header_bytes = sizeof *udp;
  } else if (packet->protocol == IPPROTO_SCTP) {
    struct sctp_header *sctp = header_at(skb, packet->transport, SCTP_HEADER_BYTES + 1);
    if (!sctp) return PACKET_FOREIGN;
    packet->source_port = sctp->source;
    packet->destination_port = sctp->destination;
    if (sctp->first_chunk == SCTP_INIT) packet->events = EVENT_OPEN;
    if (sctp->first_chunk == SCTP_ABORT || sctp->first_chunk == SCTP_SHUTDOWN_COMPLETE) packet->events |= EVENT_RESET;
    header_bytes = SCTP_HEADER_BYTES;
  } else if (packet->protocol == IPPROTO_ICMP && !(fragment & bpf_htons(IP_MF))) {
    return parse_icmp(skb, packet);
  } else {
    return PACKET_FOREIGN;
  }
  __u32 gso_bytes = skb->gso_size;
  if (gso_bytes) {
    packet->bytes = skb->len - IP_OFFSET;
    packet->segment_bytes = packet->transport - IP_OFFSET + header_bytes + gso_bytes;
  }
  return fragment & bpf_htons(IP_MF) ? PACKET_FIRST_FRAGMENT : PACKET_WHOLE;
}

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

static __always_inline void copy_mac(void *to, const void *from)
{
  __u16 *target = to;
  const __u16 *mac = from;
  target[0] = mac[0];
  target[1] = mac[1];
  target[2] = mac[2];
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
