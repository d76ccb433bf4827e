#!/bin/bash
# First process of a test's guest on its own root: makes it a host as the tests expect one, runs the command in skep_command,
# reports its exit code and turns the machine off. The report port is a virtio serial port: JSON lines, nothing else.
# The environment is what the kernel did not understand of its command line.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root CI=true NO_COLOR=1
mount -t sysfs sys /sys
SKEP_GUEST_REPORTS=/dev/$(basename "$(dirname "$(grep -lx reports /sys/class/virtio-ports/*/name)")")
export SKEP_GUEST_REPORTS
echo '{"booted":true}' >"$SKEP_GUEST_REPORTS"
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mkdir -p /dev/pts /dev/shm /run/netns
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
# Whatever else is wanted the kernel loads by itself when it is asked for it; loop devices are asked for by a file that comes with them.
modprobe -a br_netfilter loop
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1
cd "$skep_checkout" || poweroff -f
bash -c "$skep_command"
echo "{\"exit\":$?}" >"$SKEP_GUEST_REPORTS"
poweroff -f
