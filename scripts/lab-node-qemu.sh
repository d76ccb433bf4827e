#!/bin/bash
# Process 1 of a lab node in QEMU; ends as lab-node-init.sh. qemu-initramfs-init.sh has made the root: below it the machine's,
# read-only; above it the node's own ext4 image. So a node may write anywhere, keeps what it wrote over a power cut, and
# nothing reaches the machine's files but /run/lab/log (the node's log directory on the machine).
# The kernel hands its unknown parameters over as environment: see lab-node-init.sh, and SKEP_LAB_CONTROL, the address with
# prefix of the second interface, which the agent listens on.
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mkdir -p /run/lab/checkout /run/lab/log
mount --bind "/run/lab/base$SKEP_LAB_CHECKOUT" /run/lab/checkout
mount -t virtiofs log /run/lab/log

modprobe virtio_net
bash /run/lab/checkout/scripts/provision.sh modules
export SKEP_LAB_INTERFACE=eth0

# The agent has an interface and a network namespace of its own: nothing the daemons or a test do to the node's network can
# cut it off, and the node looks like a host with one interface.
touch /run/lab/control
unshare --net=/run/lab/control true
ip link set eth1 netns /run/lab/control
nsenter --net=/run/lab/control sh -c "ip link set lo up; ip addr add $SKEP_LAB_CONTROL dev eth1; ip link set eth1 up"
export SKEP_LAB_AGENT=${SKEP_LAB_CONTROL%/*}

exec /bin/bash /run/lab/checkout/scripts/lab-node-init.sh </dev/null >/dev/console 2>&1
