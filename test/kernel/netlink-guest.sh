#!/bin/bash
# init of a user-mode Linux guest that runs netlink-guest-scenario.ts. The root file system is the host's own disk: nothing
# is written but to the tmpfs mounted here. $work on the kernel's command line is the directory of the compiled scenario.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run
finish() { echo "@@exit $1"; sync; exec busybox poweroff -f; }
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t tmpfs tmpfs /run || finish 90
mkdir /run/scenario && mount --bind "$work" /run/scenario && mount -o remount,bind,ro /run/scenario || finish 91
mount -t tmpfs tmpfs /tmp
# A checkout below /tmp or /run would now be hidden; the path of a hostfs mount is the machine's.
mkdir -p "$checkout" && mount -t hostfs -o ro,"$checkout" none "$checkout" || finish 94
mount -t devtmpfs dev /dev 2>/dev/null
release=$(uname -r)
# The host need not have a /lib/modules to mount over.
mkdir -p "/run/modules/lib/modules/$release"
mount --bind "/usr/lib/uml/modules/$release" "/run/modules/lib/modules/$release" || finish 92
modprobe -d /run/modules -a ip_vs ip_vs_rr ip_vs_wrr ip_vs_mh bridge veth vxlan || finish 93
ip link set lo up
stty -opost 2>/dev/null
cd /run && node /run/scenario/test/kernel/netlink-guest-scenario.js
finish $?
