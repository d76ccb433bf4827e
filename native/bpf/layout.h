/*
 * What the programs, the native addon and src/dataplane/ebpf/ agree on: keys and values of every map, byte by byte.
 * Numbers in packets' byte order are __be; all else is the machine's. A change of anything here is a new layout:
 * raise LAYOUT_VERSION, so that a newer daemon does not read the maps of an older one (see the pin directory).
 */
#ifndef SKEP_LAYOUT_H
#define SKEP_LAYOUT_H

#include <linux/types.h>

#define LAYOUT_VERSION 3

/* Capacities. Userspace may set others before it loads; the programs read nothing of them but the shard count. */
#define VIRTUAL_SERVERS_MAX 16384
#define REAL_SERVERS_MAX 131072
#define SLOTS_MAX 1048576
#define FLOW_ENTRIES_MAX 2097152 /* two entries a mesh flow, one a VIP flow: a million mesh flows */
#define YOUNG_FLOW_ENTRIES_MAX 131072
#define AFFINITIES_MAX 65536
#define FRAGMENTS_MAX 8192
#define ADDRESSES_MAX 1024
#define VIPS_MAX 65536
#define LISTENERS_MAX 65536
#define ALIAS_NODES_MAX 16384 /* 2^aliasPartBits, src/model/network-laws.ts */
#define COUNTER_SHARDS 2      /* of a real server's counters; a CPU uses the shard of its number modulo this */

/* Index of skep_ports: protocol's number below << 16 | port in host order. */
enum published_protocol { PUBLISHED_TCP = 0, PUBLISHED_UDP = 1, PUBLISHED_SCTP = 2 };
#define PORTS_MAX (3 << 16)

/* skep_settings, ARRAY of one: what the mesh of this node needs to know. All zero: there is no mesh. */
struct settings {
  __be32 alias_base;      /* the alias range, e.g. 240.0.0.0 */
  __be32 alias_mask;      /* and its mask, e.g. 240.0.0.0 for a /4 */
  __be32 own_address;     /* this node's address on ingress: the source of calls from 127.0.0.1 */
  __u32 host_link;        /* index of sk-ingress in the host */
  __u32 mtu_bytes;        /* of sk-ingress */
  __u8 own_mac[6];        /* of sk-ingress */
  __u16 through_chains;   /* 1: requests pass the host's FORWARD chain (an administrator's rules are there) */
};                        /* 28 bytes */

/* skep_ports, ARRAY[PORTS_MAX] of __u32: index of the virtual server; 0: none. Virtual server 0 is never used. */

/* skep_addresses, HASH: an address of this node on which published ports answer -> 1 (__u32). 127/8 is not in it. */

/* skep_listeners, HASH -> 1 (__u32): where a published port listens whose virtual server says that it is limited. What it is not limited
 * by is 0 in the key; calls of 127/8 have the address 127.0.0.0. */
struct listener_key {
  __u32 mark;     /* of the virtual server */
  __u32 device;   /* index of the device that the request comes in by, that of lo for the node's own */
  __be32 address; /* that was called */
};
enum limited_by { LIMITED_BY_DEVICE = 1, LIMITED_BY_ADDRESS = 2 };

/* skep_vips, HASH -> index of the virtual server (__u32). A tc program can read 16 bits of its filter's class id, so keys
 * have the low half of a VNI. Addresses tell the rest apart: subnets of networks do not overlap. */
struct vip_key {
  __u32 vni; /* & 0xffff */
  __be32 address;
};

enum scheduler { SCHEDULER_RR = 0, SCHEDULER_WRR = 1, SCHEDULER_LC = 2, SCHEDULER_MH = 3 };

/* skep_virtual_servers, ARRAY[VIRTUAL_SERVERS_MAX]. */
struct virtual_server {
  __u32 first_slot; /* its slots are [first_slot, first_slot + slot_count) of skep_slots */
  __u32 slot_count; /* 0: nobody takes new flows; they are left to the node's own stack, which refuses them */
  __u32 scheduler;  /* enum scheduler. rr, wrr: slots in turn (wrr repeats them by weight); mh: the Maglev table */
  __u32 affinity_s; /* seconds a client stays with its real server; 0: no affinity */
  __u32 vni;        /* scope: 0 for a published port, else the VIP's overlay */
  __u32 mark;       /* its name in that scope: publishedPortMark or vipMark of src/dataplane/state.ts; 0: unused entry */
  __be32 address;   /* the VIP; 0 for a published port */
  __be16 port;      /* the published port; 0 for a VIP */
  __u8 protocol;    /* IPPROTO_ of the published port; 0 for a VIP: all of them */
  __u8 limited_by;  /* enum limited_by: new flows need an entry of skep_listeners; 0: the port listens everywhere */
};                  /* 32 bytes */

/* skep_slots, ARRAY[SLOTS_MAX] of __u32: index of a real server. A program that meets a real server of another virtual
 * server there (userspace is just moving things) takes the next slot. */

/* skep_real_servers, ARRAY[REAL_SERVERS_MAX]. Index 0 is never used. */
struct real_server {
  __u32 virtual_server; /* 0: unused entry */
  __u32 generation;     /* raised each time the entry is given to another real server; flows remember it */
  __be32 address;       /* a published port's: the alias (translate); a VIP's: the task's address */
  __be16 port;          /* target port; 0 for a VIP: kept */
  __u8 mac[6];          /* the task's MAC on the overlay */
  __u16 weight;         /* 0: draining. Its flows stay, new ones go elsewhere */
  __u16 pad;
};                      /* 24 bytes */

/* skep_flows: HASH without preallocation, flows that both sides have agreed on; never evicted by the kernel.
 * skep_young_flows: LRU_HASH of half-open, unanswered and closed ones, which are what gives way under pressure.
 * Same key and value. Userspace deletes what has been idle for too long (see expire in the addon).
 * A mesh flow has two entries: the request's, as the packet comes in, and the reply's (source: alias and target port). */
struct flow_key {
  __be32 source;
  __be32 destination;
  __be16 source_port;
  __be16 destination_port;
  __u32 scope; /* (vni & 0xffff) << 8 | IPPROTO_; vni 0 in the host */
};             /* 16 bytes */

enum flow_flags {
  FLOW_ANSWERED = 1,     /* TCP: SYN-ACK seen (mesh); UDP, SCTP: a reply seen (mesh) or a second packet (VIP) */
  FLOW_ESTABLISHED = 2,  /* TCP: the client's ACK after that; UDP, SCTP: one more packet. Lives in skep_flows, or did */
  FLOW_CLIENT_FIN = 4,
  FLOW_SERVER_FIN = 8,
  FLOW_RESET = 16,
  FLOW_REPLY = 32,       /* this entry is the reply's */
  FLOW_LOOPBACK = 64,    /* the client is this node: replies go in by lo */
};

struct flow {
  __u64 seen_ns;        /* bpf_ktime_get_coarse_ns or later, refreshed at most once a second */
  __u32 real_server;    /* index */
  __u32 generation;     /* of the real server when the flow began */
  /* What the packet's addresses become. Request: destination = address:port, and source = client if that is not 0 (a call from
   * 127.0.0.1). Reply: source = address:port (the node's address and published port that the client called), and destination =
   * client if not 0. The port of the client is never changed. */
  __be32 address;
  __be32 client;
  __be16 port;
  __u16 flags;          /* enum flow_flags; on the request's entry, but for FLOW_REPLY and FLOW_LOOPBACK which are on both as apt */
  __u32 virtual_server; /* index */
};                      /* 32 bytes */

/* skep_affinity, LRU_HASH. */
struct affinity_key {
  __u32 virtual_server;
  __be32 client;
};
struct affinity {
  __u64 expires_ns;
  __u32 real_server;
  __u32 generation;
};

/* skep_fragments, LRU_HASH: what the first fragment of a datagram was given, for those that follow without ports. */
struct fragment_key {
  __be32 source;
  __be32 destination;
  __be16 id;
  __u8 protocol;
  __u8 pad;
  __u32 vni;
};             /* 16 bytes */
struct fragment {
  __be32 address; /* as in struct flow */
  __be32 client;
  __u32 real_server;
  __u32 flags;    /* of the flow when it came, and: */
};
#define FRAGMENT_BY_HOST (1 << 16) /* the node's own stack takes this datagram's fragments */

/* skep_counters, ARRAY[REAL_SERVERS_MAX * COUNTER_SHARDS], index real server * COUNTER_SHARDS + shard; totals are the shards' sum.
 * Bytes are of IP packets. Added to atomically. Userspace zeroes them when it gives the entry to another real server. */
struct counters {
  __u64 connections;   /* flows begun */
  __u64 packets;       /* from clients */
  __u64 bytes;
  __u64 reply_packets; /* to clients; a VIP's go straight back and are not seen: 0 */
  __u64 reply_bytes;
};

/* skep_active, ARRAY[REAL_SERVERS_MAX] of __u64: flows in skep_flows, for least connections and draining. */

/* skep_cursors, ARRAY[VIRTUAL_SERVERS_MAX] of __u64: where rr and wrr go on. */

enum drop_reason {
  DROP_FRAGMENT = 0,  /* a fragment that came before its first one, or whose first one is forgotten; of replies: of virtual server 0 */
  DROP_COLLISION = 1, /* every real server has a flow of this client port already, begun through another published port */
  DROP_TABLE = 2,     /* no room for the flow */
  DROP_OVERSIZE = 3,  /* larger than the tunnel takes and not to be fragmented; the sender was told (ICMP) */
  DROP_MALFORMED = 4, /* cannot be translated: fragmented SCTP to another port, whose checksum covers more than is there */
  DROP_REASONS = 8,
};

/* skep_virtual_counters, ARRAY[VIRTUAL_SERVERS_MAX]. `retired` is what removed real servers had counted: userspace adds it. */
struct virtual_counters {
  struct counters retired;
  __u64 drops[DROP_REASONS];
};

/* skep_alias_nodes, ARRAY[ALIAS_NODES_MAX], by an alias's node part: where replies from that alias go. */
struct alias_node {
  __u8 mac[6];   /* of that node's sk-ingress */
  __u16 present; /* 0: no such node */
};

#endif
