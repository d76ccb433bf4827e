#!/bin/bash
# Process 1 of a lab node: turns a user-mode Linux kernel on this machine's own files into a plain host with its daemons.
#
# The root is an overlay: below it the machine's root, read-only through hostfs; above it the node's own ext4 image (ubda).
# So a node may write anywhere, keeps what it wrote over a power cut, and nothing reaches the machine's files. Two paths
# lead out: /run/lab/log (the node's log directory on the machine) and the checkout, which is read-only.
# The kernel hands its unknown parameters over as environment: SKEP_LAB_NODE, _ADDRESS, _CONTROL, _CHECKOUT, _LOG, _NODEJS.
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
script=scripts/lab-node-init.sh

if [ "${1:-}" != on-own-root ]; then
  mount -t proc proc /proc
  mount -t tmpfs -o mode=755 tmpfs /tmp
  release=$(uname -r)
  mkdir -p /tmp/modules/lib/modules /tmp/disk /tmp/root /tmp/checkout /tmp/log
  ln -s "/usr/lib/uml/modules/$release" "/tmp/modules/lib/modules/$release"
  modprobe -d /tmp/modules -a ext4 overlay
  # No barriers: a power cut here is the death of a process, and what reached the image file survives that.
  mount -t ext4 -o nobarrier,noatime /dev/ubda /tmp/disk
  mkdir -p /tmp/disk/upper /tmp/disk/work
  mount -t overlay -o lowerdir=/,upperdir=/tmp/disk/upper,workdir=/tmp/disk/work overlay /tmp/root
  mount -t hostfs -o ro,"$SKEP_LAB_CHECKOUT" none /tmp/checkout
  mount -t hostfs -o "$SKEP_LAB_LOG" none /tmp/log
  cd /tmp/root
  mkdir -p run proc sys dev tmp
  mount -t tmpfs -o mode=755 tmpfs run
  mkdir -p run/lab/base run/lab/disk run/lab/checkout run/lab/log
  pivot_root . run/lab/base
  for kept in proc dev; do mount --move "run/lab/base/$kept" "$kept"; done
  for kept in disk checkout log; do mount --move "run/lab/base/tmp/$kept" "run/lab/$kept"; done
  exec chroot . /bin/bash "run/lab/checkout/$script" on-own-root </dev/null >/dev/console 2>&1
fi

say() { echo "lab: $*"; }

# --- File systems -------------------------------------------------------------------------------------------------
umount -l /run/lab/base
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p /dev/pts /dev/shm /dev/mqueue /run/lock /run/lab/bin /run/lab/home
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
mkdir -p "$SKEP_LAB_CHECKOUT" # on the overlay it is there already, unless it lies below /tmp or /run
mount --bind /run/lab/checkout "$SKEP_LAB_CHECKOUT"
# Engine, containerd and Skep keep their files on the image itself: an overlay cannot be the upper layer of another.
for state in docker containerd skep; do
  mkdir -p "/run/lab/disk/$state" "/var/lib/$state"
  mount --bind "/run/lab/disk/$state" "/var/lib/$state"
done
# Logs leave through hostfs within a second or two, so that they outlive a power cut.
sysctl -qw vm.dirty_writeback_centisecs=100 vm.dirty_expire_centisecs=100

# --- Identity -----------------------------------------------------------------------------------------------------
echo "$SKEP_LAB_NODE" >/proc/sys/kernel/hostname
rm -f /etc/hostname /etc/hosts /etc/resolv.conf /etc/machine-id
echo "$SKEP_LAB_NODE" >/etc/hostname
printf '127.0.0.1 localhost\n%s %s\n' "${SKEP_LAB_ADDRESS%/*}" "$SKEP_LAB_NODE" >/etc/hosts
echo 'nameserver 127.0.0.1' >/etc/resolv.conf # refuses at once: no lookup leaves the lab
[ -s /run/lab/disk/machine-id ] || tr -d - </proc/sys/kernel/random/uuid >/run/lab/disk/machine-id
cp /run/lab/disk/machine-id /etc/machine-id

# --- Kernel -------------------------------------------------------------------------------------------------------
release=$(uname -r)
mkdir -p "/lib/modules/$release"
mount --bind "/usr/lib/uml/modules/$release" "/lib/modules/$release"
modprobe -a ip_vs ip_vs_rr vxlan veth bridge br_netfilter nf_conntrack nf_conntrack_netlink xfrm_user esp4 \
  ip_tables iptable_filter iptable_nat iptable_mangle iptable_raw \
  xt_mark xt_connmark xt_MASQUERADE xt_addrtype xt_conntrack xt_tcpudp xt_nat xt_comment xt_set xt_ipvs xt_CT xt_REDIRECT xt_multiport xt_TCPMSS \
  ip_set ip_set_bitmap_port ip_set_hash_ip ip_set_hash_net || say 'some kernel modules are missing'
sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
# The nf_tables of this kernel lacks the IPv4 family, so the legacy iptables comes first on the PATH.
for command in iptables iptables-save iptables-restore; do ln -s /usr/sbin/xtables-legacy-multi "/run/lab/bin/$command"; done
# The docker everybody has (Debian's) is the default; another one stays reachable by its path.
command -v ping >/dev/null || ln -s /bin/busybox /run/lab/bin/ping
ln -s /usr/bin/docker /run/lab/bin/docker
for command in skep skepd skep-dataplane; do ln -s "$SKEP_LAB_CHECKOUT/bin/$command" "/run/lab/bin/$command"; done

# --- Network ------------------------------------------------------------------------------------------------------
ip link set lo up
ip addr add "$SKEP_LAB_ADDRESS" dev vec0
ip link set vec0 up
# The agent that `skep lab exec` speaks to has an interface and a network namespace of its own: nothing the daemons or a
# test do to the node's network can cut it off, and the node looks like a host with one interface.
touch /run/lab/control
unshare --net=/run/lab/control true
ip link set vec1 netns /run/lab/control
nsenter --net=/run/lab/control sh -c "ip link set lo up; ip addr add $SKEP_LAB_CONTROL dev vec1; ip link set vec1 up"

# --- Daemons ------------------------------------------------------------------------------------------------------
export HOME=/run/lab/home PATH="/run/lab/bin:$PATH" DOCKER_HOST=unix:///run/skep/docker.sock
mkdir -p /run/containerd /run/lab/pid /sys/fs/cgroup/lab
cat >/run/lab/containerd.toml <<TOML
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "/run/containerd/containerd.sock"
TOML
cat >/run/lab/daemon.json <<JSON
{ "storage-driver": "overlay2", "live-restore": true, "containerd": "/run/containerd/containerd.sock", "hosts": ["unix:///run/docker.sock"], "exec-opts": ["native.cgroupdriver=cgroupfs"] }
JSON

# As a unit with Restart=always and RestartSec=1. KILL says what goes with the main process: the whole control group
# (systemd's default) or the process alone (what containerd, dockerd and skepd ask for: their children outlive them).
supervise() { # NAME KILL COMMAND...
  local name=$1 kill=$2 group="/sys/fs/cgroup/lab/$1" log="/run/lab/log/$1.log" status missing=
  shift 2
  mkdir -p "$group"
  while :; do
    if ! command -v "$1" >/dev/null; then
      [ -n "$missing" ] || echo "lab: $name cannot start: $1 is not there (yet)" >>"$log"
      missing=1
    else
      missing=
      status=0
      bash -c 'echo $$ >"$1/cgroup.procs"; echo $$ >"/run/lab/pid/$2"; shift 2; exec "$@"' - "$group" "$name" "$@" >>"$log" 2>&1 </dev/null || status=$?
      rm -f "/run/lab/pid/$name"
      [ "$kill" = process ] || echo 1 >"$group/cgroup.kill"
      echo "lab: $name ended with status $status and starts again in a second" >>"$log"
    fi
    sleep 1
  done
}
(
  unset DOCKER_HOST
  supervise containerd process containerd --config /run/lab/containerd.toml &
  supervise dockerd process dockerd --config-file /run/lab/daemon.json &
  supervise skep-dataplane group skep-dataplane &
  supervise skepd process skepd & # etcd outlives it, as with KillMode=process, and is adopted
)
supervise agent group nsenter --net=/run/lab/control "$SKEP_LAB_NODEJS" "$SKEP_LAB_CHECKOUT/dist/lab/guest-agent.js" "${SKEP_LAB_CONTROL%/*}" &
say "$SKEP_LAB_NODE is up"
${SKEP_LAB_TEST:-:}
while :; do wait || true; done # process 1 reaps whoever loses its parent
