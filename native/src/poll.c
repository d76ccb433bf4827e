/*
 * Datagrams of a descriptor, delivered on Node's thread. Ownership: from the moment poll() returns, the descriptor is
 * the poll's; stop(), or the end of the environment, closes it exactly once. The struct lives until both libuv has
 * closed its handle and JS has dropped the stop function.
 */
#include "poll.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel cuts dumps into datagrams of at most 32 KiB; a single larger message is reported as EMSGSIZE. */
#define DATAGRAM_BYTES_MAX (128 * 1024)
/* Datagrams per wake-up, so that a flood of notifications cannot keep the event loop from everything else. */
#define DATAGRAMS_PER_TURN 64

static void release(struct poll *poll) {
  if (--poll->holders > 0) return;
  free(poll->rest);
  free(poll);
}

static void on_closed(uv_handle_t *handle) {
  struct poll *poll = handle->data;
  napi_remove_async_cleanup_hook(poll->cleanup);
  release(poll);
}

static void stop(struct poll *poll) {
  if (poll->stopped) return;
  poll->stopped = true;
  uv_poll_stop(&poll->handle);
  uv_close((uv_handle_t *)&poll->handle, on_closed);
  close(poll->fd); /* libuv allows it once polling has stopped */
  napi_delete_reference(poll->env, poll->callback);
  for (int i = 0; i < POLL_KEPT_MAX; i++)
    if (poll->kept[i]) napi_delete_reference(poll->env, poll->kept[i]);
  napi_async_destroy(poll->env, poll->context);
}

static void on_environment_end(napi_async_cleanup_hook_handle handle, void *data) {
  (void)handle;
  stop(data);
}

bool deliver(struct poll *poll, napi_value first, napi_value error) {
  napi_value callback, receiver, arguments[2] = {first, error}, exception;
  napi_get_reference_value(poll->env, poll->callback, &callback);
  napi_get_global(poll->env, &receiver);
  napi_status status = napi_make_callback(poll->env, poll->context, receiver, callback, 2, arguments, NULL);
  if (status == napi_pending_exception && napi_get_and_clear_last_exception(poll->env, &exception) == napi_ok)
    napi_fatal_exception(poll->env, exception); /* as an exception in any other event handler */
  return status == napi_ok;
}

/* Receives one datagram; false when there is none to be had now. */
static bool receive(struct poll *poll, char *buffer) {
  struct iovec space = {.iov_base = buffer, .iov_len = DATAGRAM_BYTES_MAX};
  struct msghdr message = {.msg_iov = &space, .msg_iovlen = 1};
  ssize_t length = recvmsg(poll->fd, &message, MSG_DONTWAIT);
  int error = length < 0 ? errno : (message.msg_flags & MSG_TRUNC) ? EMSGSIZE : 0;
  if (error == EINTR) return true;
  if (error == ENOBUFS) {
    /* Told at once, but the kernel goes on dropping, and says so no more, until all that waits was taken (netlink_rcv_wake). */
    poll->lost = true;
    return true;
  }
  bool none = error == EAGAIN || error == EWOULDBLOCK;
  if (none && !poll->lost) return false;
  if (none) {
    poll->lost = false;
    error = ENOBUFS;
  }

  napi_handle_scope scope;
  napi_value datagram, failure;
  napi_open_handle_scope(poll->env, &scope);
  napi_get_null(poll->env, &datagram);
  napi_get_null(poll->env, &failure);
  if (error)
    failure = errno_error(poll->env, error, "recvmsg", NULL);
  else
    napi_create_buffer_copy(poll->env, (size_t)length, buffer, NULL, &datagram);
  deliver(poll, datagram, failure);
  napi_close_handle_scope(poll->env, scope);
  return true;
}

static void take_each(struct poll *poll) {
  /* One buffer for all polls: libuv calls back one at a time on a thread, and receive() copies. */
  static _Thread_local char buffer[DATAGRAM_BYTES_MAX];
  for (int i = 0; i < DATAGRAMS_PER_TURN && !poll->stopped; i++)
    if (!receive(poll, buffer)) return;
  /* Nobody would call again for what is only to be told. */
  char next;
  if (poll->lost && !poll->stopped && recv(poll->fd, &next, sizeof next, MSG_PEEK | MSG_DONTWAIT) < 0) receive(poll, buffer);
}

static void on_readable(uv_poll_t *handle, int status, int events) {
  struct poll *poll = handle->data;
  (void)events;
  poll->holders++; /* the callback may stop() */
  poll->take(poll);
  /* libuv no longer watches what was in an error state (uv__poll_io). That shows as recvmsg's errno, which ends it. */
  if (status < 0 && !poll->stopped) uv_poll_start(handle, UV_READABLE, on_readable);
  release(poll);
}

static napi_value stop_from_js(napi_env env, napi_callback_info info) {
  void *poll;
  napi_get_cb_info(env, info, NULL, NULL, NULL, &poll);
  stop(poll);
  return NULL;
}

static void on_stop_collected(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  release(data);
}

napi_value start_poll(napi_env env, int fd, napi_value callback, void (*take)(struct poll *), void *rest,
                      const napi_value kept[POLL_KEPT_MAX]) {
  napi_value result, stopper, name;
  napi_valuetype type;
  uv_loop_t *loop;
  napi_typeof(env, callback, &type);
  if (type != napi_function) return throw_type(env, "onReadable: a function is expected"), NULL;

  struct poll *poll = calloc(1, sizeof *poll);
  if (!poll) return throw_errno(env, ENOMEM, "poll", NULL), NULL;
  poll->env = env;
  poll->fd = fd;
  poll->holders = 2;
  poll->take = take;
  napi_get_uv_event_loop(env, &loop);
  int error = uv_poll_init(loop, &poll->handle, fd);
  if (error) {
    free(poll);
    return throw_errno(env, -error, "poll", NULL), NULL;
  }
  poll->rest = rest;
  poll->handle.data = poll;
  napi_create_reference(env, callback, 1, &poll->callback);
  for (int i = 0; kept && i < POLL_KEPT_MAX; i++) napi_create_reference(env, kept[i], 1, &poll->kept[i]);
  napi_create_string_utf8(env, "skep:poll", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, NULL, name, &poll->context);
  napi_add_async_cleanup_hook(env, on_environment_end, poll, &poll->cleanup);
  uv_poll_start(&poll->handle, UV_READABLE, on_readable);

  napi_create_object(env, &result);
  napi_create_function(env, "stop", NAPI_AUTO_LENGTH, stop_from_js, poll, &stopper);
  napi_add_finalizer(env, stopper, poll, on_stop_collected, NULL, NULL);
  napi_set_named_property(env, result, "stop", stopper);
  return result;
}

napi_value poll_descriptor(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  int fd;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 2) return throw_type(env, "poll(fd, onReadable)"), NULL;
  if (!read_int(env, arguments[0], &fd)) return NULL;
  return start_poll(env, fd, arguments[1], take_each, NULL, NULL);
}
