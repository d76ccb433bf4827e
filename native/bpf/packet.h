/*
 * What a frame is to the balancer. Only IPv4 in untagged frames with TCP, UDP or SCTP, and ICMP errors about those, are ever
 * touched; IP options are stepped over. Headers are read in place.
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

#endif
