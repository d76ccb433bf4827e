/*
 * Network namespaces. A namespace belongs to a thread: Node's own thread and libuv's pool must never change theirs,
 * so every switch happens on a thread that does one thing and ends.
 */
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/nsfs.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

struct errand {
  const char *netns_path;
  struct outcome (*work)(void *);
  void *argument;
  struct outcome outcome;
};

static struct outcome open_namespace(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return failed("open");
  /* The file without its mount (creation cut short, or removed under us) is an ordinary file: say so here. */
  int type = ioctl(fd, NS_GET_NSTYPE);
  if (type != CLONE_NEWNET) {
    close(fd);
    return (struct outcome){.fd = -1, .error = EINVAL, .syscall = "setns"};
  }
  return (struct outcome){.fd = fd};
}

static void *run_errand(void *pointer) {
  struct errand *errand = pointer;
  if (errand->netns_path) {
    struct outcome namespace = open_namespace(errand->netns_path);
    if (namespace.error) {
      errand->outcome = namespace;
      return NULL;
    }
    if (setns(namespace.fd, CLONE_NEWNET) < 0) {
      errand->outcome = failed("setns");
      close(namespace.fd);
      return NULL;
    }
    close(namespace.fd);
  }
  errand->outcome = errand->work(errand->argument);
  return NULL;
}

struct outcome in_netns(const char *netns_path, struct outcome (*work)(void *), void *argument) {
  struct errand errand = {.netns_path = netns_path, .work = work, .argument = argument};
  pthread_t thread;
  int error = pthread_create(&thread, NULL, run_errand, &errand);
  if (error) return (struct outcome){.fd = -1, .error = error, .syscall = "pthread_create"};
  pthread_join(thread, NULL);
  return errand.outcome;
}

/*
 * `ip netns` makes /run/netns a shared mount the first time it is used, so that other mount namespaces see what comes
 * and goes. Whoever comes first must do it: a bind over the directory later would hide our mounts beneath it, and
 * unmounting the visible ones would then not free the namespaces.
 */
static struct outcome share_directory(const char *directory) {
  if (mkdir(directory, 0755) < 0 && errno != EEXIST) return failed("mkdir");
  if (strcmp(directory, "/run/netns") != 0 && strcmp(directory, "/var/run/netns") != 0) return (struct outcome){0};
  if (mount("", directory, "none", MS_SHARED | MS_REC, NULL) == 0) return (struct outcome){0};
  if (errno != EINVAL) return failed("mount");
  if (mount(directory, directory, "none", MS_BIND | MS_REC, NULL) < 0) return failed("mount");
  if (mount("", directory, "none", MS_SHARED | MS_REC, NULL) < 0) return failed("mount");
  return (struct outcome){0};
}

static struct outcome unshare_and_mount(void *argument) {
  const char *path = argument;
  if (unshare(CLONE_NEWNET) < 0) return failed("unshare");
  if (mount("/proc/thread-self/ns/net", path, "none", MS_BIND, NULL) < 0) return failed("mount");
  return (struct outcome){0};
}

napi_value create_netns(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value arguments[1];
  char path[PATH_SIZE], directory[PATH_SIZE];
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 1) return throw_type(env, "createNetns(path)"), NULL;
  if (!read_path(env, arguments[0], path, sizeof path, NULL)) return NULL;

  strcpy(directory, path);
  struct outcome outcome = share_directory(dirname(directory));
  if (!outcome.error) {
    int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
    if (fd < 0) {
      outcome = failed("open");
    } else {
      close(fd);
      outcome = in_netns(NULL, unshare_and_mount, path);
      if (outcome.error) unlink(path);
    }
  }
  if (outcome.error) throw_errno(env, outcome.error, outcome.syscall, path);
  return NULL;
}

napi_value delete_netns(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value arguments[1];
  char path[PATH_SIZE];
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 1) return throw_type(env, "deleteNetns(path)"), NULL;
  if (!read_path(env, arguments[0], path, sizeof path, NULL)) return NULL;

  /* EINVAL: a file that is no mount, left by a creation cut short. */
  if (umount2(path, MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT)
    throw_errno(env, errno, "umount2", path);
  else if (unlink(path) < 0 && errno != ENOENT)
    throw_errno(env, errno, "unlink", path);
  return NULL;
}

struct file {
  const char *path;
  int flags;
};

static struct outcome open_file(void *argument) {
  const struct file *file = argument;
  int fd = open(file->path, file->flags | O_CLOEXEC, 0644);
  return fd < 0 ? failed("open") : (struct outcome){.fd = fd};
}

napi_value open_in_netns(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  char netns[PATH_SIZE], path[PATH_SIZE];
  int flags;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 3) return throw_type(env, "openInNetns(netnsPath, path, flags)"), NULL;
  bool own;
  if (!read_path(env, arguments[0], netns, sizeof netns, &own)) return NULL;
  if (!read_path(env, arguments[1], path, sizeof path, NULL) || !read_int(env, arguments[2], &flags)) return NULL;
  struct file file = {.path = path, .flags = flags};
  struct outcome outcome = in_netns(own ? NULL : netns, open_file, &file);
  char detail[2 * PATH_SIZE + 8];
  snprintf(detail, sizeof detail, "%s in %s", path, own ? "the host" : netns);
  return finish(env, outcome, detail);
}

napi_value open_netns(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value arguments[1];
  char path[PATH_SIZE];
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 1) return throw_type(env, "openNetns(path)"), NULL;
  if (!read_path(env, arguments[0], path, sizeof path, NULL)) return NULL;
  return finish(env, open_namespace(path), path);
}
