/* The table of what JS sees; ../native.d.ts types it. */
#include "native.h"

static napi_value initialise(napi_env env, napi_value exports) {
  const napi_property_descriptor functions[] = {
      {"openNetlink", NULL, open_netlink, NULL, NULL, NULL, napi_enumerable, NULL},
      {"send", NULL, send_datagram, NULL, NULL, NULL, napi_enumerable, NULL},
      {"poll", NULL, poll_descriptor, NULL, NULL, NULL, napi_enumerable, NULL},
      {"watchProcess", NULL, watch_process, NULL, NULL, NULL, napi_enumerable, NULL},
      {"answerDatagrams", NULL, answer_datagrams, NULL, NULL, NULL, napi_enumerable, NULL},
      {"createNetns", NULL, create_netns, NULL, NULL, NULL, napi_enumerable, NULL},
      {"deleteNetns", NULL, delete_netns, NULL, NULL, NULL, napi_enumerable, NULL},
      {"openInNetns", NULL, open_in_netns, NULL, NULL, NULL, napi_enumerable, NULL},
      {"bindInNetns", NULL, bind_in_netns, NULL, NULL, NULL, napi_enumerable, NULL},
      {"openRaw", NULL, open_raw, NULL, NULL, NULL, napi_enumerable, NULL},
      {"openPacketSender", NULL, open_packet_sender, NULL, NULL, NULL, napi_enumerable, NULL},
      {"openPacket", NULL, open_packet, NULL, NULL, NULL, napi_enumerable, NULL},
      {"openNetns", NULL, open_netns, NULL, NULL, NULL, napi_enumerable, NULL},
      {"openFirewall", NULL, open_firewall, NULL, NULL, NULL, napi_enumerable, NULL},
      {"firewallDigest", NULL, firewall_digest, NULL, NULL, NULL, napi_enumerable, NULL},
      {"openIpvs", NULL, open_ipvs, NULL, NULL, NULL, napi_enumerable, NULL},
      {"ipvsTable", NULL, ipvs_table, NULL, NULL, NULL, napi_enumerable, NULL},
      {"startTool", NULL, start_tool, NULL, NULL, NULL, napi_enumerable, NULL},
      {"toolStatus", NULL, tool_status, NULL, NULL, NULL, napi_enumerable, NULL},
      {"bpfLoad", NULL, bpf_load, NULL, NULL, NULL, napi_enumerable, NULL},
      {"bpfTestRun", NULL, bpf_test_run, NULL, NULL, NULL, napi_enumerable, NULL},
      {"mountBpffs", NULL, mount_bpffs, NULL, NULL, NULL, napi_enumerable, NULL},
      {"bpfGet", NULL, bpf_get, NULL, NULL, NULL, napi_enumerable, NULL},
      {"bpfPut", NULL, bpf_put, NULL, NULL, NULL, napi_enumerable, NULL},
      {"bpfDelete", NULL, bpf_delete, NULL, NULL, NULL, napi_enumerable, NULL},
      {"bpfGetBatch", NULL, bpf_get_batch, NULL, NULL, NULL, napi_enumerable, NULL},
      {"bpfReadMapped", NULL, bpf_read_mapped, NULL, NULL, NULL, napi_enumerable, NULL},
      {"bpfMappedHolds", NULL, bpf_mapped_holds, NULL, NULL, NULL, napi_enumerable, NULL},
      {"bpfPutBatch", NULL, bpf_put_batch, NULL, NULL, NULL, napi_enumerable, NULL},
      {"bpfExpireFlows", NULL, bpf_expire_flows, NULL, NULL, NULL, napi_enumerable, NULL},
      {"bpfDeleteBatch", NULL, bpf_delete_batch, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions);
  return exports;
}

NAPI_MODULE(NODE_GYP_MODULE_NAME, initialise)
