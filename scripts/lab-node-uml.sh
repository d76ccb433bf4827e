#!/bin/bash
# Process 1 of a lab node in user-mode Linux, before it has a root of its own; ends as lab-node-init.sh on that root.
#
# The root is an overlay: below it the machine's root, read-only through hostfs; above it the node's own ext4 image (ubda).
# So a node may write anywhere, keeps what it wrote over a power cut, and nothing reaches the machine's files. Two paths
# lead out: /run/lab/log (the node's log directory on the machine) and the checkout, which is read-only.
# The kernel hands its unknown parameters over as environment: see lab-node-init.sh, and SKEP_LAB_CONTROL, the address with
# prefix of the interface (vec1) that the agent listens on.
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# --- Root ---------------------------------------------------------------------------------------------------------
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /tmp
release=$(uname -r)
mkdir -p /tmp/modules/lib/modules /tmp/disk /tmp/root /tmp/checkout /tmp/log
ln -s "/usr/lib/uml/modules/$release" "/tmp/modules/lib/modules/$release"
modprobe -d /tmp/modules -a ext4 overlay
# No barriers: a power cut here is the death of a process, and what reached the image file survives that.
mount -t ext4 -o nobarrier,noatime,noinit_itable /dev/ubda /tmp/disk
mkdir -p /tmp/disk/upper /tmp/disk/work
mount -t overlay -o lowerdir=/,upperdir=/tmp/disk/upper,workdir=/tmp/disk/work overlay /tmp/root
mount -t hostfs -o ro,"$SKEP_LAB_CHECKOUT" none /tmp/checkout
mount -t hostfs -o "$SKEP_LAB_LOG" none /tmp/log
cd /tmp/root
mkdir -p run proc sys dev tmp "lib/modules/$release"
mount --bind "/usr/lib/uml/modules/$release" "lib/modules/$release"
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/lab/base run/lab/disk run/lab/checkout run/lab/log

# --- Kernel -------------------------------------------------------------------------------------------------------
modprobe -d /tmp/modules -a ip_vs ip_vs_rr ip_vs_wrr ip_vs_lc ip_vs_mh sctp vxlan veth bridge br_netfilter nf_conntrack nf_conntrack_netlink xfrm_user esp4 gcm ghash-generic ctr seqiv drbg hmac sha512_generic \
  ip_tables iptable_filter iptable_nat iptable_mangle iptable_raw \
  xt_mark xt_connmark xt_MASQUERADE xt_addrtype xt_conntrack xt_tcpudp xt_nat xt_comment xt_set xt_ipvs xt_CT xt_TEE ipt_REJECT xt_REDIRECT xt_limit xt_multiport xt_policy xt_TCPMSS \
  ip_set ip_set_bitmap_port ip_set_hash_ip ip_set_hash_net ip_set_hash_netport || echo 'lab: some kernel modules are missing'
# Logs leave through hostfs within a second or two, so that they outlive a power cut.
sysctl -qw vm.dirty_writeback_centisecs=100 vm.dirty_expire_centisecs=100
# The nf_tables of this kernel lacks the IPv4 family.
export SKEP_LAB_IPTABLES=/usr/sbin/xtables-legacy-multi

# --- Agent --------------------------------------------------------------------------------------------------------
# It has an interface and a network namespace of its own: nothing the daemons or a test do to the node's network can cut it
# off, and the node looks like a host with one interface.
touch run/lab/control
unshare --net=run/lab/control true
ip link set vec1 netns run/lab/control
nsenter --net=run/lab/control sh -c "ip link set lo up; ip addr add $SKEP_LAB_CONTROL dev vec1; ip link set vec1 up"
export SKEP_LAB_AGENT=${SKEP_LAB_CONTROL%/*} SKEP_LAB_INTERFACE=vec0

pivot_root . run/lab/base
for kept in proc dev; do mount --move "run/lab/base/$kept" "$kept"; done
for kept in disk checkout log; do mount --move "run/lab/base/tmp/$kept" "run/lab/$kept"; done
exec chroot . /bin/bash run/lab/checkout/scripts/lab-node-init.sh </dev/null >/dev/console 2>&1
