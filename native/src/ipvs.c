/* IPVS's table of one namespace, all at once: netlink takes a dump for each virtual server, and /proc/net/ip_vs leaves out what
 * lies behind its first page where other namespaces have virtual servers, too. */
#include "native.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/ip_vs.h>

/* Of a virtual server that is found by mark, followed by its real servers. As ../native.d.ts has it. */
struct virtual_row {
  uint32_t mark, flags, timeout_s, reals;
  char scheduler[16];
};
struct real_row {
  uint32_t address; /* network order */
  uint32_t port, flags, weight;
};
_Static_assert(sizeof(struct virtual_row) == 32 && sizeof(struct real_row) == 16, "no padding");

struct table {
  char *octets;
  size_t length, room;
};

static bool append(struct table *table, const void *row, size_t length) {
  if (table->length + length > table->room) {
    size_t room = 2 * table->room + length;
    char *octets = realloc(table->octets, room);
    if (!octets) return false;
    table->octets = octets;
    table->room = room;
  }
  memcpy(table->octets + table->length, row, length);
  table->length += length;
  return true;
}

/* 0, or the errno. A virtual server that has gone meanwhile has no real servers. */
static int append_virtual(int fd, const struct ip_vs_service_entry *entry, struct table *table) {
  socklen_t length = sizeof(struct ip_vs_get_dests) + entry->num_dests * sizeof(struct ip_vs_dest_entry);
  struct ip_vs_get_dests *dests = calloc(1, length);
  if (!dests) return ENOMEM;
  dests->fwmark = entry->fwmark;
  dests->num_dests = entry->num_dests;
  int error = 0;
  if (getsockopt(fd, IPPROTO_IP, IP_VS_SO_GET_DESTS, dests, &length) < 0 && errno != ESRCH) error = errno;
  struct virtual_row row = {.mark = entry->fwmark, .flags = entry->flags, .timeout_s = entry->timeout};
  memcpy(row.scheduler, entry->sched_name, sizeof row.scheduler);
  /* Those of another family are counted and not told. */
  while (!error && row.reals < entry->num_dests && dests->entrytable[row.reals].addr != 0) row.reals++;
  if (!error && !append(table, &row, sizeof row)) error = ENOMEM;
  for (uint32_t i = 0; !error && i < row.reals; i++) {
    const struct ip_vs_dest_entry *dest = &dests->entrytable[i];
    struct real_row real = {dest->addr, ntohs(dest->port), dest->conn_flags, (uint32_t)dest->weight};
    if (!append(table, &real, sizeof real)) error = ENOMEM;
  }
  free(dests);
  return error;
}

static struct outcome read_table(int fd, struct table *table) {
  struct ip_vs_getinfo info = {0};
  struct ip_vs_get_services *services = NULL;
  socklen_t length = sizeof info;
  int error = getsockopt(fd, IPPROTO_IP, IP_VS_SO_GET_INFO, &info, &length) < 0 ? errno : 0;
  if (!error) {
    length = sizeof *services + info.num_services * sizeof(struct ip_vs_service_entry);
    services = calloc(1, length);
    if (!services) error = ENOMEM;
  }
  if (!error) {
    services->num_services = info.num_services;
    if (getsockopt(fd, IPPROTO_IP, IP_VS_SO_GET_SERVICES, services, &length) < 0) error = errno;
  }
  for (unsigned int i = 0; !error && i < info.num_services; i++)
    if (services->entrytable[i].fwmark != 0) error = append_virtual(fd, &services->entrytable[i], table);
  free(services);
  return (struct outcome){.fd = error ? -1 : 0, .error = error, .syscall = "getsockopt"};
}

static struct outcome open_socket(void *unused) {
  (void)unused;
  int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
  return fd < 0 ? failed("socket") : (struct outcome){.fd = fd};
}

napi_value open_ipvs(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value arguments[1];
  char netns[PATH_SIZE];
  bool own;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 1) return throw_type(env, "openIpvs(netnsPath)"), NULL;
  if (!read_path(env, arguments[0], netns, sizeof netns, &own)) return NULL;
  return finish(env, in_netns(own ? NULL : netns, open_socket, NULL), own ? "the host" : netns);
}

napi_value ipvs_table(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value arguments[1], result = NULL;
  int fd;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 1) return throw_type(env, "ipvsTable(socket)"), NULL;
  if (!read_int(env, arguments[0], &fd)) return NULL;
  struct table table = {0};
  struct outcome outcome = read_table(fd, &table);
  if (outcome.error) throw_errno(env, outcome.error, outcome.syscall, NULL);
  else napi_create_buffer_copy(env, table.length, table.octets, NULL, &result);
  free(table.octets);
  return result;
}
