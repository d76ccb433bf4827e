#!/busybox sh
# First program of a QEMU guest, in the initramfs that scripts/qemu-kernel.sh makes. Gives the guest its root and hands over:
# an overlay, below it the machine's own root, read-only through virtiofs (tag "root"); above it a tmpfs, or the guest's own
# ext4 disk if it has one, which then stays reachable as /run/lab/disk. So a guest may write anywhere and nothing reaches the
# machine's files. The kernel hands its unknown parameters over as environment: skep_init is the program to go on with,
# skep_kernel the directory of this kernel on the machine's root, skep_share a directory of it that must be seen although
# it may lie below /tmp or /run.
set -eu
for applet in mkdir mount insmod cat ln switch_root; do alias "$applet=/busybox $applet"; done
mount -t devtmpfs dev /dev
mount -t proc proc /proc
for module in $(cat /modules/order); do insmod "/modules/$module"; done
mount -t virtiofs -o ro root /base
# No barriers: a power cut here is the death of a process, and what reached the image file survives that.
if [ -e /dev/vda ]; then mount -t ext4 -o nobarrier,noatime /dev/vda /disk; else mount -t tmpfs -o mode=755 disk /disk; fi
mkdir -p /disk/upper /disk/work
mount -t overlay -o lowerdir=/base,upperdir=/disk/upper,workdir=/disk/work overlay /root
cd /root
mkdir -p run tmp proc sys dev lib/modules
mount --bind "./$skep_share" /share
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mkdir -p run/lab/disk "./$skep_share"
mount --move /share "./$skep_share"
mount --move /disk run/lab/disk
mount --move /proc proc
mount --move /dev dev
# Where the kernel itself looks for the modules it wants.
ln -sfn "$skep_kernel/lib/modules/$(/busybox uname -r)" "lib/modules/$(/busybox uname -r)"
exec /busybox switch_root /root "$skep_init"
