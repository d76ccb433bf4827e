/*
 * Runs of tools. fork(2), by which Node starts a process, copies the page tables of all that the daemon holds, and its memory page by
 * page as it goes on: ten milliseconds of Node's thread with some hundred megabytes. posix_spawn(3) copies nothing, and
 * where it is called from a thread in another namespace, the tool runs in that.
 */
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX 64

extern char **environ;

struct tool {
  char *words[WORDS_MAX + 1];
  const void *input;
  size_t input_length;
  /* The reading ends. */
  int out, err;
};

static void close_pair(int pair[2]) {
  close(pair[0]);
  close(pair[1]);
}

/* A file in memory with the octets, read from its beginning. */
static struct outcome file_with(const char *octets, size_t length) {
  int fd = memfd_create("skep-tool", MFD_CLOEXEC);
  if (fd < 0) return failed("memfd_create");
  for (size_t at = 0; at < length;) {
    ssize_t written = pwrite(fd, octets + at, length - at, at);
    if (written < 0) {
      struct outcome outcome = failed("pwrite");
      close(fd);
      return outcome;
    }
    at += written;
  }
  return (struct outcome){.fd = fd};
}

/* With signals as for any program: Node ignores some. The outcome's fd is the process id. */
static struct outcome start(struct tool *tool, int in, int out, int err) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t all, none;
  sigfillset(&all);
  sigemptyset(&none);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  pid_t pid;
  int error = posix_spawnp(&pid, tool->words[0], &actions, &attributes, tool->words, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error) return (struct outcome){.fd = -1, .error = error, .syscall = "posix_spawn"};
  return (struct outcome){.fd = pid};
}

static struct outcome start_here(void *argument) {
  struct tool *tool = argument;
  struct outcome in = file_with(tool->input, tool->input_length);
  if (in.error) return in;
  int out[2], err[2];
  struct outcome outcome;
  if (pipe2(out, O_CLOEXEC) < 0) {
    outcome = failed("pipe2");
  } else if (pipe2(err, O_CLOEXEC) < 0) {
    outcome = failed("pipe2");
    close_pair(out);
  } else {
    outcome = start(tool, in.fd, out[1], err[1]);
    if (outcome.error) {
      close_pair(out);
      close_pair(err);
    } else {
      close(out[1]);
      close(err[1]);
      tool->out = out[0];
      tool->err = err[0];
    }
  }
  close(in.fd);
  return outcome;
}

/* False with an exception pending. What was read is the caller's to free. */
static bool read_words(napi_env env, napi_value list, struct tool *tool) {
  uint32_t count = 0;
  if (napi_get_array_length(env, list, &count) != napi_ok || count == 0 || count > WORDS_MAX)
    return throw_type(env, "a list of words is expected"), false;
  for (uint32_t i = 0; i < count; i++) {
    napi_value word;
    char text[PATH_SIZE];
    if (napi_get_element(env, list, i, &word) != napi_ok || !read_path(env, word, text, sizeof text, NULL))
      return false;
    tool->words[i] = strdup(text);
    if (!tool->words[i]) return throw_errno(env, ENOMEM, "strdup", NULL), false;
  }
  return true;
}

static void set_int(napi_env env, napi_value object, const char *name, int number) {
  napi_value value;
  if (napi_create_int32(env, number, &value) == napi_ok) napi_set_named_property(env, object, name, value);
}

napi_value start_tool(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3], result = NULL;
  char netns[PATH_SIZE];
  bool own;
  void *input;
  struct tool tool = {0};
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 3) return throw_type(env, "startTool(netnsPath, words, input)"), NULL;
  if (!read_path(env, arguments[0], netns, sizeof netns, &own)) return NULL;
  if (!read_octets(env, arguments[2], 0, &input, &tool.input_length)) return NULL;
  tool.input = input;
  if (read_words(env, arguments[1], &tool)) {
    struct outcome outcome = in_netns(own ? NULL : netns, start_here, &tool);
    if (outcome.error) {
      throw_errno(env, outcome.error, outcome.syscall, tool.words[0]);
    } else if (napi_create_object(env, &result) == napi_ok) {
      set_int(env, result, "pid", outcome.fd);
      set_int(env, result, "stdout", tool.out);
      set_int(env, result, "stderr", tool.err);
    }
  }
  for (int i = 0; i < WORDS_MAX; i++) free(tool.words[i]);
  return result;
}

napi_value tool_status(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value arguments[1], result = NULL;
  int pid, status;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 1) return throw_type(env, "toolStatus(pid)"), NULL;
  if (!read_int(env, arguments[0], &pid)) return NULL;
  pid_t ended;
  do ended = waitpid(pid, &status, WNOHANG);
  while (ended < 0 && errno == EINTR);
  if (ended < 0)
    throw_errno(env, errno, "waitpid", NULL);
  else if (ended == 0)
    napi_get_null(env, &result);
  else
    napi_create_int32(env, WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), &result);
  return result;
}
