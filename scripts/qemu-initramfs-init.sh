#!/busybox sh
# First program of a QEMU guest, in the initramfs that scripts/qemu-kernel.sh makes. Gives the guest its root and hands over:
# an overlay, below it the machine's own root, read-only through virtiofs (tag "root"); above it a tmpfs, or the guest's own
# ext4 disk if it has one. So a guest may write anywhere and nothing reaches the machine's files. The two layers stay
# reachable as /run/lab/base and /run/lab/disk. The kernel hands its unknown parameters over as environment: skep_init is the
# program to go on with, skep_kernel the directory of this kernel on the machine's root.
set -eu
for applet in mkdir mount insmod cat ln switch_root; do alias "$applet=/busybox $applet"; done
mount -t devtmpfs dev /dev
mount -t proc proc /proc
for module in $(cat /modules/order); do insmod "/modules/$module"; done
mount -t virtiofs -o ro root /base
# No barriers: a power cut here is the death of a process, and what reached the image file survives that.
if [ -e /dev/vda ]; then
  mount -t ext4 -o nobarrier,noatime,noinit_itable /dev/vda /disk
else
  mount -t tmpfs -o mode=755 disk /disk
fi
mkdir -p /disk/upper /disk/work
mount -t overlay -o lowerdir=/base,upperdir=/disk/upper,workdir=/disk/work overlay /root
cd /root
mkdir -p run tmp proc sys dev lib/modules
mount -t tmpfs -o mode=755 run run
mkdir -p run/lab/base run/lab/disk
mount --move /base run/lab/base
mount --move /disk run/lab/disk
mount --move /proc proc
mount --move /dev dev
# Where the kernel itself looks for the modules it wants.
release=$(cat proc/sys/kernel/osrelease)
ln -sfn "$skep_kernel/lib/modules/$release" "lib/modules/$release"
exec /busybox switch_root /root "$skep_init"
