/* What the addon's files share. The surface and its promises are in ../native.d.ts, the reasons in ../README.md. */
#ifndef SKEP_NATIVE_H
#define SKEP_NATIVE_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>

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

/* netns.c: runs `work` on a thread of its own inside the namespace at `netns_path` (NULL: the caller's). */
struct outcome in_netns(const char *netns_path, struct outcome (*work)(void *), void *argument);

napi_value create_netns(napi_env env, napi_callback_info info);
napi_value delete_netns(napi_env env, napi_callback_info info);
napi_value open_in_netns(napi_env env, napi_callback_info info);
napi_value open_netns(napi_env env, napi_callback_info info);

/* sockets.c */
napi_value open_netlink(napi_env env, napi_callback_info info);
napi_value bind_in_netns(napi_env env, napi_callback_info info);
napi_value send_datagram(napi_env env, napi_callback_info info);

/* poll.c */
napi_value poll_descriptor(napi_env env, napi_callback_info info);

/* The descriptor as a JS number, or the outcome's error thrown. */
napi_value finish(napi_env env, struct outcome outcome, const char *detail);

#define PATH_SIZE 4096

#endif
