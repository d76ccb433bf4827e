#!/bin/bash
# A host with systemd on this machine's own kernel, for tests of the package: one set of namespaces whose process 1 this becomes.
#
# The root is an overlay: below it the machine's root; above it memory. So the host has what this machine has installed, a
# package can be put into it and taken out, and nothing reaches the machine's files. It boots to basic.target; what it
# is to run beyond that is started by its tests. Its network is a device with the address 192.0.2.1 that leads nowhere. Parameters of
# the one kernel are read-only, but for those of the host's network.
# Environment: SKEP_HOST_DIR (a directory of the machine's, for the root), SKEP_HOST_GROUPS (the host's cgroup in every hierarchy),
# SKEP_HOST_INIT_GROUP (of version 2, for the first process).
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

case ${1:-} in
'')
  # The groups this process is in when the namespace is made are the roots that the host sees.
  for group in $SKEP_HOST_GROUPS; do echo $$ >"$group/cgroup.procs"; done
  exec unshare --cgroup "$BASH" "$0" in-own-groups
  ;;
in-own-groups)
  # Version 2 gives controllers to the groups below one only if the group itself holds no process.
  echo $$ >"$SKEP_HOST_INIT_GROUP/cgroup.procs"
  exec unshare --mount --net --uts --ipc --pid --fork --kill-child "$BASH" "$0" in-own-namespaces
  ;;
esac

# --- Network ------------------------------------------------------------------------------------------------------
ip link set lo up
ip link add eth0 type veth peer name nowhere
ip addr add 192.0.2.1/24 dev eth0
ip link set eth0 up
ip link set nowhere up

# --- Root ---------------------------------------------------------------------------------------------------------
# An overlay's lower layer ends where another disk is mounted: those of this machine get overlays of their own.
others=()
while read -r device place _; do
  if [[ $device == /dev/* && -d $place && ! $place =~ ^/((dev|proc|sys|run|tmp|boot)(/|$)|$) ]]; then others+=("$place"); fi
done </proc/self/mounts

work=$SKEP_HOST_DIR
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/memory" "$work/root"
for place in / "${others[@]}"; do
  layer=$work/memory/layer${place//\//-}
  mkdir -p "$layer/upper" "$layer/work"
  mount -t overlay -o "lowerdir=$place,upperdir=$layer/upper,workdir=$layer/work" overlay "$work/root$place"
done
cd "$work/root"
mkdir -p run proc sys dev tmp var/lib/docker var/lib/containerd
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/base
mount -t tmpfs -o mode=1777 tmpfs tmp
# An overlay cannot be the upper layer of another, as those of containers need it.
for state in docker containerd; do mount -t tmpfs -o mode=711 tmpfs "var/lib/$state"; done

mount -t proc proc proc
for shown in proc/sys proc/sys/net; do mount --bind "$shown" "$shown"; done
mount -o remount,bind,ro proc/sys

mount -t tmpfs -o mode=755 tmpfs dev
while read -r name major minor; do mknod -m 666 "dev/$name" c "$major" "$minor"; done <<'NODES'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
NODES
mkdir dev/pts dev/shm dev/mqueue
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for stream in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${stream%:*}" "dev/${stream#*:}"; done
mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts dev/pts
mount -t tmpfs shm dev/shm

# --- Settings -----------------------------------------------------------------------------------------------------
hostname package
rm -f etc/hostname etc/hosts etc/resolv.conf etc/machine-id etc/fstab usr/sbin/policy-rc.d
echo package >etc/hostname
printf '127.0.0.1 localhost\n192.0.2.1 package\n' >etc/hosts
echo 'nameserver 127.0.0.1' >etc/resolv.conf # refuses at once: no lookup leaves the host
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
# What concerns the machine and its devices, and what waits for a network that is there already.
for unit in systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service \
  systemd-modules-load.service systemd-sysctl.service systemd-binfmt.service systemd-random-seed.service systemd-pstore.service \
  systemd-timesyncd.service systemd-resolved.service systemd-networkd.service systemd-networkd-wait-online.service networking.service \
  ifupdown-wait-online.service ifup@eth0.service apparmor.service dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount; do
  ln -sf /dev/null "etc/systemd/system/$unit"
done

boot() {
  umount -l /run/base
  mount -t sysfs sys /sys
  if [ -d /sys/fs/bpf ]; then mount -t bpf -o mode=700 bpf /sys/fs/bpf; fi
  # Version 2 alone, or beside the hierarchies of version 1 that this machine has; each shows the host's own group as its root.
  groups=/sys/fs/cgroup
  if grep -qv ^0: /proc/self/cgroup; then
    mount -t tmpfs -o mode=755 tmpfs "$groups"
    while IFS=: read -r id controllers _; do
      [ "$id" != 0 ] || continue
      hierarchy=/sys/fs/cgroup/${controllers#name=}
      mkdir "$hierarchy"
      mount -t cgroup -o "$controllers" cgroup "$hierarchy"
      for controller in ${controllers//,/ }; do
        [ -e "/sys/fs/cgroup/${controller#name=}" ] || ln -s "${hierarchy##*/}" "/sys/fs/cgroup/$controller"
      done
    done </proc/self/cgroup
    groups=/sys/fs/cgroup/unified
    mkdir "$groups"
  fi
  mount -t cgroup2 cgroup2 "$groups"
  exec env -i container=skep-test "PATH=$PATH" /lib/systemd/systemd --system --unit=basic.target
}
pivot_root . run/base
exec chroot . /bin/bash -euc "$(declare -f boot); boot"
