/* A digest of the packet filter of iptables-legacy, which tells nobody when it changes. */
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h> /* ahead of the kernel's, which then leaves out what both define */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

/* A table that changes between the question for its size and the reading is asked again this often. */
#define ATTEMPTS_MAX 8
/* The kernel has five: filter, mangle, nat, raw and security. */
#define TABLES_MAX 8
#define FNV_OFFSET 0xcbf29ce484222325ULL
#define FNV_PRIME 0x100000001b3ULL

static uint64_t fold(uint64_t digest, const void *octets, size_t length) {
  const unsigned char *octet = octets;
  for (size_t i = 0; i < length; i++) digest = (digest ^ octet[i]) * FNV_PRIME;
  return digest;
}

/* What the two families' packet filters are asked with. Their tables are alike but for what an entry begins with. */
struct filter {
  int domain, level, get_info, get_entries;
  const char *names;
  size_t entry_size, next_offset_at, counters_at;
};
static const struct filter filters[] = {
    {AF_INET, IPPROTO_IP, IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES, "/proc/thread-self/net/ip_tables_names",
     sizeof(struct ipt_entry), offsetof(struct ipt_entry, next_offset), offsetof(struct ipt_entry, counters)},
    {AF_INET6, IPPROTO_IPV6, IP6T_SO_GET_INFO, IP6T_SO_GET_ENTRIES, "/proc/thread-self/net/ip6_tables_names",
     sizeof(struct ip6t_entry), offsetof(struct ip6t_entry, next_offset), offsetof(struct ip6t_entry, counters)},
};
_Static_assert(sizeof(struct ipt_getinfo) == sizeof(struct ip6t_getinfo), "alike");
_Static_assert(sizeof(struct ipt_get_entries) == sizeof(struct ip6t_get_entries), "alike");

static bool read_family(napi_env env, napi_value value, int *family) {
  if (!read_int(env, value, family)) return false;
  if (*family == 4 || *family == 6) return true;
  throw_type(env, "family: 4 or 6");
  return false;
}

/* What a table is asked for, and the answer. */
struct question {
  const struct filter *filter;
  /* All rules; else how many there are, their octets, and where those of each hook begin and end. */
  bool whole;
  uint64_t digest;
};

/* One table without its counters. 0, or the errno. */
static int fold_table(int fd, const char *table, struct question *question) {
  const struct filter *filter = question->filter;
  for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    struct ipt_getinfo info = {0};
    socklen_t length = sizeof info;
    memcpy(info.name, table, strnlen(table, sizeof info.name - 1));
    if (getsockopt(fd, filter->level, filter->get_info, &info, &length) < 0) return errno;
    if (!question->whole) {
      question->digest = fold(question->digest, &info, sizeof info);
      return 0;
    }
    length = sizeof(struct ipt_get_entries) + info.size;
    struct ipt_get_entries *entries = calloc(1, length);
    if (!entries) return ENOMEM;
    strcpy(entries->name, info.name);
    entries->size = info.size;
    int error = getsockopt(fd, filter->level, filter->get_entries, entries, &length) < 0 ? errno : 0;
    for (unsigned int at = 0; !error && at + filter->entry_size <= info.size;) {
      char *entry = (char *)entries->entrytable + at;
      uint16_t next_offset;
      memcpy(&next_offset, entry + filter->next_offset_at, sizeof next_offset);
      if (next_offset < filter->entry_size || next_offset > info.size - at) break;
      memset(entry + filter->counters_at, 0, sizeof(struct xt_counters));
      question->digest = fold(question->digest, entry, next_offset);
      at += next_offset;
    }
    free(entries);
    if (error != EAGAIN) return error;
  }
  return EAGAIN;
}

/* What a namespace's filter is asked through, -1 where there is none: they stay good wherever the thread that asks is. */
struct reader {
  const struct filter *filter;
  int names, socket;
};

static struct outcome open_reader(void *argument) {
  struct reader *reader = argument;
  reader->names = open(reader->filter->names, O_RDONLY | O_CLOEXEC);
  if (reader->names < 0) return errno == ENOENT ? (struct outcome){0} : failed("open");
  reader->socket = socket(reader->filter->domain, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
  /* A kernel without the family has none of its tables. */
  if (reader->socket >= 0 || errno == EAFNOSUPPORT) return (struct outcome){0};
  struct outcome outcome = failed("socket");
  close(reader->names);
  return outcome;
}

/* Only tables that are there: asking for another would make it. */
static struct outcome digest_tables(const struct reader *reader, struct question *question) {
  char names[TABLES_MAX * XT_TABLE_MAXNAMELEN + 1];
  question->digest = FNV_OFFSET;
  /* The kernel lists them anew for whoever reads from the beginning. */
  ssize_t length = pread(reader->names, names, sizeof names - 1, 0);
  if (length < 0) return failed("pread");
  names[length] = 0;
  char *rest = names;
  for (char *table; (table = strtok_r(rest, "\n", &rest));) {
    question->digest = fold(question->digest, table, strlen(table));
    int error = fold_table(reader->socket, table, question);
    if (error) return (struct outcome){.fd = -1, .error = error, .syscall = "getsockopt"};
  }
  return (struct outcome){0};
}

napi_value open_firewall(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2], result, names, socket;
  char netns[PATH_SIZE];
  bool own;
  int family;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 2) return throw_type(env, "openFirewall(netnsPath, family)"), NULL;
  if (!read_path(env, arguments[0], netns, sizeof netns, &own)) return NULL;
  if (!read_family(env, arguments[1], &family)) return NULL;
  struct reader reader = {.filter = &filters[family == 6], .names = -1, .socket = -1};
  struct outcome outcome = in_netns(own ? NULL : netns, open_reader, &reader);
  if (outcome.error) return throw_errno(env, outcome.error, outcome.syscall, own ? "the host" : netns), NULL;
  napi_create_array_with_length(env, 2, &result);
  napi_create_int32(env, reader.names, &names);
  napi_create_int32(env, reader.socket, &socket);
  napi_set_element(env, result, 0, names);
  napi_set_element(env, result, 1, socket);
  return result;
}

napi_value firewall_digest(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value arguments[4], result;
  int family;
  struct reader reader;
  struct question question = {0};
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 4 || napi_get_value_bool(env, arguments[3], &question.whole) != napi_ok)
    return throw_type(env, "firewallDigest(names, socket, family, whole)"), NULL;
  if (!read_int(env, arguments[0], &reader.names) || !read_int(env, arguments[1], &reader.socket)) return NULL;
  if (!read_family(env, arguments[2], &family)) return NULL;
  reader.filter = question.filter = &filters[family == 6];
  struct outcome outcome = digest_tables(&reader, &question);
  if (outcome.error) return throw_errno(env, outcome.error, outcome.syscall, NULL), NULL;
  napi_create_bigint_uint64(env, question.digest, &result);
  return result;
}
