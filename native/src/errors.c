/* errno as a JS Error of Node's own shape (code, errno, syscall), and the readers of arguments. */
#include "native.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

struct outcome failed(const char *syscall) {
  return (struct outcome){.fd = -1, .error = errno, .syscall = syscall};
}

static void set_string(napi_env env, napi_value object, const char *name, const char *text) {
  napi_value value;
  if (napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value) == napi_ok)
    napi_set_named_property(env, object, name, value);
}

napi_value errno_error(napi_env env, int error, const char *syscall, const char *detail) {
  char message[PATH_SIZE + 256];
  /* strerrorname_np needs glibc 2.32; libuv carries its own table and the same names as Node's. */
  const char *code = uv_err_name(-error);
  snprintf(message, sizeof message, "%s %s%s%s (%s)", syscall, code, detail ? ": " : "", detail ? detail : "",
           strerror(error));
  napi_value text, result, number;
  napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &text);
  napi_create_error(env, NULL, text, &result);
  set_string(env, result, "code", code);
  set_string(env, result, "syscall", syscall);
  napi_create_int32(env, -error, &number); /* negative, as in Node's own errors */
  napi_set_named_property(env, result, "errno", number);
  return result;
}

void throw_errno(napi_env env, int error, const char *syscall, const char *detail) {
  napi_throw(env, errno_error(env, error, syscall, detail));
}

void throw_type(napi_env env, const char *message) { napi_throw_type_error(env, NULL, message); }

napi_value finish(napi_env env, struct outcome outcome, const char *detail) {
  napi_value result = NULL;
  if (outcome.error != 0)
    throw_errno(env, outcome.error, outcome.syscall, detail);
  else
    napi_create_int32(env, outcome.fd, &result);
  return result;
}

bool read_int(napi_env env, napi_value value, int *out) {
  if (napi_get_value_int32(env, value, out) == napi_ok) return true;
  throw_type(env, "a number is expected");
  return false;
}

bool read_path(napi_env env, napi_value value, char *out, size_t size, bool *is_null) {
  napi_valuetype type;
  napi_typeof(env, value, &type);
  if (is_null) {
    *is_null = type == napi_null;
    if (*is_null) return true;
  }
  size_t length;
  if (type != napi_string || napi_get_value_string_utf8(env, value, out, size, &length) != napi_ok) {
    throw_type(env, is_null ? "a string or null is expected" : "a string is expected");
    return false;
  }
  if (length + 1 >= size || strlen(out) != length) {
    throw_type(env, "the text is too long or holds a NUL");
    return false;
  }
  return true;
}
