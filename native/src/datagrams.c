/*
 * Datagrams of a UDP socket and the answers to them, many in one call: recvmmsg(2), JS once for all of them, sendmmsg(2). They lie
 * in memory of JS that all sockets of a thread share, for libuv calls back one at a time; an answer lies where its question did.
 */
#include "poll.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

/* One call's, so that a socket that is never empty keeps the others of the thread waiting for no longer. */
#define DATAGRAMS_MAX 64

/* As many in one call are not of one who looks a name up: a resolver asks for a few at a time. */
#define MANY 8
/* For an asker on another processor to be woken and to ask again; half of it and half as much again gained less (docs/adr/0019). */
#define GATHER_NS 200000
#define NS_PER_S 1000000000L

/* What is passed of a sender: enough of either family, with the scope of an IPv6 address. */
#define PEER_BYTES sizeof(struct sockaddr_in6)

struct batch {
  char *octets;
  size_t room; /* octets of each */
  uint32_t *lengths;
  char *peers;
  uint32_t count;
  /* How many the last call took, and when those were answered. */
  uint32_t taken;
  struct timespec answered_at;
};

struct messages {
  struct mmsghdr headers[DATAGRAMS_MAX];
  struct iovec spaces[DATAGRAMS_MAX];
};

/* Sets message `at` to datagram `index` of the batch. */
static void set_message(struct messages *messages, uint32_t at, const struct batch *batch, uint32_t index, size_t length) {
  struct sockaddr *peer = (struct sockaddr *)(void *)(batch->peers + index * PEER_BYTES);
  messages->spaces[at] = (struct iovec){.iov_base = batch->octets + index * batch->room, .iov_len = length};
  messages->headers[at] =
      (struct mmsghdr){.msg_hdr = {.msg_name = peer, .msg_namelen = PEER_BYTES, .msg_iov = &messages->spaces[at], .msg_iovlen = 1}};
}

static void send_answers(int fd, struct messages *messages, const struct batch *batch, uint32_t received) {
  uint32_t answers = 0;
  for (uint32_t i = 0; i < received; i++)
    if (batch->lengths[i] > 0 && batch->lengths[i] <= batch->room)
      set_message(messages, answers++, batch, i, batch->lengths[i]);
  for (uint32_t done = 0; done < answers;) {
    int sent = sendmmsg(fd, messages->headers + done, answers - done, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    /* The error is of the first of them: it is lost, as networks lose datagrams, and the others are not. */
    done += sent > 0 ? (uint32_t)sent : 1;
  }
}

/*
 * Who has many questions under way asks as fast as he is answered, and is woken for every answer that comes alone, which takes more
 * of a processor than the answer does. So his next ones are given time to come, and all are answered together. Nobody else waits for
 * that: of one who asks a few at a time a call takes a few, and what lies longer than the pause while others had their turns
 * is taken at once.
 */
static void gather(const struct batch *batch) {
  if (batch->taken < MANY || batch->taken == batch->count) return;
  struct timespec until = batch->answered_at;
  until.tv_nsec += GATHER_NS;
  if (until.tv_nsec >= NS_PER_S) until = (struct timespec){until.tv_sec + 1, until.tv_nsec - NS_PER_S};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void take_many(struct poll *poll) {
  struct batch *batch = poll->rest;
  struct messages messages;
  int received;
  for (uint32_t i = 0; i < batch->count; i++) set_message(&messages, i, batch, i, batch->room);
  gather(batch);
  do received = recvmmsg(poll->fd, messages.headers, batch->count, MSG_DONTWAIT, NULL);
  while (received < 0 && errno == EINTR);
  batch->taken = received < 0 ? 0 : (uint32_t)received;
  if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
  int error = received < 0 ? errno : 0;
  for (int i = 0; i < received; i++) batch->lengths[i] = messages.headers[i].msg_len;

  napi_handle_scope scope;
  napi_value count, failure;
  napi_open_handle_scope(poll->env, &scope);
  napi_create_int32(poll->env, error ? 0 : received, &count);
  napi_get_null(poll->env, &failure);
  if (error) failure = errno_error(poll->env, error, "recvmmsg", NULL);
  bool answered = deliver(poll, count, failure);
  napi_close_handle_scope(poll->env, scope);
  if (answered && !error && !poll->stopped) send_answers(poll->fd, &messages, batch, (uint32_t)received);
  clock_gettime(CLOCK_MONOTONIC, &batch->answered_at);
}

/* The parts of a batch; false with an exception thrown unless each has room for the same number of datagrams. */
static bool read_batch(napi_env env, const napi_value parts[POLL_KEPT_MAX], struct batch *batch) {
  void *octets, *lengths, *peers;
  size_t octet_count, count, peer_bytes;
  napi_typedarray_type type;
  if (!read_octets(env, parts[0], 0, &octets, &octet_count)) return false;
  if (napi_get_typedarray_info(env, parts[1], &type, &count, &lengths, NULL, NULL) != napi_ok || type != napi_uint32_array)
    return throw_type(env, "lengths: a Uint32Array is expected"), false;
  if (!read_octets(env, parts[2], 0, &peers, &peer_bytes)) return false;
  if (count == 0 || count > DATAGRAMS_MAX || octet_count < count || octet_count % count || peer_bytes != count * PEER_BYTES)
    return throw_type(env, "room for 1 to 64 datagrams and as many senders is expected"), false;
  *batch = (struct batch){octets, octet_count / count, lengths, peers, (uint32_t)count, 0, {0}};
  return true;
}

napi_value answer_datagrams(napi_env env, napi_callback_info info) {
  size_t count = 5;
  napi_value arguments[5];
  int fd;
  struct batch read;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 5) return throw_type(env, "answerDatagrams(fd, octets, lengths, peers, onReadable)"), NULL;
  if (!read_int(env, arguments[0], &fd) || !read_batch(env, arguments + 1, &read)) return NULL;
  struct batch *batch = malloc(sizeof *batch);
  if (!batch) return throw_errno(env, ENOMEM, "answerDatagrams", NULL), NULL;
  *batch = read;
  napi_value result = start_poll(env, fd, arguments[4], take_many, batch, arguments + 1);
  if (!result) free(batch);
  return result;
}
