/* What the addon's files share. The surface and its promises are in ../native.d.ts, the reasons in ../README.md. */
#ifndef SKEP_NATIVE_H
#define SKEP_NATIVE_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How an operation ended: a descriptor (or 0), or the errno with the call that set it. */
struct outcome {
  int fd;
  int error;
  const char *syscall;
};

/* errors.c */
struct outcome failed(const char *syscall);         /* from errno, at once */
void throw_errno(napi_env env, int error, const char *syscall, const char *detail);
napi_value errno_error(napi_env env, int error, const char *syscall, const char *detail);
void throw_type(napi_env env, const char *message);

/* Argument readers: false with an exception pending when the value is of another type. */
bool read_int(napi_env env, napi_value value, int *out);
bool read_path(napi_env env, napi_value value, char *out, size_t size, bool *is_null); /* is_null may be NULL */

/* bpf-maps.c: the octets of a Buffer, of that length unless it is 0; `length` may be NULL. */
bool read_octets(napi_env env, napi_value value, size_t length_wanted, void **out, size_t *length);

/* netns.c: runs `work` on a thread of its own inside the namespace at `netns_path` (NULL: the caller's). */
struct outcome in_netns(const char *netns_path, struct outcome (*work)(void *), void *argument);

napi_value create_netns(napi_env env, napi_callback_info info);
napi_value delete_netns(napi_env env, napi_callback_info info);
napi_value open_in_netns(napi_env env, napi_callback_info info);
napi_value open_netns(napi_env env, napi_callback_info info);

/* sockets.c */
napi_value open_netlink(napi_env env, napi_callback_info info);
napi_value bind_in_netns(napi_env env, napi_callback_info info);
napi_value open_raw(napi_env env, napi_callback_info info);
napi_value open_packet_sender(napi_env env, napi_callback_info info);
napi_value open_packet(napi_env env, napi_callback_info info);
napi_value send_datagram(napi_env env, napi_callback_info info);

/* firewall.c */
napi_value open_firewall(napi_env env, napi_callback_info info);
napi_value firewall_digest(napi_env env, napi_callback_info info);

/* ipvs.c */
napi_value open_ipvs(napi_env env, napi_callback_info info);
napi_value ipvs_table(napi_env env, napi_callback_info info);

/* tool.c */
napi_value start_tool(napi_env env, napi_callback_info info);
napi_value tool_status(napi_env env, napi_callback_info info);

/* poll.c */
napi_value poll_descriptor(napi_env env, napi_callback_info info);

/* process.c */
napi_value watch_process(napi_env env, napi_callback_info info);

/* datagrams.c */
napi_value answer_datagrams(napi_env env, napi_callback_info info);

/* bpf.c */
napi_value bpf_load(napi_env env, napi_callback_info info);
napi_value bpf_test_run(napi_env env, napi_callback_info info);
napi_value mount_bpffs(napi_env env, napi_callback_info info);

/* bpf-maps.c */
struct bpf_map_info;
napi_value bpf_get(napi_env env, napi_callback_info info);
napi_value bpf_put(napi_env env, napi_callback_info info);
napi_value bpf_delete(napi_env env, napi_callback_info info);
napi_value bpf_get_batch(napi_env env, napi_callback_info info);
napi_value bpf_read_mapped(napi_env env, napi_callback_info info);
napi_value bpf_mapped_holds(napi_env env, napi_callback_info info);
napi_value bpf_put_batch(napi_env env, napi_callback_info info);
napi_value bpf_delete_batch(napi_env env, napi_callback_info info);
/* Type and sizes of a map's descriptor; false with errno set. */
bool map_info(int fd, struct bpf_map_info *info);
/*
 * The next entries of a map, at most `*count`, which becomes how many they are; `cursor` is NULL for the first ones, `next`
 * that of the following; `end`: there are no more. Gives 0 or the errno. ENOSPC: a bucket of a hash has more than `*count`.
 */
int map_read_batch(int fd, const uint32_t *cursor, uint32_t *next, void *keys, void *values, uint32_t *count, bool *end);

/* flows.c */
napi_value bpf_expire_flows(napi_env env, napi_callback_info info);

/* The descriptor as a JS number, or the outcome's error thrown. */
napi_value finish(napi_env env, struct outcome outcome, const char *detail);

#define PATH_SIZE 4096

#endif
