{
  "targets": [
    {
      "target_name": "skep_native",
      "sources": ["src/addon.c", "src/errors.c", "src/netns.c", "src/sockets.c", "src/poll.c", "src/process.c", "src/datagrams.c", "src/bpf.c", "src/bpf-maps.c", "src/flows.c", "src/firewall.c", "src/ipvs.c", "src/tool.c"],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE"],
      "cflags": ["-std=c11", "-Wall", "-Wextra", "-Werror=implicit-function-declaration", "-pthread"],
      "ldflags": ["-pthread"],
      "libraries": ["-lbpf"]
    }
  ]
}
