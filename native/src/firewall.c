/* A digest of the packet filter of iptables-legacy, which tells nobody when it changes. */
#include "native.h"

#include <errno.h>
#include <netinet/in.h> /* ahead of the kernel's, which then leaves out what both define */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

/* A table that changes between the question for its size and the reading is asked again this often. */
#define ATTEMPTS_MAX 8
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

/* Only tables that are there: asking for another would make it. */
static struct outcome digest_tables(void *argument) {
  struct question *question = argument;
  question->digest = FNV_OFFSET;
  FILE *names = fopen(question->filter->names, "re");
  if (!names) return errno == ENOENT ? (struct outcome){0} : failed("open");
  int fd = -1, error = 0;
  const char *syscall = "getsockopt";
  char table[XT_TABLE_MAXNAMELEN + 2];
  while (!error && fgets(table, sizeof table, names)) {
    table[strcspn(table, "\n")] = 0;
    if (fd < 0 && (fd = socket(question->filter->domain, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)) < 0) {
      error = errno;
      syscall = "socket";
      break;
    }
    question->digest = fold(question->digest, table, strlen(table));
    error = fold_table(fd, table, question);
  }
  if (fd >= 0) close(fd);
  fclose(names);
  return (struct outcome){.fd = error ? -1 : 0, .error = error, .syscall = syscall};
}

napi_value firewall_digest(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3], result;
  char netns[PATH_SIZE];
  bool own;
  int family;
  struct question question = {0};
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 3 || napi_get_value_bool(env, arguments[2], &question.whole) != napi_ok)
    return throw_type(env, "firewallDigest(netnsPath, family, whole)"), NULL;
  if (!read_path(env, arguments[0], netns, sizeof netns, &own)) return NULL;
  if (!read_int(env, arguments[1], &family)) return NULL;
  if (family != 4 && family != 6) return throw_type(env, "family: 4 or 6"), NULL;
  question.filter = &filters[family == 6];
  struct outcome outcome = in_netns(own ? NULL : netns, digest_tables, &question);
  if (outcome.error) return throw_errno(env, outcome.error, outcome.syscall, own ? "the host" : netns), NULL;
  napi_create_bigint_uint64(env, question.digest, &result);
  return result;
}
