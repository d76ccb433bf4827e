/* The tc programs of the ebpf engine. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include "maps.h"

#define TOUCH(map) bpf_map_lookup_elem(&map, &zero)
static __attribute__((noinline)) int touch_all(void) {
  __u32 zero = 0;
  struct vip_key vip = {};
  struct flow_key flow = {};
  struct affinity_key affinity = {};
  struct fragment_key fragment = {};
  return !!TOUCH(skep_settings) + !!TOUCH(skep_ports) + !!TOUCH(skep_virtual_servers) + !!TOUCH(skep_slots) + !!TOUCH(skep_real_servers) + !!TOUCH(skep_counters) +
         !!TOUCH(skep_active) + !!TOUCH(skep_cursors) + !!TOUCH(skep_virtual_counters) + !!TOUCH(skep_alias_nodes) +
         !!TOUCH(skep_addresses) + !!bpf_map_lookup_elem(&skep_vips, &vip) + !!bpf_map_lookup_elem(&skep_flows, &flow) +
         !!bpf_map_lookup_elem(&skep_young_flows, &flow) + !!bpf_map_lookup_elem(&skep_affinity, &affinity) +
         !!bpf_map_lookup_elem(&skep_fragments, &fragment);
}
#define PROGRAM(name)                       \
  SEC("tc") int name(struct __sk_buff *skb) \
  {                                         \
    if (skb->len == 0) touch_all();         \
    return TC_ACT_OK;                       \
  }
PROGRAM(skep_uplink)
PROGRAM(skep_loopback)
PROGRAM(skep_return)
PROGRAM(skep_vip)
PROGRAM(skep_alias)
char LICENSE[] SEC("license") = "GPL";
