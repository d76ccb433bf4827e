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

. "${BASH_SOURCE%/*}/host-root.sh"
enter_own_namespaces "${1:-}" "$SKEP_HOST_GROUPS" "$SKEP_HOST_INIT_GROUP"

# --- Network ------------------------------------------------------------------------------------------------------
ip link set lo up
ip link add eth0 type veth peer name nowhere
ip addr add 192.0.2.1/24 dev eth0
ip link set eth0 up
ip link set nowhere up

# --- Root ---------------------------------------------------------------------------------------------------------
work=$SKEP_HOST_DIR
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/memory" "$work/root"
mount_overlay_root "$work/memory" "$work/root"
cd "$work/root"
mkdir -p run proc sys dev tmp var/lib/docker var/lib/containerd
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/base
mount -t tmpfs -o mode=1777 tmpfs tmp
# An overlay cannot be the upper layer of another, as those of containers need it.
for state in docker containerd; do mount -t tmpfs -o mode=711 tmpfs "var/lib/$state"; done

mount_own_proc
mount_own_dev
mkdir dev/pts dev/shm dev/mqueue
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
  mount_kernel_file_systems
  exec env -i container=skep-test "PATH=$PATH" /lib/systemd/systemd --system --unit=basic.target
}
pivot_root . run/base
exec chroot . /bin/bash -euc "$(declare -f mount_kernel_file_systems boot); boot"
