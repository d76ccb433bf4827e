/** A container that asks for nearly everything that a service can, and what its process then sees of it. */
import type { ContainerSpec } from '../../src/model/service-spec.js';

/** `bound`: a directory of the host with a file `greeting`. */
export const askingForMuch = (bound: string): Partial<ContainerSpec> => ({
  args: ['sh', '-c', look],
  env: ['WHERE={{.Node.Hostname}}', 'EMPTY='],
  hostname: '{{.Service.Name}}-host',
  dir: '/etc',
  user: '1000:1001',
  groups: ['2000'],
  tty: true,
  openStdin: true,
  readOnly: true,
  privileges: {
    seccomp: { mode: 'unconfined', profile: '' },
    appArmor: { mode: 'disabled' },
    noNewPrivileges: true,
  },
  sysctls: { 'kernel.shm_rmid_forced': '1' },
  capabilityAdd: ['CAP_NET_ADMIN'],
  capabilityDrop: ['CAP_CHOWN'],
  ulimits: [{ name: 'nofile', soft: 512, hard: 1024 }],
  oomScoreAdj: 321,
  hosts: ['10.1.2.3 one alias'],
  dnsConfig: { nameservers: ['10.9.8.7'], search: ['example.org'], options: ['ndots:3'] },
  mounts: [
    { type: 'bind', source: bound, target: '/bound', readOnly: true },
    {
      type: 'tmpfs',
      source: '',
      target: '/scratch',
      readOnly: false,
      tmpfsOptions: { sizeBytes: 2 ** 20, mode: 0o700 },
    },
    {
      type: 'volume',
      source: 'data-{{.Task.Slot}}',
      target: '/data',
      readOnly: false,
      volumeOptions: {
        noCopy: true,
        labels: { of: '{{.Service.Name}}' },
        driverConfig: { name: 'local', options: { type: 'tmpfs', device: 'tmpfs', o: 'size=2m' } },
      },
    },
  ],
});

/** What the process tells, a line each. */
const look = [
  'say() { echo "$1=$2"; }',
  'say env "$WHERE,${EMPTY-unset}"',
  'say hostname "$(hostname)"',
  'say directory "$(pwd)"',
  'say identity "$(busybox id -u) $(busybox id -g) $(busybox id -G)"',
  'test -t 0 && say terminal yes',
  '(: > /new) 2>/dev/null || say root read-only',
  '(: > /bound/new) 2>/dev/null || say bound "$(cat /bound/greeting), read-only"',
  'say limits "$(ulimit -Sn) $(ulimit -Hn)"',
  'say sysctl "$(cat /proc/sys/kernel/shm_rmid_forced)"',
  'say oom "$(cat /proc/self/oom_score_adj)"',
  'while read -r name value; do case $name in CapBnd:|NoNewPrivs:|Seccomp:) say "${name%:}" "$value";; esac; done < /proc/self/status',
  'while read -r _ at type options _; do case $at in /scratch|/data|/dev/shm) say "$at" "$type,$options";; esac; done < /proc/self/mounts',
  'while read -r address name _; do [ "$address" = 10.1.2.3 ] && say host "$name"; done < /etc/hosts',
  'while read -r key value; do say "dns $key" "$value"; done < /etc/resolv.conf',
  'say device "$(busybox stat -c %t:%T /dev/mapped) $(cat /dev/mapped | busybox wc -c)"',
].join('\n');

/** `key=value` lines by key. */
export const toldBy = (lines: string): Record<string, string> =>
  Object.fromEntries(
    lines
      .split(/\r?\n/)
      .filter((line) => line.includes('='))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
