# What makes a set of namespaces on this machine's own kernel look like a host: functions, for lab-node-host.sh,
# lab-node-init.sh and systemd-host.sh, which source this.

# Ends as the script that calls it once more, twice, and returns in the last: as process 1 of its own namespaces.
# STAGE is the script's first argument; GROUPS are the host's control group in every hierarchy, INIT_GROUP one of version 2 below it.
enter_own_namespaces() { # STAGE GROUPS INIT_GROUP
  case $1 in
  '')
    # The groups this process is in when the namespace is made are the roots that the host sees.
    for group in $2; do echo $$ >"$group/cgroup.procs"; done
    exec unshare --cgroup "$BASH" "$0" in-own-groups
    ;;
  in-own-groups)
    # Version 2 gives controllers to the groups below one only if the group itself holds no process.
    echo $$ >"$3/cgroup.procs"
    exec unshare --mount --net --uts --ipc --pid --fork --kill-child "$BASH" "$0" in-own-namespaces
    ;;
  esac
}

# Mounts the machine's root at ROOT, below what is written there, which goes to UPPER. Its disks alone: no /dev, /proc, /sys, /run, /tmp.
mount_overlay_root() { # UPPER ROOT
  local others=() device place layer
  # An overlay's lower layer ends where another disk is mounted: those of this machine get overlays of their own.
  while read -r device place _; do
    if [[ $device == /dev/* && -d $place && ! $place =~ ^/((dev|proc|sys|run|tmp|boot)(/|$)|$) ]]; then others+=("$place"); fi
  done </proc/self/mounts
  for place in / "${others[@]}"; do
    layer=$1/layer${place//\//-}
    mkdir -p "$layer/upper" "$layer/work"
    mount -t overlay -o "lowerdir=$place,upperdir=$layer/upper,workdir=$layer/work" overlay "$2$place"
  done
}

# Below the working directory. Parameters of the one kernel are read-only, but for those of the host's network.
mount_own_proc() {
  local shown
  mount -t proc proc proc
  for shown in proc/sys proc/sys/net; do mount --bind "$shown" "$shown"; done
  mount -o remount,bind,ro proc/sys
}

# Below the working directory: the devices that every host has.
mount_own_dev() {
  local name major minor stream
  mount -t tmpfs -o mode=755 tmpfs dev
  while read -r name major minor; do mknod -m 666 "dev/$name" c "$major" "$minor"; done <<'NODES'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
NODES
  ln -s pts/ptmx dev/ptmx
  ln -s /proc/self/fd dev/fd
  for stream in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${stream%:*}" "dev/${stream#*:}"; done
}

# On the host's own root. Control groups of version 2 alone, or beside the hierarchies of version 1 that this machine has; each shows
# the host's own group as its root. Sets `groups` to where version 2 is.
mount_kernel_file_systems() {
  local id controllers controller hierarchy
  groups=/sys/fs/cgroup
  mount -t sysfs sys /sys
  if [ -d /sys/fs/bpf ]; then mount -t bpf -o mode=700 bpf /sys/fs/bpf; fi
  if grep -qv ^0: /proc/self/cgroup; then
    mount -t tmpfs -o mode=755 tmpfs "$groups"
    while IFS=: read -r id controllers _; do
      [ "$id" != 0 ] || continue
      hierarchy=$groups/${controllers#name=}
      mkdir "$hierarchy"
      mount -t cgroup -o "$controllers" cgroup "$hierarchy"
      for controller in ${controllers//,/ }; do
        [ -e "$groups/${controller#name=}" ] || ln -s "${hierarchy##*/}" "$groups/$controller"
      done
    done </proc/self/cgroup
    groups=$groups/unified
    mkdir "$groups"
  fi
  mount -t cgroup2 cgroup2 "$groups"
}
