/*
 * Entries of BPF maps by descriptor. The kernel reads and writes as many octets as the map's key and value have, whatever
 * the caller's buffers hold: so each function asks for the sizes first (one cheap call) and checks.
 */
#include "native.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* More than any batch is worth, less than what would take the address space. */
#define BATCH_BYTES_MAX (256u << 20)

bool map_info(int fd, struct bpf_map_info *info) {
  uint32_t size = sizeof *info;
  memset(info, 0, sizeof *info);
  return bpf_obj_get_info_by_fd(fd, info, &size) == 0;
}

bool read_octets(napi_env env, napi_value value, size_t length_wanted, void **out, size_t *length) {
  bool is_buffer = false;
  size_t found;
  if (napi_is_buffer(env, value, &is_buffer) != napi_ok || !is_buffer ||
      napi_get_buffer_info(env, value, out, &found) != napi_ok)
    return throw_type(env, "a Buffer is expected"), false;
  if (length_wanted != 0 && found != length_wanted)
    return throw_type(env, "the Buffer has not the length of the map's key or value"), false;
  if (length) *length = found;
  return true;
}

/* The map's sizes and the arguments; false with an exception pending. */
static bool open_call(napi_env env, napi_callback_info call, size_t wanted, napi_value *arguments, int *fd,
                      struct bpf_map_info *info, const char *usage) {
  size_t count = wanted;
  napi_get_cb_info(env, call, &count, arguments, NULL, NULL);
  if (count != wanted) return throw_type(env, usage), false;
  if (!read_int(env, arguments[0], fd)) return false;
  if (!map_info(*fd, info)) return throw_errno(env, errno, "bpf(BPF_OBJ_GET_INFO_BY_FD)", NULL), false;
  return true;
}

static napi_value boolean(napi_env env, bool value) {
  napi_value result;
  napi_get_boolean(env, value, &result);
  return result;
}

napi_value bpf_get(napi_env env, napi_callback_info call) {
  napi_value arguments[2], result;
  struct bpf_map_info info;
  int fd;
  void *key, *value;
  if (!open_call(env, call, 2, arguments, &fd, &info, "bpfGet(fd, key)")) return NULL;
  if (!read_octets(env, arguments[1], info.key_size, &key, NULL)) return NULL;
  if (napi_create_buffer(env, info.value_size, &value, &result) != napi_ok) return NULL;
  if (bpf_map_lookup_elem(fd, key, value) == 0) return result;
  if (errno != ENOENT) return throw_errno(env, errno, "bpf(BPF_MAP_LOOKUP_ELEM)", info.name), NULL;
  napi_get_null(env, &result);
  return result;
}

napi_value bpf_put(napi_env env, napi_callback_info call) {
  napi_value arguments[3];
  struct bpf_map_info info;
  int fd;
  void *key, *value;
  if (!open_call(env, call, 3, arguments, &fd, &info, "bpfPut(fd, key, value)")) return NULL;
  if (!read_octets(env, arguments[1], info.key_size, &key, NULL)) return NULL;
  if (!read_octets(env, arguments[2], info.value_size, &value, NULL)) return NULL;
  if (bpf_map_update_elem(fd, key, value, BPF_ANY) < 0)
    throw_errno(env, errno, "bpf(BPF_MAP_UPDATE_ELEM)", info.name);
  return NULL;
}

napi_value bpf_delete(napi_env env, napi_callback_info call) {
  napi_value arguments[2];
  struct bpf_map_info info;
  int fd;
  void *key;
  if (!open_call(env, call, 2, arguments, &fd, &info, "bpfDelete(fd, key)")) return NULL;
  if (!read_octets(env, arguments[1], info.key_size, &key, NULL)) return NULL;
  if (bpf_map_delete_elem(fd, key) == 0) return boolean(env, true);
  if (errno == ENOENT) return boolean(env, false);
  return throw_errno(env, errno, "bpf(BPF_MAP_DELETE_ELEM)", info.name), NULL;
}

int map_read_batch(int fd, const uint32_t *cursor, uint32_t *next, void *keys, void *values, uint32_t *count, bool *end) {
  uint32_t room = *count;
  uint32_t from = cursor ? *cursor : 0; /* the kernel writes the next before it has done with this one */
  int failed = bpf_map_lookup_batch(fd, cursor ? &from : NULL, next, keys, values, count, NULL) < 0 ? errno : 0;
  *end = failed == ENOENT;
  if (failed == ENOENT) return 0; /* `count` entries, and they were the last */
  if (failed == ENOSPC) *count = room; /* a bucket of the hash holds more than there is room for */
  return failed;
}

napi_value bpf_get_batch(napi_env env, napi_callback_info call) {
  napi_value arguments[3], result, value;
  napi_valuetype type;
  struct bpf_map_info info;
  int fd, count_max;
  void *cursor = NULL;
  if (!open_call(env, call, 3, arguments, &fd, &info, "bpfGetBatch(fd, cursor, countMax)")) return NULL;
  napi_typeof(env, arguments[1], &type);
  if (type != napi_null && !read_octets(env, arguments[1], sizeof(uint32_t), &cursor, NULL)) return NULL;
  if (!read_int(env, arguments[2], &count_max)) return NULL;
  uint64_t entry = (uint64_t)info.key_size + info.value_size;
  if (count_max <= 0 || (uint64_t)count_max * entry > BATCH_BYTES_MAX)
    return throw_type(env, "countMax: out of bounds"), NULL;

  uint32_t from = 0, next = 0, count, room = (uint32_t)count_max;
  if (cursor) memcpy(&from, cursor, sizeof from);
  char *keys = NULL, *values = NULL;
  bool end = false;
  int error;
  for (;;) { /* a hash gives whole buckets: one that does not fit is asked for again with more room */
    free(keys);
    free(values);
    keys = malloc((size_t)room * info.key_size);
    values = malloc((size_t)room * info.value_size);
    count = room;
    error = keys && values ? map_read_batch(fd, cursor ? &from : NULL, &next, keys, values, &count, &end) : ENOMEM;
    if (error != ENOSPC || (uint64_t)room * 2 * entry > BATCH_BYTES_MAX) break;
    room *= 2;
  }
  if (error) {
    throw_errno(env, error, "bpf(BPF_MAP_LOOKUP_BATCH)", info.name);
    result = NULL;
  } else {
    napi_create_object(env, &result);
    napi_create_buffer_copy(env, (size_t)count * info.key_size, keys, NULL, &value);
    napi_set_named_property(env, result, "keys", value);
    napi_create_buffer_copy(env, (size_t)count * info.value_size, values, NULL, &value);
    napi_set_named_property(env, result, "values", value);
    napi_create_uint32(env, count, &value);
    napi_set_named_property(env, result, "count", value);
    if (end)
      napi_get_null(env, &value);
    else
      napi_create_buffer_copy(env, sizeof next, &next, NULL, &value);
    napi_set_named_property(env, result, "cursor", value);
  }
  free(keys);
  free(values);
  return result;
}

/* Where value `index` of an array that is mapped begins: the kernel aligns values to 8 octets. */
static size_t stride_of(const struct bpf_map_info *info) { return ((size_t)info->value_size + 7) & ~(size_t)7; }

napi_value bpf_read_mapped(napi_env env, napi_callback_info call) {
  napi_value arguments[3], result;
  struct bpf_map_info info;
  int fd, first, count;
  void *values;
  if (!open_call(env, call, 3, arguments, &fd, &info, "bpfReadMapped(fd, first, count)")) return NULL;
  if (!read_int(env, arguments[1], &first) || !read_int(env, arguments[2], &count)) return NULL;
  if (first < 0 || count <= 0 || (uint64_t)first + (uint64_t)count > info.max_entries)
    return throw_type(env, "first, count: out of bounds"), NULL;
  size_t stride = stride_of(&info), page = (size_t)sysconf(_SC_PAGESIZE);
  size_t begin = (size_t)first * stride, from = begin / page * page, length = begin - from + (size_t)count * stride;
  const char *mapped = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, (off_t)from);
  if (mapped == MAP_FAILED) return throw_errno(env, errno, "mmap", info.name), NULL;
  if (napi_create_buffer(env, (size_t)count * info.value_size, &values, &result) != napi_ok)
    result = NULL;
  else if (stride == info.value_size)
    memcpy(values, mapped + (begin - from), (size_t)count * stride);
  else
    for (size_t i = 0; i < (size_t)count; i++)
      memcpy((char *)values + i * info.value_size, mapped + (begin - from) + i * stride, info.value_size);
  munmap((void *)mapped, length);
  return result;
}

static bool holds_values(const char *mapped, const char *values, size_t count, uint32_t size, size_t stride) {
  if (stride == size) return memcmp(mapped, values, count * stride) == 0;
  for (size_t i = 0; i < count; i++)
    if (memcmp(mapped + i * stride, values + i * size, size) != 0) return false;
  return true;
}

static bool is_zero(const char *octets, size_t length) {
  return length == 0 || (octets[0] == 0 && memcmp(octets, octets + 1, length - 1) == 0);
}

napi_value bpf_mapped_holds(napi_env env, napi_callback_info call) {
  napi_value arguments[3], result;
  struct bpf_map_info info;
  int fd, zeros;
  void *values;
  size_t octets;
  if (!open_call(env, call, 3, arguments, &fd, &info, "bpfMappedHolds(fd, values, zeros)")) return NULL;
  if (!read_octets(env, arguments[1], 0, &values, &octets) || !read_int(env, arguments[2], &zeros)) return NULL;
  size_t count = octets / info.value_size, stride = stride_of(&info);
  if (octets % info.value_size != 0 || zeros < 0 || count + (size_t)zeros == 0 || count + (uint64_t)zeros > info.max_entries)
    return throw_type(env, "values, zeros: out of bounds"), NULL;
  size_t length = (count + (size_t)zeros) * stride;
  const char *mapped = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) return throw_errno(env, errno, "mmap", info.name), NULL;
  bool holds = holds_values(mapped, values, count, info.value_size, stride) &&
               is_zero(mapped + count * stride, (size_t)zeros * stride);
  munmap((void *)mapped, length);
  napi_get_boolean(env, holds, &result);
  return result;
}

/* The octets of `count` keys or values in the Buffer; false with an exception pending. */
static bool read_many(napi_env env, napi_value value, int count, uint32_t bytes_each, void **out) {
  size_t length;
  if (!read_octets(env, value, 0, out, &length)) return false;
  if (count >= 0 && (uint64_t)count * bytes_each == length) return true;
  throw_type(env, "the Buffer has not the length of that many keys or values");
  return false;
}

napi_value bpf_put_batch(napi_env env, napi_callback_info call) {
  napi_value arguments[4];
  struct bpf_map_info info;
  int fd, count;
  void *keys, *values;
  if (!open_call(env, call, 4, arguments, &fd, &info, "bpfPutBatch(fd, keys, values, count)")) return NULL;
  if (!read_int(env, arguments[3], &count)) return NULL;
  if (!read_many(env, arguments[1], count, info.key_size, &keys)) return NULL;
  if (!read_many(env, arguments[2], count, info.value_size, &values)) return NULL;
  if (count == 0) return NULL;
  uint32_t done = (uint32_t)count;
  LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = BPF_ANY);
  if (bpf_map_update_batch(fd, keys, values, &done, &options) < 0)
    throw_errno(env, errno, "bpf(BPF_MAP_UPDATE_BATCH)", info.name);
  return NULL;
}

napi_value bpf_delete_batch(napi_env env, napi_callback_info call) {
  napi_value arguments[3], result;
  struct bpf_map_info info;
  int fd, count;
  void *keys;
  if (!open_call(env, call, 3, arguments, &fd, &info, "bpfDeleteBatch(fd, keys, count)")) return NULL;
  if (!read_int(env, arguments[2], &count)) return NULL;
  if (!read_many(env, arguments[1], count, info.key_size, &keys)) return NULL;
  uint32_t at = 0, total = (uint32_t)count, deleted = 0;
  while (at < total) {
    uint32_t done = total - at;
    int error = bpf_map_delete_batch(fd, (char *)keys + (size_t)at * info.key_size, &done, NULL) < 0 ? errno : 0;
    if (error != 0 && error != ENOENT)
      return throw_errno(env, error, "bpf(BPF_MAP_DELETE_BATCH)", info.name), NULL;
    deleted += done;
    at += done + (error == ENOENT); /* the kernel stops at the first that is not there */
  }
  napi_create_uint32(env, deleted, &result);
  return result;
}
