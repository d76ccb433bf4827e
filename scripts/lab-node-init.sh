#!/bin/bash
# Process 1 of a lab node on its own root: makes of it a plain host with its daemons, the same whatever kernel it runs on.
# Before it ran lab-node-KERNEL.sh, which made the root and mounted below it /proc, /dev, /run, the node's image at
# /run/lab/disk, the checkout at /run/lab/checkout, the log directory at /run/lab/log, and what is left of the machine's own
# root at /run/lab/base.
# Environment: SKEP_LAB_NODE (its name), _ADDRESS (with prefix), _INTERFACE, _CHECKOUT (its path on the machine), _NODEJS (the
# program), _AGENT (the address or the socket that the agent listens on), _BALANCER (may be empty: skep-dataplane chooses),
# _IPTABLES (may be empty: the machine's own; else a program for all three commands), _ENGINE (may be empty: the machine's own;
# else a directory with dockerd and what it starts), _PACKAGE (may be empty: the daemons are the checkout's; else the package that
# they and the command `skep` come from, its path on the machine), _SWARM_MODE (may be empty; else the engine is for its own Swarm mode, which
# refuses one that keeps containers over its restarts, and Skep's daemons do not run).
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

. "${BASH_SOURCE%/*}/host-root.sh"

# --- File systems -------------------------------------------------------------------------------------------------
umount -l /run/lab/base
mount_kernel_file_systems
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

# --- Identity -----------------------------------------------------------------------------------------------------
hostname "$SKEP_LAB_NODE"
rm -f /etc/hostname /etc/hosts /etc/resolv.conf /etc/machine-id
echo "$SKEP_LAB_NODE" >/etc/hostname
printf '127.0.0.1 localhost\n%s %s\n' "${SKEP_LAB_ADDRESS%/*}" "$SKEP_LAB_NODE" >/etc/hosts
echo 'nameserver 127.0.0.1' >/etc/resolv.conf # refuses at once: no lookup leaves the lab
[ -s /run/lab/disk/machine-id ] || tr -d - </proc/sys/kernel/random/uuid >/run/lab/disk/machine-id
cp /run/lab/disk/machine-id /etc/machine-id

# --- Commands -----------------------------------------------------------------------------------------------------
if [ -n "${SKEP_LAB_IPTABLES:-}" ]; then
  for command in iptables iptables-save iptables-restore; do ln -s "$SKEP_LAB_IPTABLES" "/run/lab/bin/$command"; done
fi
# The docker everybody has (Debian's) is the default; another one stays reachable by its path.
command -v ping >/dev/null || ln -s /bin/busybox /run/lab/bin/ping
ln -s /usr/bin/docker /run/lab/bin/docker
if [ -n "${SKEP_LAB_ENGINE:-}" ]; then ln -s "$SKEP_LAB_ENGINE"/* /run/lab/bin/; fi
ln -s "$SKEP_LAB_CHECKOUT/scripts/provision.sh" /run/lab/bin/skep-provision
if [ -z "${SKEP_LAB_PACKAGE:-}" ]; then
  for command in skep skepd skep-dataplane; do ln -s "$SKEP_LAB_CHECKOUT/bin/$command" "/run/lab/bin/$command"; done
elif [ ! -e /run/lab/disk/provisioned ]; then
  # Once: a node that starts again has on its disk what was installed last, which may be another version by then.
  /run/lab/bin/skep-provision install --no-fetch "$SKEP_LAB_PACKAGE"
  touch /run/lab/disk/provisioned
fi

# --- Network ------------------------------------------------------------------------------------------------------
/run/lab/bin/skep-provision sysctls "$SKEP_LAB_INTERFACE"
ip link set lo up
ip addr add "$SKEP_LAB_ADDRESS" dev "$SKEP_LAB_INTERFACE"
ip link set "$SKEP_LAB_INTERFACE" up

# --- Daemons ------------------------------------------------------------------------------------------------------
export HOME=/run/lab/home PATH="/run/lab/bin:$PATH" DOCKER_HOST=unix:///run/skep/docker.sock
mkdir -p /run/containerd /run/lab/pid "$groups/lab"
cat >/run/lab/containerd.toml <<TOML
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "/run/containerd/containerd.sock"
TOML
live_restore=true
[ -z "${SKEP_LAB_SWARM_MODE:-}" ] || live_restore=false
# On the disk, so what somebody changes in it is still so after a power cut.
[ -e /run/lab/disk/daemon.json ] || cat >/run/lab/disk/daemon.json <<JSON
{ "storage-driver": "overlay2", "live-restore": $live_restore, "containerd": "/run/containerd/containerd.sock", "hosts": ["unix:///run/docker.sock"], "exec-opts": ["native.cgroupdriver=cgroupfs"] }
JSON

# As a unit with Restart=always and RestartSec=1. KILL says what goes with the main process: the whole control group
# (systemd's default) or the process alone (what containerd, dockerd and skepd ask for: their children outlive them).
# /run/lab/disk/NAME.env is its EnvironmentFile, read at each start; NICE its niceness.
supervise() { # NAME KILL COMMAND...
  local name=$1 kill=$2 nice=${NICE:-0} group="$groups/lab/$1" log="/run/lab/log/$1.log" status missing=
  shift 2
  mkdir -p "$group"
  while :; do
    if ! command -v "$1" >/dev/null; then
      [ -n "$missing" ] || echo "lab: $name cannot start: $1 is not there (yet)" >>"$log"
      missing=1
    else
      missing=
      status=0
      bash -c 'echo $$ >"$1/cgroup.procs"; echo $$ >"/run/lab/pid/$2"; settings="/run/lab/disk/$2.env"; nice=$3; shift 3
        set -a; [ ! -e "$settings" ] || . "$settings"; exec nice -n "$nice" "$@"' - "$group" "$name" "$nice" "$@" >>"$log" 2>&1 </dev/null || status=$?
      rm -f "/run/lab/pid/$name"
      [ "$kill" = process ] || echo 1 >"$group/cgroup.kill"
      echo "lab: $name ended with status $status and starts again in a second" >>"$log"
    fi
    sleep 1
  done
}
# An engine that has networks of Skep's asks for their driver while it starts, and again only after 1, 2, 4 and 8 s: so
# skep-dataplane goes first, as a unit with Before=docker.service.
await_driver() {
  local tries=100
  [ -e /var/lib/docker/network/files/local-kv.db ] || return 0
  until [ -S /run/docker/plugins/skep.sock ] || [ $((tries -= 1)) = 0 ]; do sleep 0.1; done
}
(
  unset DOCKER_HOST
  if [ -n "${SKEP_LAB_BALANCER:-}" ]; then export SKEP_BALANCER=$SKEP_LAB_BALANCER; fi
  if [ -n "${SKEP_LAB_ALLOW:-}" ]; then export SKEP_ALLOW=$SKEP_LAB_ALLOW; fi
  supervise containerd process containerd --config /run/lab/containerd.toml &
  if [ -n "${SKEP_LAB_SWARM_MODE:-}" ]; then
    supervise dockerd process dockerd --config-file /run/lab/disk/daemon.json &
    exit
  fi
  NICE=-10 supervise skep-dataplane group skep-dataplane &
  { await_driver; supervise dockerd process dockerd --config-file /run/lab/disk/daemon.json; } &
  # Nothing here reaches the registries that an image's name may mean.
  export DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=1
  NICE=-5 supervise skepd process skepd & # etcd outlives it, as with KillMode=process, and is adopted
)
agent=("$SKEP_LAB_NODEJS" "$SKEP_LAB_CHECKOUT/dist/lab/guest-agent.js" "$SKEP_LAB_AGENT")
if [ -e /run/lab/control ]; then agent=(nsenter --net=/run/lab/control "${agent[@]}"); fi
supervise agent group "${agent[@]}" &
echo "lab: $SKEP_LAB_NODE is up"
while :; do wait || true; done # process 1 reaps whoever loses its parent
