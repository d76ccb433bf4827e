/*
 * Expiry of flows, on libuv's pool: the kernel's maps have no clock of their own. One run walks both tiers, a chunk at a time,
 * and deletes what has been idle for longer than its state may be, what belongs to a real server that is gone, and reply
 * entries whose request is gone. Then it recounts skep_active.
 *
 * The programs work on the same entries meanwhile. So an entry is read again right before it is deleted; only a deletion that
 * the kernel accepted is counted, as in the programs; and skep_active is changed by atomic operations on the mapped map.
 * Costs: about a microsecond an entry, one look-up more for each reply entry that is idle.
 */
#include "native.h"

#include "../bpf/layout.h"
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_ENTRIES 8192
#define SECOND_NS 1000000000ull

enum timeout { TCP_ESTABLISHED, TCP_HALF_OPEN, TCP_CLOSED, UDP_ANSWERED, UDP_UNANSWERED, SCTP_ESTABLISHED, TIMEOUTS };
static const char *const timeout_names[TIMEOUTS] = {"tcpEstablishedS", "tcpHalfOpenS",   "tcpClosedS",
                                                    "udpAnsweredS",    "udpUnansweredS", "sctpEstablishedS"};
enum table { FLOWS, YOUNG_FLOWS, REAL_SERVERS, ACTIVE, TABLES };
static const char *const table_names[TABLES] = {"flows", "youngFlows", "realServers", "active"};
static const uint32_t value_bytes[TABLES] = {sizeof(struct flow), sizeof(struct flow), sizeof(struct real_server), sizeof(uint64_t)};

struct expiry {
  napi_async_work work;
  napi_deferred deferred;
  int tables[TABLES]; /* descriptors of our own: the caller may close his meanwhile */
  uint64_t timeouts_ns[TIMEOUTS], shortest_ns, now_ns;

  struct real_server *servers; /* as they were when the run began */
  uint32_t servers_max;
  uint64_t *active; /* mapped */
  uint64_t *active_before;
  uint32_t *found, *deleted; /* by real server: flows in skep_flows that stay, and those deleted there */

  uint64_t seen, expired, voided, orphaned, established, corrected;
  int error;
  const char *syscall;
};

static bool fail(struct expiry *expiry, const char *syscall) {
  expiry->error = errno;
  expiry->syscall = syscall;
  return false;
}

static uint64_t monotonic_ns(void) { /* the clock of bpf_ktime_get_ns */
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * SECOND_NS + (uint64_t)time.tv_nsec;
}

/* A VIP's flow keeps its ports, as in ../bpf/flows.h. */
static bool is_mesh(const struct flow *flow) { return flow->port != 0; }

/* A VIP's flow is closed when the client has sent its FIN: of the server's nothing is seen. */
static bool is_closed(const struct flow *flow) {
  uint32_t flags = flow->flags, fins = is_mesh(flow) ? FLOW_CLIENT_FIN | FLOW_SERVER_FIN : FLOW_CLIENT_FIN;
  return flags & FLOW_RESET || (flags & fins) == fins;
}

static enum timeout timeout_of(const struct flow_key *key, const struct flow *flow) {
  bool sctp = (key->scope & 0xff) == IPPROTO_SCTP;
  if (!sctp && (key->scope & 0xff) != IPPROTO_TCP) return flow->flags & FLOW_ANSWERED ? UDP_ANSWERED : UDP_UNANSWERED;
  if (is_closed(flow)) return TCP_CLOSED;
  if (!(flow->flags & (sctp ? FLOW_ESTABLISHED | FLOW_ANSWERED : FLOW_ESTABLISHED))) return TCP_HALF_OPEN;
  return sctp ? SCTP_ESTABLISHED : TCP_ESTABLISHED;
}

static uint64_t idle_ns(const struct expiry *expiry, const struct flow *flow) {
  return flow->seen_ns < expiry->now_ns ? expiry->now_ns - flow->seen_ns : 0;
}

static struct flow_key reply_key_of(const struct flow_key *key, const struct flow *flow) {
  return (struct flow_key){.source = flow->address,
                           .destination = flow->client ? flow->client : key->source,
                           .source_port = flow->port,
                           .destination_port = key->source_port,
                           .scope = key->scope};
}

static struct flow_key request_key_of(const struct flow_key *key, const struct flow *reply) {
  return (struct flow_key){.source = reply->client ? reply->client : key->destination,
                           .destination = reply->address,
                           .source_port = key->destination_port,
                           .destination_port = reply->port,
                           .scope = key->scope};
}

static bool find(const struct expiry *expiry, enum table tier, const struct flow_key *key, struct flow *flow) {
  return bpf_map_lookup_elem(expiry->tables[tier], key, flow) == 0;
}

static enum table other(enum table tier) { return tier == FLOWS ? YOUNG_FLOWS : FLOWS; }

static bool serves(const struct real_server *server, const struct flow *flow) {
  return server->virtual_server != 0 && server->generation == flow->generation;
}

/* Whether the flow's real server is gone. A look again at the map tells one that has come since the run began. */
static bool is_void(const struct expiry *expiry, const struct flow *flow) {
  if (flow->real_server >= expiry->servers_max) return true;
  if (serves(&expiry->servers[flow->real_server], flow)) return false;
  struct real_server now;
  return bpf_map_lookup_elem(expiry->tables[REAL_SERVERS], &flow->real_server, &now) < 0 || !serves(&now, flow);
}

/*
 * Both directions count: a server may go on sending datagrams to a client that says nothing. Both entries are in one tier; a
 * reply in the other one belongs to what the flow has become, and this is a copy left behind.
 */
static bool is_idle(const struct expiry *expiry, enum table tier, const struct flow_key *key, const struct flow *flow) {
  uint64_t limit_ns = expiry->timeouts_ns[timeout_of(key, flow)];
  struct flow reply;
  if (idle_ns(expiry, flow) <= limit_ns) return false;
  if (!is_mesh(flow)) return true;
  struct flow_key reply_key = reply_key_of(key, flow);
  return !find(expiry, tier, &reply_key, &reply) || idle_ns(expiry, &reply) > limit_ns;
}

/* Deletes a request's entry and, unless the flow has one in the other tier, its reply's. */
static bool delete_flow(struct expiry *expiry, enum table tier, const struct flow_key *key, const struct flow *flow) {
  struct flow ignored;
  if (bpf_map_delete_elem(expiry->tables[tier], key) < 0) return false;
  if (is_mesh(flow) && !find(expiry, other(tier), key, &ignored)) {
    struct flow_key reply_key = reply_key_of(key, flow);
    bpf_map_delete_elem(expiry->tables[FLOWS], &reply_key);
    bpf_map_delete_elem(expiry->tables[YOUNG_FLOWS], &reply_key);
  }
  return true;
}

static void visit_request(struct expiry *expiry, enum table tier, const struct flow_key *key, struct flow *flow) {
  bool gone = is_void(expiry, flow);
  if (gone || is_idle(expiry, tier, key, flow)) {
    if (!find(expiry, tier, key, flow)) return; /* moved or deleted since */
    gone = is_void(expiry, flow);
    if (gone || is_idle(expiry, tier, key, flow)) {
      if (!delete_flow(expiry, tier, key, flow)) return;
      *(gone ? &expiry->voided : &expiry->expired) += 1;
      if (tier == FLOWS && !gone) { /* those of a server that is gone are not in its successor's number */
        __atomic_fetch_sub(&expiry->active[flow->real_server], 1, __ATOMIC_RELAXED);
        expiry->deleted[flow->real_server]++;
      }
      return;
    }
  }
  if (tier == FLOWS) {
    expiry->established++;
    expiry->found[flow->real_server]++;
  }
}

static void visit_reply(struct expiry *expiry, enum table tier, const struct flow_key *key, struct flow *reply) {
  struct flow request;
  if (idle_ns(expiry, reply) <= expiry->shortest_ns) return; /* its request may be about to be written */
  struct flow_key request_key = request_key_of(key, reply);
  for (int i = 0; i < 2; i++, tier = other(tier))
    if (find(expiry, tier, &request_key, &request)) {
      struct flow_key reply_key = reply_key_of(&request_key, &request);
      if (memcmp(&reply_key, key, sizeof reply_key) == 0) return;
    }
  if (!find(expiry, tier, key, reply) || idle_ns(expiry, reply) <= expiry->shortest_ns) return;
  if (bpf_map_delete_elem(expiry->tables[tier], key) == 0) expiry->orphaned++;
}

typedef void visit(struct expiry *expiry, enum table tier, const struct flow_key *key, struct flow *flow);

static void expire(struct expiry *expiry, enum table tier, const struct flow_key *key, struct flow *flow) {
  expiry->seen++;
  (flow->flags & FLOW_REPLY ? visit_reply : visit_request)(expiry, tier, key, flow);
}

static void recount(struct expiry *expiry, enum table tier, const struct flow_key *key, struct flow *flow) {
  (void)tier;
  (void)key;
  if (!(flow->flags & FLOW_REPLY) && !is_void(expiry, flow)) expiry->found[flow->real_server]++;
}

static bool walk(struct expiry *expiry, enum table tier, visit *visitor) {
  struct flow_key *keys = NULL;
  struct flow *flows = NULL;
  uint32_t cursor, room = CHUNK_ENTRIES, count;
  bool end = false;
  for (bool first = true; !end && !expiry->error;) {
    if (!keys) keys = malloc(room * sizeof *keys);
    if (!flows) flows = malloc(room * sizeof *flows);
    count = room;
    errno = keys && flows ? map_read_batch(expiry->tables[tier], first ? NULL : &cursor, &cursor, keys, flows, &count, &end) : ENOMEM;
    if (errno == ENOSPC) { /* a bucket larger than a chunk */
      free(keys);
      free(flows);
      keys = NULL;
      flows = NULL;
      room *= 2;
    } else if (errno) {
      fail(expiry, "bpf(BPF_MAP_LOOKUP_BATCH)");
    } else {
      for (uint32_t i = 0; i < count; i++) visitor(expiry, tier, &keys[i], &flows[i]);
      first = false;
    }
  }
  free(keys);
  free(flows);
  return !expiry->error;
}

static bool read_servers(struct expiry *expiry) {
  uint32_t *indices = malloc(CHUNK_ENTRIES * sizeof *indices), cursor, count;
  bool end = false;
  if (!indices) return fail(expiry, "malloc");
  for (uint32_t at = 0; at < expiry->servers_max && !end; at += count) {
    count = expiry->servers_max - at < CHUNK_ENTRIES ? expiry->servers_max - at : CHUNK_ENTRIES;
    errno = map_read_batch(expiry->tables[REAL_SERVERS], at == 0 ? NULL : &cursor, &cursor, indices, expiry->servers + at, &count, &end);
    if (errno) {
      fail(expiry, "bpf(BPF_MAP_LOOKUP_BATCH)");
      break;
    }
  }
  free(indices);
  return !expiry->error;
}

/* Server by server: the number in the map differs from the entries found, and nobody has changed it while they were counted. */
static bool is_off(const struct expiry *expiry, uint32_t server) {
  uint64_t now = __atomic_load_n(&expiry->active[server], __ATOMIC_RELAXED);
  return now == expiry->active_before[server] - expiry->deleted[server] && now != expiry->found[server];
}

/*
 * Numbers that are off are counted a second time, for a flow that ended and one that began may look like it; what both
 * times show is put right. A server that is too busy for that is left for a later run.
 */
static bool correct_active(struct expiry *expiry) {
  uint64_t wrong = 0, *drift = calloc(expiry->servers_max, sizeof *drift);
  if (!drift) return fail(expiry, "malloc");
  for (uint32_t i = 0; i < expiry->servers_max; i++)
    if (is_off(expiry, i)) {
      drift[i] = expiry->found[i] - expiry->active[i]; /* modulo 2^64, as it is added */
      wrong++;
    }
  if (wrong > 0) {
    memset(expiry->found, 0, expiry->servers_max * sizeof *expiry->found);
    if (walk(expiry, FLOWS, recount))
      for (uint32_t i = 0; i < expiry->servers_max; i++)
        if (drift[i] != 0 && is_off(expiry, i) && expiry->found[i] - expiry->active[i] == drift[i]) {
          __atomic_fetch_add(&expiry->active[i], drift[i], __ATOMIC_RELAXED);
          expiry->corrected++;
        }
  }
  free(drift);
  return !expiry->error;
}

static void run(napi_env env, void *data) {
  (void)env;
  struct expiry *expiry = data;
  size_t mapped = (size_t)expiry->servers_max * sizeof *expiry->active;
  expiry->servers = calloc(expiry->servers_max, sizeof *expiry->servers);
  expiry->active_before = malloc(mapped);
  expiry->found = calloc(expiry->servers_max, sizeof *expiry->found);
  expiry->deleted = calloc(expiry->servers_max, sizeof *expiry->deleted);
  if (!expiry->servers || !expiry->active_before || !expiry->found || !expiry->deleted) {
    fail(expiry, "malloc");
    return;
  }
  expiry->active = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, expiry->tables[ACTIVE], 0);
  if (expiry->active == MAP_FAILED) {
    fail(expiry, "mmap");
    return;
  }
  memcpy(expiry->active_before, expiry->active, mapped);
  expiry->now_ns = monotonic_ns();
  if (read_servers(expiry) && walk(expiry, YOUNG_FLOWS, expire) && walk(expiry, FLOWS, expire)) correct_active(expiry);
  munmap(expiry->active, mapped);
}

static void release(struct expiry *expiry) {
  for (int i = 0; i < TABLES; i++)
    if (expiry->tables[i] >= 0) close(expiry->tables[i]);
  free(expiry->servers);
  free(expiry->active_before);
  free(expiry->found);
  free(expiry->deleted);
  free(expiry);
}

static void finish_run(napi_env env, napi_status status, void *data) {
  struct expiry *expiry = data;
  napi_value result, number;
  if (status != napi_ok && !expiry->error) {
    expiry->error = ECANCELED;
    expiry->syscall = "bpfExpireFlows";
  }
  if (expiry->error) {
    napi_reject_deferred(env, expiry->deferred, errno_error(env, expiry->error, expiry->syscall, NULL));
  } else {
    const struct {
      const char *name;
      uint64_t count;
    } counts[] = {{"seen", expiry->seen},         {"expired", expiry->expired},         {"voided", expiry->voided},
                  {"orphaned", expiry->orphaned}, {"established", expiry->established}, {"corrected", expiry->corrected}};
    napi_create_object(env, &result);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
      napi_create_double(env, (double)counts[i].count, &number);
      napi_set_named_property(env, result, counts[i].name, number);
    }
    napi_resolve_deferred(env, expiry->deferred, result);
  }
  napi_delete_async_work(env, expiry->work);
  release(expiry);
}

static bool read_member(napi_env env, napi_value object, const char *name, int *out) {
  napi_value value;
  return napi_get_named_property(env, object, name, &value) == napi_ok && read_int(env, value, out);
}

/* Takes descriptors of its own of the four maps, having looked whether they are what they shall be. */
static bool take_tables(napi_env env, napi_value object, struct expiry *expiry) {
  struct bpf_map_info info;
  for (int i = 0; i < TABLES; i++) {
    int fd;
    if (!read_member(env, object, table_names[i], &fd)) return false;
    if (!map_info(fd, &info)) return throw_errno(env, errno, "bpf(BPF_OBJ_GET_INFO_BY_FD)", table_names[i]), false;
    uint32_t key_bytes = i <= YOUNG_FLOWS ? sizeof(struct flow_key) : sizeof(uint32_t);
    if (info.key_size != key_bytes || info.value_size != value_bytes[i] ||
        (i >= REAL_SERVERS && (info.type != BPF_MAP_TYPE_ARRAY || (expiry->servers_max && info.max_entries != expiry->servers_max))))
      return throw_errno(env, EINVAL, "bpfExpireFlows", table_names[i]), false;
    if (i >= REAL_SERVERS) expiry->servers_max = info.max_entries;
    expiry->tables[i] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (expiry->tables[i] < 0) return throw_errno(env, errno, "fcntl", table_names[i]), false;
  }
  return true;
}

static bool take_timeouts(napi_env env, napi_value object, struct expiry *expiry) {
  expiry->shortest_ns = UINT64_MAX;
  for (int i = 0; i < TIMEOUTS; i++) {
    int seconds;
    if (!read_member(env, object, timeout_names[i], &seconds)) return false;
    if (seconds < 0) return throw_type(env, "a timeout is not negative"), false;
    expiry->timeouts_ns[i] = (uint64_t)seconds * SECOND_NS;
    if (expiry->timeouts_ns[i] < expiry->shortest_ns) expiry->shortest_ns = expiry->timeouts_ns[i];
  }
  return true;
}

napi_value bpf_expire_flows(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2], promise, name;
  napi_valuetype maps, timeouts;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 2) return throw_type(env, "bpfExpireFlows(fds, timeouts)"), NULL;
  napi_typeof(env, arguments[0], &maps);
  napi_typeof(env, arguments[1], &timeouts);
  if (maps != napi_object || timeouts != napi_object) return throw_type(env, "an object is expected"), NULL;
  struct expiry *expiry = calloc(1, sizeof *expiry);
  if (!expiry) return throw_errno(env, ENOMEM, "bpfExpireFlows", NULL), NULL;
  for (int i = 0; i < TABLES; i++) expiry->tables[i] = -1;
  if (!take_tables(env, arguments[0], expiry) || !take_timeouts(env, arguments[1], expiry)) {
    release(expiry);
    return NULL;
  }
  napi_create_promise(env, &expiry->deferred, &promise);
  napi_create_string_utf8(env, "skep:expire-flows", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, NULL, name, run, finish_run, expiry, &expiry->work);
  napi_queue_async_work(env, expiry->work);
  return promise;
}
