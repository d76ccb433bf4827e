/* Sockets opened inside a namespace. A socket keeps the namespace it was made in, whoever uses it afterwards. */
#include "native.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

/* Octets of unread messages kept by the kernel: some ten thousand of neighbours, or some thousand answers of peers. */
#define RECEIVE_BUFFER_BYTES (4 * 1024 * 1024)
#define LISTEN_BACKLOG 128
#define GROUPS_MAX 32

static void grow_receive_buffer(int fd) {
  int size = RECEIVE_BUFFER_BYTES;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

struct netlink_request {
  int protocol;
  uint32_t groups[GROUPS_MAX];
  uint32_t group_count;
};

/* Closes `fd` and gives the error that made it useless. */
static struct outcome give_up(int fd, const char *syscall) {
  struct outcome outcome = failed(syscall);
  close(fd);
  return outcome;
}

static struct outcome make_netlink(void *argument) {
  const struct netlink_request *request = argument;
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, request->protocol);
  if (fd < 0) return failed("socket");
  int on = 1;
  /* Error texts, acks without the echoed request, dumps that honour their filter: kernels without them go without. */
  (void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  (void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  (void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  grow_receive_buffer(fd);
  struct sockaddr_nl address = {.nl_family = AF_NETLINK};
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) return give_up(fd, "bind");
  for (uint32_t i = 0; i < request->group_count; i++)
    if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &request->groups[i], sizeof request->groups[i]) < 0)
      return give_up(fd, "setsockopt");
  return (struct outcome){.fd = fd};
}

napi_value open_netlink(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  char netns[PATH_SIZE];
  bool own;
  struct netlink_request request = {0};
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 3) return throw_type(env, "openNetlink(netnsPath, protocol, groups)"), NULL;
  if (!read_path(env, arguments[0], netns, sizeof netns, &own)) return NULL;
  if (!read_int(env, arguments[1], &request.protocol)) return NULL;
  if (napi_get_array_length(env, arguments[2], &request.group_count) != napi_ok || request.group_count > GROUPS_MAX)
    return throw_type(env, "groups: an array of at most 32 numbers is expected"), NULL;
  for (uint32_t i = 0; i < request.group_count; i++) {
    napi_value element;
    napi_get_element(env, arguments[2], i, &element);
    if (napi_get_value_uint32(env, element, &request.groups[i]) != napi_ok)
      return throw_type(env, "groups: numbers are expected"), NULL;
  }
  return finish(env, in_netns(own ? NULL : netns, make_netlink, &request), own ? NULL : netns);
}

struct bind_request {
  int type;
  socklen_t length;
  struct sockaddr_storage address;
};

static struct outcome make_bound(void *argument) {
  const struct bind_request *request = argument;
  int fd = socket(request->address.ss_family, request->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return failed("socket");
  int on = 1;
  if (request->address.ss_family == AF_INET6) (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  /* A restarted daemon takes the port back while old connections linger; for UDP it would let two share it. */
  if (request->type == SOCK_STREAM && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
    return give_up(fd, "setsockopt");
  if (bind(fd, (const struct sockaddr *)&request->address, request->length) < 0) return give_up(fd, "bind");
  if (request->type == SOCK_STREAM && listen(fd, LISTEN_BACKLOG) < 0) return give_up(fd, "listen");
  return (struct outcome){.fd = fd};
}

static bool fill_address(struct bind_request *request, const char *text, int port) {
  struct sockaddr_in *v4 = (struct sockaddr_in *)&request->address;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&request->address;
  if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    request->length = sizeof *v4;
    return true;
  }
  memset(&request->address, 0, sizeof request->address);
  if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1) return false;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons((uint16_t)port);
  request->length = sizeof *v6;
  return true;
}

napi_value bind_in_netns(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value arguments[4];
  char netns[PATH_SIZE], type[8], address[64];
  bool own;
  int port;
  struct bind_request request = {0};
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 4) return throw_type(env, "bindInNetns(netnsPath, type, address, port)"), NULL;
  if (!read_path(env, arguments[0], netns, sizeof netns, &own)) return NULL;
  if (!read_path(env, arguments[1], type, sizeof type, NULL)) return NULL;
  if (!read_path(env, arguments[2], address, sizeof address, NULL) || !read_int(env, arguments[3], &port)) return NULL;
  if (strcmp(type, "udp") != 0 && strcmp(type, "tcp") != 0) return throw_type(env, "type: 'udp' or 'tcp'"), NULL;
  if (port < 0 || port > 65535) return throw_type(env, "port: 0 to 65535"), NULL;
  if (!fill_address(&request, address, port)) return throw_type(env, "address: an IP address is expected"), NULL;
  request.type = type[0] == 'u' ? SOCK_DGRAM : SOCK_STREAM;
  char detail[PATH_SIZE + 128];
  snprintf(detail, sizeof detail, "%s %s port %d in %s", type, address, port, own ? "the host" : netns);
  return finish(env, in_netns(own ? NULL : netns, make_bound, &request), detail);
}

struct raw_request {
  int protocol;
  struct sock_fprog filter;
};

/* Classic BPF of a caller, which owns it; false, and thrown, when it is none. */
static bool read_filter(napi_env env, napi_value value, struct sock_fprog *program) {
  void *filter;
  size_t length;
  if (!read_octets(env, value, 0, &filter, &length)) return false;
  if (length == 0 || length % sizeof *program->filter || length / sizeof *program->filter > BPF_MAXINSNS)
    return throw_type(env, "filter: whole instructions are expected"), false;
  program->len = (unsigned short)(length / sizeof *program->filter);
  program->filter = filter;
  return true;
}

static struct outcome make_raw(void *argument) {
  const struct raw_request *request = argument;
  int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, request->protocol);
  if (fd < 0) return failed("socket");
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &request->filter, sizeof request->filter) < 0)
    return give_up(fd, "setsockopt");
  return (struct outcome){.fd = fd};
}

napi_value open_raw(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  char netns[PATH_SIZE];
  bool own;
  struct raw_request request = {0};
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 3) return throw_type(env, "openRaw(netnsPath, protocol, filter)"), NULL;
  if (!read_path(env, arguments[0], netns, sizeof netns, &own)) return NULL;
  if (!read_int(env, arguments[1], &request.protocol)) return NULL;
  if (!read_filter(env, arguments[2], &request.filter)) return NULL;
  return finish(env, in_netns(own ? NULL : netns, make_raw, &request), own ? NULL : netns);
}

struct packet_request {
  char device[IF_NAMESIZE];
  /* 0: nothing is received, and there is no filter. */
  int ether_type;
  struct sock_fprog filter;
};

static struct outcome make_packet(void *argument) {
  const struct packet_request *request = argument;
  /* Protocol 0 until it is bound: nothing is received that has not passed the filter. */
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return failed("socket");
  struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                .sll_protocol = htons((uint16_t)request->ether_type),
                                .sll_ifindex = (int)if_nametoindex(request->device)};
  if (!address.sll_ifindex) return give_up(fd, "if_nametoindex");
  if (request->ether_type) {
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &request->filter, sizeof request->filter) < 0)
      return give_up(fd, "setsockopt");
    grow_receive_buffer(fd);
  }
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) return give_up(fd, "bind");
  return (struct outcome){.fd = fd};
}

static napi_value open_packet_on(napi_env env, const napi_value place[2], struct packet_request *request) {
  char netns[PATH_SIZE];
  bool own;
  if (!read_path(env, place[0], netns, sizeof netns, &own)) return NULL;
  if (!read_path(env, place[1], request->device, sizeof request->device, NULL)) return NULL;
  return finish(env, in_netns(own ? NULL : netns, make_packet, request), own ? request->device : netns);
}

napi_value open_packet_sender(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  struct packet_request request = {0};
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 2) return throw_type(env, "openPacketSender(netnsPath, device)"), NULL;
  return open_packet_on(env, arguments, &request);
}

napi_value open_packet(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value arguments[4];
  struct packet_request request = {0};
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count != 4) return throw_type(env, "openPacket(netnsPath, device, etherType, filter)"), NULL;
  if (!read_int(env, arguments[2], &request.ether_type)) return NULL;
  if (request.ether_type < 1 || request.ether_type > 0xffff) return throw_type(env, "etherType: 1 to 65535"), NULL;
  if (!read_filter(env, arguments[3], &request.filter)) return NULL;
  return open_packet_on(env, arguments, &request);
}

napi_value send_datagram(napi_env env, napi_callback_info info) {
  size_t count = 3, length, peer_length = 0;
  napi_value arguments[3];
  int fd;
  void *data, *peer = NULL;
  napi_typedarray_type type;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (count < 2) return throw_type(env, "send(fd, data, peer)"), NULL;
  if (!read_int(env, arguments[0], &fd)) return NULL;
  if (napi_get_typedarray_info(env, arguments[1], &type, &length, &data, NULL, NULL) != napi_ok ||
      type != napi_uint8_array)
    return throw_type(env, "data: a Uint8Array is expected"), NULL;
  if (count == 3 && !read_octets(env, arguments[2], 0, &peer, &peer_length)) return NULL;
  ssize_t sent;
  do sent = sendto(fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT, peer, (socklen_t)peer_length);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) throw_errno(env, errno, "send", NULL);
  return NULL;
}
