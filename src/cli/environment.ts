/** Environment variables that commands and daemons share, in the same words. */
export const wellKnown = {
  runDir: ['SKEP_RUN_DIR', "where the daemons' sockets are; /run/skep by default"],
  engine: ['SKEP_ENGINE', 'the Docker Engine; unix:///var/run/docker.sock by default'],
  balancer: ['SKEP_BALANCER', 'the balancer engine: ipvs, ebpf, or auto, which is the default'],
  configFile: ['SKEP_CONFIG', 'the file of options; /etc/skep/skep.toml by default'],
} as const satisfies Readonly<Record<string, readonly [name: string, meaning: string]>>;
