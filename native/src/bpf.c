/*
 * BPF objects: loading them with their maps pinned, running a program on a packet, mounting bpffs. libbpf speaks through
 * one callback for the whole process; what it says is kept by thread, its end only, and becomes part of the error.
 */
#include "native.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* The last lines of what libbpf and the verifier said: where the reason stands. */
#define REPORT_SIZE 2048
static _Thread_local char report[REPORT_SIZE];

static int keep_report(enum libbpf_print_level level, const char *format, va_list arguments) {
  if (level != LIBBPF_WARN) return 0;
  char *text;
  int length = vasprintf(&text, format, arguments);
  if (length < 0) return 0;
  size_t held = strlen(report), added = (size_t)length;
  if (added >= REPORT_SIZE) {
    memcpy(report, text + added - (REPORT_SIZE - 1), REPORT_SIZE);
  } else {
    size_t kept = held + added < REPORT_SIZE ? held : REPORT_SIZE - 1 - added;
    memmove(report, report + held - kept, kept);
    memcpy(report + kept, text, added + 1);
  }
  free(text);
  return length;
}

/* An error of libbpf's with its report; a loader's callers read the message. */
static void throw_load(napi_env env, int error, const char *syscall, const char *what) {
  char detail[REPORT_SIZE + 512];
  size_t end = strlen(report);
  while (end > 0 && report[end - 1] == '\n') report[--end] = '\0';
  snprintf(detail, sizeof detail, "%.400s%s%s", what, end > 0 ? "\n" : "", report);
  throw_errno(env, error, syscall, detail);
}

/* mkdir -p; the parts that are there are left alone. */
static int make_directories(char *path) {
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    int made = mkdir(path, 0700);
    *slash = '/';
    if (made < 0 && errno != EEXIST) return -1;
  }
  return mkdir(path, 0700) < 0 && errno != EEXIST ? -1 : 0;
}

/*
 * Says how large a map shall be and where it is pinned. A map that is pinned keeps the capacity it has, so that a changed
 * default never loses what is in it; one of another kind is not ours to replace. False with an exception pending.
 */
static bool prepare_map(napi_env env, struct bpf_map *map, const char *pin_directory, napi_value capacities, bool *reused) {
  const char *name = bpf_map__name(map);
  char path[PATH_SIZE + 64], detail[PATH_SIZE];
  bool given;
  napi_value value;
  if (napi_has_named_property(env, capacities, name, &given) == napi_ok && given) {
    uint32_t capacity;
    napi_get_named_property(env, capacities, name, &value);
    if (napi_get_value_uint32(env, value, &capacity) != napi_ok || capacity == 0)
      return throw_type(env, "a capacity is a positive number"), false;
    bpf_map__set_max_entries(map, capacity);
  }

  snprintf(path, sizeof path, "%s/%s", pin_directory, name);
  int fd = bpf_obj_get(path);
  *reused = fd >= 0;
  if (fd < 0 && errno != ENOENT) return throw_errno(env, errno, "bpf(BPF_OBJ_GET)", path), false;
  if (fd >= 0) {
    struct bpf_map_info info = {0};
    uint32_t size = sizeof info;
    int error = bpf_obj_get_info_by_fd(fd, &info, &size) < 0 ? errno : 0;
    close(fd);
    if (error) return throw_errno(env, error, "bpf(BPF_OBJ_GET_INFO_BY_FD)", path), false;
    if (info.type != bpf_map__type(map) || info.key_size != bpf_map__key_size(map) ||
        info.value_size != bpf_map__value_size(map) || info.map_flags != bpf_map__map_flags(map)) {
      snprintf(detail, sizeof detail,
               "%.2000s is a map of another layout: type %u, key %u, value %u, flags %#x; wanted type %u, key %u, value %u, flags %#x",
               path, info.type, info.key_size, info.value_size, info.map_flags, bpf_map__type(map),
               bpf_map__key_size(map), bpf_map__value_size(map), bpf_map__map_flags(map));
      return throw_errno(env, EEXIST, "bpf(BPF_OBJ_GET)", detail), false;
    }
    bpf_map__set_max_entries(map, info.max_entries);
  }
  int error = bpf_map__set_pin_path(map, path);
  if (error < 0) return throw_errno(env, -error, "bpf_map__set_pin_path", path), false;
  return true;
}

static void set_number(napi_env env, napi_value object, const char *name, double number) {
  napi_value value;
  napi_create_double(env, number, &value);
  napi_set_named_property(env, object, name, value);
}

/* Gives a descriptor of our own, for the object's go with it; counted in `fds` to be closed if a later one fails. */
static bool keep_descriptor(napi_env env, napi_value result, int fd, int *fds, size_t *count) {
  int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (own < 0) return throw_errno(env, errno, "fcntl", NULL), false;
  fds[(*count)++] = own;
  set_number(env, result, "fd", own);
  return true;
}

static bool describe_program(napi_env env, struct bpf_program *program, napi_value programs, int *fds, size_t *count) {
  struct bpf_prog_info info = {0};
  uint32_t size = sizeof info;
  char tag[2 * BPF_TAG_SIZE + 1];
  napi_value result, value;
  if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size) < 0)
    return throw_errno(env, errno, "bpf(BPF_OBJ_GET_INFO_BY_FD)", bpf_program__name(program)), false;
  for (size_t i = 0; i < BPF_TAG_SIZE; i++) snprintf(tag + 2 * i, 3, "%02x", info.tag[i]);
  napi_create_object(env, &result);
  if (!keep_descriptor(env, result, bpf_program__fd(program), fds, count)) return false;
  napi_create_string_utf8(env, tag, NAPI_AUTO_LENGTH, &value);
  napi_set_named_property(env, result, "tag", value);
  set_number(env, result, "id", info.id);
  napi_set_named_property(env, programs, bpf_program__name(program), result);
  return true;
}

/* The object's own maps of constants and globals have names with a dot; they go with the programs and are nobody's to read. */
static bool is_ours(const struct bpf_map *map) { return !bpf_map__is_internal(map); }

static napi_value describe(napi_env env, struct bpf_object *object, const bool *reused) {
  napi_value result, maps, programs;
  struct bpf_map *map;
  struct bpf_program *program;
  size_t total = 0, count = 0, index = 0;
  bool good = true;
  bpf_object__for_each_map(map, object) total++;
  bpf_object__for_each_program(program, object) total++;
  int *fds = calloc(total + 1, sizeof *fds);
  if (!fds) return throw_errno(env, ENOMEM, "bpfLoad", NULL), NULL;
  napi_create_object(env, &result);
  napi_create_object(env, &maps);
  napi_create_object(env, &programs);
  bpf_object__for_each_map(map, object) {
    size_t at = index++;
    napi_value entry, flag;
    if (!is_ours(map)) continue;
    napi_create_object(env, &entry);
    good = keep_descriptor(env, entry, bpf_map__fd(map), fds, &count);
    if (!good) break;
    set_number(env, entry, "type", bpf_map__type(map));
    set_number(env, entry, "flags", bpf_map__map_flags(map));
    set_number(env, entry, "keyBytes", bpf_map__key_size(map));
    set_number(env, entry, "valueBytes", bpf_map__value_size(map));
    set_number(env, entry, "entriesMax", bpf_map__max_entries(map));
    napi_get_boolean(env, reused[at], &flag);
    napi_set_named_property(env, entry, "reused", flag);
    napi_set_named_property(env, maps, bpf_map__name(map), entry);
  }
  if (good)
    bpf_object__for_each_program(program, object) {
      good = describe_program(env, program, programs, fds, &count);
      if (!good) break;
    }
  if (!good)
    while (count > 0) close(fds[--count]);
  free(fds);
  if (!good) return NULL;
  napi_set_named_property(env, result, "maps", maps);
  napi_set_named_property(env, result, "programs", programs);
  return result;
}

napi_value bpf_load(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3], result = NULL;
  char object_path[PATH_SIZE], pin_directory[PATH_SIZE];
  napi_valuetype type;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 3) return throw_type(env, "bpfLoad(objectPath, pinDirectory, capacities)"), NULL;
  if (!read_path(env, arguments[0], object_path, sizeof object_path, NULL)) return NULL;
  if (!read_path(env, arguments[1], pin_directory, sizeof pin_directory, NULL)) return NULL;
  napi_typeof(env, arguments[2], &type);
  if (type != napi_object) return throw_type(env, "capacities: an object is expected"), NULL;

  report[0] = '\0';
  libbpf_set_print(keep_report);
  if (make_directories(pin_directory) < 0) return throw_errno(env, errno, "mkdir", pin_directory), NULL;
  struct bpf_object *object = bpf_object__open_file(object_path, NULL);
  if (!object) return throw_load(env, errno, "bpf_object__open_file", object_path), NULL;

  struct bpf_map *map;
  size_t maps = 0, index = 0;
  bpf_object__for_each_map(map, object) maps++;
  bool *reused = calloc(maps + 1, sizeof *reused);
  bool good = reused != NULL;
  if (!good) throw_errno(env, ENOMEM, "bpfLoad", NULL);
  if (good)
    bpf_object__for_each_map(map, object) {
      size_t at = index++;
      if (is_ours(map)) good = prepare_map(env, map, pin_directory, arguments[2], &reused[at]);
      if (!good) break;
    }
  if (good) {
    int error = bpf_object__load(object);
    if (error < 0)
      throw_load(env, -error, "bpf_object__load", object_path);
    else
      result = describe(env, object, reused);
  }
  free(reused);
  bpf_object__close(object); /* the pins and our descriptors keep what was made */
  return result;
}

napi_value bpf_test_run(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3], value, result;
  int fd;
  void *packet;
  size_t length;
  napi_valuetype type;
  static const char *const names[] = {"mark", "priority", "ingressIfindex", "ifindex", "gsoBytes", "gsoSegments"};
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 3) return throw_type(env, "bpfTestRun(programFd, packet, context)"), NULL;
  if (!read_int(env, arguments[0], &fd)) return NULL;
  if (!read_octets(env, arguments[1], 0, &packet, &length)) return NULL;
  napi_typeof(env, arguments[2], &type);
  if (type != napi_object) return throw_type(env, "context: an object is expected"), NULL;

  struct __sk_buff before = {0}, after = {0};
  uint32_t *const fields[] = {&before.mark, &before.priority, &before.ingress_ifindex, &before.ifindex, &before.gso_size, &before.gso_segs};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    bool given;
    if (napi_has_named_property(env, arguments[2], names[i], &given) != napi_ok || !given) continue;
    napi_get_named_property(env, arguments[2], names[i], &value);
    if (napi_get_value_uint32(env, value, fields[i]) != napi_ok) return throw_type(env, "a number is expected"), NULL;
  }
  /* Room for what a program puts in front; the kernel says ENOSPC if that is not enough. */
  size_t room = length + 1024;
  uint8_t *out = malloc(room);
  if (!out) return throw_errno(env, ENOMEM, "bpfTestRun", NULL), NULL;
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = (uint32_t)length, .data_out = out,
              .data_size_out = (uint32_t)room, .ctx_in = &before, .ctx_size_in = sizeof before, .ctx_out = &after,
              .ctx_size_out = sizeof after, .repeat = 1);
  if (bpf_prog_test_run_opts(fd, &options) < 0) {
    int error = errno;
    free(out);
    return throw_errno(env, error, "bpf(BPF_PROG_TEST_RUN)", NULL), NULL;
  }
  napi_create_object(env, &result);
  set_number(env, result, "result", (int32_t)options.retval);
  set_number(env, result, "mark", after.mark);
  set_number(env, result, "ifindex", after.ifindex);
  set_number(env, result, "durationNs", options.duration);
  napi_create_buffer_copy(env, options.data_size_out, out, NULL, &value);
  napi_set_named_property(env, result, "packet", value);
  free(out);
  return result;
}

napi_value mount_bpffs(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value arguments[1], result;
  char path[PATH_SIZE];
  struct statfs about;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 1) return throw_type(env, "mountBpffs(path)"), NULL;
  if (!read_path(env, arguments[0], path, sizeof path, NULL)) return NULL;
  if (statfs(path, &about) < 0) return throw_errno(env, errno, "statfs", path), NULL;
  bool mounted = about.f_type != BPF_FS_MAGIC;
  if (mounted && mount("bpf", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
    return throw_errno(env, errno, "mount", path), NULL;
  napi_get_boolean(env, mounted, &result);
  return result;
}
