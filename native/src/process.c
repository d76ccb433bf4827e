/* The end of a process, which need not be a child: a pidfd is readable from then on (pidfd_open(2), Linux 5.3). */
#include "poll.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Told once, and then to be stopped by whoever was told: it stays readable. */
static void take_end(struct poll *poll) {
  napi_handle_scope scope;
  napi_value nothing;
  napi_open_handle_scope(poll->env, &scope);
  napi_get_null(poll->env, &nothing);
  uv_poll_stop(&poll->handle);
  deliver(poll, nothing, nothing);
  napi_close_handle_scope(poll->env, scope);
}

napi_value watch_process(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  int pid;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 2) return throw_type(env, "watchProcess(pid, onEnd)"), NULL;
  if (!read_int(env, arguments[0], &pid)) return NULL;
  /* glibc has a wrapper since 2.36 only. */
  int fd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) return throw_errno(env, errno, "pidfd_open", NULL), NULL;
  napi_value result = start_poll(env, fd, arguments[1], take_end, NULL, NULL);
  if (!result) close(fd);
  return result;
}
