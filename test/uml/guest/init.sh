#!/bin/bash
# First process of the user-mode Linux that has the IPVS which the machine's own kernel may lack. Its root is the machine's
# disk: everything writable is a tmpfs, and nothing below / is changed. $1 is the scenario; its JSON lines go to the console.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /tmp
# A checkout below /tmp or /run would now be hidden; the path of a hostfs mount is the machine's.
mkdir -p "$skep_checkout"; mount -t hostfs -o ro,"$skep_checkout" none "$skep_checkout"
mount -t devtmpfs dev /dev 2>/dev/null; mkdir -p /dev/pts /dev/shm /run/netns; mount -t tmpfs shm /dev/shm
# No directory may be made on the disk for the modules, so modprobe is pointed at one of ours.
mkdir -p /tmp/modules/lib/modules; ln -s "/usr/lib/uml/modules/$(uname -r)" /tmp/modules/lib/modules/
modprobe -d /tmp/modules -a ip_vs ip_vs_rr ip_vs_wrr ip_vs_lc ip_vs_mh sctp vxlan veth bridge nf_conntrack iptable_filter iptable_mangle iptable_nat iptable_raw xt_limit xt_mark xt_connmark xt_nat xt_CT xt_tcpudp xt_addrtype xt_set xt_TEE ipt_REJECT ip_set ip_set_hash_ip ip_set_hash_netport ip_set_bitmap_port xt_sctp br_netfilter
# The kernel finds no modules by itself, and this one starts a modprobe for each question about rules (CONFIG_BPFILTER): 40 ms.
echo >/proc/sys/kernel/modprobe
# nf_tables has neither family of IP in this kernel.
mkdir /tmp/bin; for tool in {iptables,ip6tables}{,-save,-restore}; do ln -s /usr/sbin/xtables-legacy-multi "/tmp/bin/$tool"; done
export PATH=/tmp/bin:$PATH
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1
node --enable-source-maps "$skep_scenario"
echo "{\"exit\":$?}"
poweroff -f
