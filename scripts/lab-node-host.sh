#!/bin/bash
# A lab node on this machine's own kernel: one set of namespaces whose process 1 this becomes, before it has a root of its
# own; ends as lab-node-init.sh on that root. `lab-node-host.sh` starts in the lab's switch namespace.
#
# The root is an overlay: below it the machine's root; above it the node's own ext4 image. So a node may write anywhere, keeps
# what it wrote over a power cut, and nothing reaches the machine's files. Three paths lead out: /run/lab/log, the directory
# of the agent's socket, and the checkout, which is read-only. Parameters of the one kernel below all nodes are read-only,
# but for those of the node's network namespace.
# Environment: see lab-node-init.sh, and SKEP_LAB_DIR (the node's directory on the machine), _DISK (the image), _SWITCH (the
# switch's namespace), _PORT (the node's port there), _MAC, _GROUPS (the node's cgroup in every hierarchy), _INIT_GROUP.
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

. "${BASH_SOURCE%/*}/host-root.sh"
enter_own_namespaces "${1:-}" "$SKEP_LAB_GROUPS" "$SKEP_LAB_INIT_GROUP"

# --- Network ------------------------------------------------------------------------------------------------------
# "1" is this process, as the one who asks sees it.
nsenter --net="$SKEP_LAB_SWITCH" ip link add "$SKEP_LAB_PORT" type veth peer name eth0 address "$SKEP_LAB_MAC" netns 1
nsenter --net="$SKEP_LAB_SWITCH" ip link set "$SKEP_LAB_PORT" master lab up
export SKEP_LAB_INTERFACE=eth0

# --- Root ---------------------------------------------------------------------------------------------------------
work=$SKEP_LAB_DIR/root
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/disk" "$work/root"
# No barriers: a power cut here is the death of processes, and what they wrote survives that.
mount -t ext4 -o loop,nobarrier,noatime,noinit_itable "$SKEP_LAB_DISK" "$work/disk"
mount_overlay_root "$work/disk" "$work/root"
cd "$work/root"
mkdir -p run proc sys dev tmp
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/lab/base run/lab/disk run/lab/checkout run/lab/log run/lab/agent
mount --move "$work/disk" run/lab/disk
mount --bind "$SKEP_LAB_CHECKOUT" run/lab/checkout
mount -o remount,bind,ro run/lab/checkout
mount --bind "$SKEP_LAB_LOG" run/lab/log
mount --bind "$SKEP_LAB_DIR/agent" run/lab/agent
export SKEP_LAB_AGENT=/run/lab/agent/socket

mount_own_proc
# A start of the node is a boot, to those who keep what only one boot knows.
cat proc/sys/kernel/random/uuid >run/lab/boot_id
mount --bind run/lab/boot_id proc/sys/kernel/random/boot_id

mount_own_dev
mknod -m 666 dev/fuse c 10 229
mkdir dev/net
mknod -m 666 dev/net/tun c 10 200

pivot_root . run/lab/base
exec chroot . /bin/bash run/lab/checkout/scripts/lab-node-init.sh
