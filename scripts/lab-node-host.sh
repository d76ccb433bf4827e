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

case ${1:-} in
'')
  # The groups this process is in when the namespace is made are the roots that the node sees.
  for group in $SKEP_LAB_GROUPS; do echo $$ >"$group/cgroup.procs"; done
  exec unshare --cgroup "$BASH" "$0" in-own-groups
  ;;
in-own-groups)
  # Version 2 gives controllers to the groups below one only if the group itself holds no process.
  echo $$ >"$SKEP_LAB_INIT_GROUP/cgroup.procs"
  exec unshare --mount --net --uts --ipc --pid --fork --kill-child "$BASH" "$0" in-own-namespaces
  ;;
esac

# --- Network ------------------------------------------------------------------------------------------------------
# "1" is this process, as the one who asks sees it.
nsenter --net="$SKEP_LAB_SWITCH" ip link add "$SKEP_LAB_PORT" type veth peer name eth0 address "$SKEP_LAB_MAC" netns 1
nsenter --net="$SKEP_LAB_SWITCH" ip link set "$SKEP_LAB_PORT" master lab up
export SKEP_LAB_INTERFACE=eth0

# --- Root ---------------------------------------------------------------------------------------------------------
# An overlay's lower layer ends where another disk is mounted: those of this machine get overlays of their own.
others=()
while read -r device place _; do
  if [[ $device == /dev/* && -d $place && ! $place =~ ^/((dev|proc|sys|run|tmp|boot)(/|$)|$) ]]; then others+=("$place"); fi
done </proc/self/mounts

work=$SKEP_LAB_DIR/root
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/disk" "$work/root"
# No barriers: a power cut here is the death of processes, and what they wrote survives that.
mount -t ext4 -o loop,nobarrier,noatime,noinit_itable "$SKEP_LAB_DISK" "$work/disk"
for place in / "${others[@]}"; do
  layer=$work/disk/layer${place//\//-}
  mkdir -p "$layer/upper" "$layer/work"
  mount -t overlay -o "lowerdir=$place,upperdir=$layer/upper,workdir=$layer/work" overlay "$work/root$place"
done
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

mount -t proc proc proc
for shown in proc/sys proc/sys/net; do mount --bind "$shown" "$shown"; done
mount -o remount,bind,ro proc/sys
# A start of the node is a boot, to those who keep what only one boot knows.
cat proc/sys/kernel/random/uuid >run/lab/boot_id
mount --bind run/lab/boot_id proc/sys/kernel/random/boot_id

mount -t tmpfs -o mode=755 tmpfs dev
while read -r name major minor; do mknod -m 666 "dev/$name" c "$major" "$minor"; done <<'NODES'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
fuse 10 229
NODES
mkdir dev/net
mknod -m 666 dev/net/tun c 10 200
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for stream in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${stream%:*}" "dev/${stream#*:}"; done

pivot_root . run/lab/base
exec chroot . /bin/bash run/lab/checkout/scripts/lab-node-init.sh
