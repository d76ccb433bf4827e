/* A descriptor that is watched on Node's thread, and whoever receives from it. Its life is told in poll.c. */
#ifndef SKEP_POLL_H
#define SKEP_POLL_H

#include "native.h"

#include <uv.h>

#define POLL_KEPT_MAX 3

struct poll {
  uv_poll_t handle;
  napi_env env;
  napi_ref callback;
  napi_async_context context;
  napi_async_cleanup_hook_handle cleanup;
  int fd;
  int holders;
  bool stopped;
  bool lost; /* datagrams were, and JS is not told yet */
  /* Receives what there is, bounded; called with the poll held, which JS may stop meanwhile. */
  void (*take)(struct poll *poll);
  void *rest;                   /* the taker's own, freed with the poll; may be NULL */
  napi_ref kept[POLL_KEPT_MAX]; /* JS values that `rest` points into, until it is stopped */
};

/*
 * Watches `fd`, which is the poll's from now on. Gives `{ stop() }`, or NULL with an exception thrown: the descriptor and `rest` are
 * the caller's then.
 */
napi_value start_poll(napi_env env, int fd, napi_value callback, void (*take)(struct poll *), void *rest,
                      const napi_value kept[POLL_KEPT_MAX]);

/* Calls back; false when it threw, which is then an uncaught exception, or when nothing can be called any more. */
bool deliver(struct poll *poll, napi_value first, napi_value error);

#endif
