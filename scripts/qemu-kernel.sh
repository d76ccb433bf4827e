#!/bin/bash
# Lays out Debian 12's stock kernel for QEMU guests below /var/cache/skep-lab/kernel: vmlinuz, its modules and an initramfs.
# Nothing is installed: the package is downloaded and unpacked, /boot and /lib/modules stay as they are. Idempotent; once
# the directory is there no network is needed, and a changed initramfs is made again from what is there.
# With --newest it asks Debian's lists again and takes a newer kernel if there is one.
set -euo pipefail
scripts=$(cd "$(dirname "$0")" && pwd)
cache=${SKEP_QEMU_KERNEL:-/var/cache/skep-lab/kernel}
# What the guest needs before it sees the root, under which all other modules are.
early_modules='virtio_pci virtio_console virtio_blk virtiofs overlay'

say() { printf 'setup: %s\n' "$*"; }

# The package that the meta package stands for today, e.g. linux-image-6.1.0-9-cloud-amd64.
newest_package() {
  apt-cache depends --important linux-image-cloud-amd64 2>/dev/null |
    sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*-cloud-amd64\)$/\1/p' | head -n 1
}

download_kernel() {
  local package release work
  package=$(newest_package)
  if [ -z "$package" ]; then
    apt-get update
    package=$(newest_package)
  fi
  [ -n "$package" ] || {
    say 'Debian offers no linux-image-cloud-amd64 here'
    exit 1
  }
  release=${package#linux-image-}
  if [ ! -e "$cache/$release/vmlinuz" ]; then
    say "unpacking $package for QEMU guests"
    work=$(mktemp -d "$cache/new.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    # The directory is root's alone, so apt must not hand the download to its own user.
    (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package")
    dpkg-deb -x "$work"/*.deb "$work/package"
    mkdir "$work/kernel"
    mv "$work/package/boot/vmlinuz-$release" "$work/kernel/vmlinuz"
    mv "$work/package/lib" "$work/kernel/lib"
    depmod -b "$work/kernel" "$release"
    chmod 755 "$work/kernel"
    rm -rf "${cache:?}/$release"
    mv "$work/kernel" "$cache/$release"
    rm -rf "$work"
    trap - EXIT
  fi
  ln -sfn "$release" "$cache/current"
}

# The first program of a guest and the modules it needs, in the order they load, as a cpio archive.
make_initramfs() {
  local kernel=$1 release=$2 recipe=$3 tree module
  tree=$(mktemp -d "$cache/new.XXXXXX")
  mkdir "$tree"/{modules,proc,sys,dev,base,disk,root}
  cp /bin/busybox "$tree/busybox"
  cp "$scripts/qemu-initramfs-init.sh" "$tree/init"
  chmod 755 "$tree/init"
  # shellcheck disable=SC2086 # a list
  modprobe -d "$kernel" -S "$release" --show-depends -a $early_modules | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' |
    while read -r module; do
      cp "$module" "$tree/modules/"
      basename "$module" >>"$tree/modules/order"
    done
  (cd "$tree" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$kernel/initramfs.new"
  rm -rf "$tree"
  mv "$kernel/initramfs.new" "$kernel/initramfs"
  echo "$recipe" >"$kernel/initramfs.recipe"
}

if [ ! -w "$cache" ] && [ "$(id -u)" != 0 ]; then
  [ -e "$cache/current/initramfs" ] && exit
  say "only root can unpack a kernel to $cache"
  exit 1
fi
mkdir -p "$cache"
if [ ! -e "$cache/current/vmlinuz" ] || [ "${1:-}" = --newest ]; then download_kernel; fi
kernel=$(readlink -f "$cache/current")
recipe=$(sha256sum "$scripts/qemu-kernel.sh" "$scripts/qemu-initramfs-init.sh" | cut -d ' ' -f 1 | tr '\n' ' ')
if [ "$(cat "$kernel/initramfs.recipe" 2>/dev/null || true)" != "$recipe" ]; then
  make_initramfs "$kernel" "$(basename "$kernel")" "$recipe"
fi
