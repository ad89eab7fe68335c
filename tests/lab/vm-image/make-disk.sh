#!/bin/sh
# Makes a disk out of a container's files, and takes kernel and initial RAM disk out of it. Wants root.
#   make-disk.sh ROOT_TAR FOLDER SIZE
set -eu
tar=$1 folder=$2 size=$3
root=$folder/root
trap 'rm -rf "$root"' EXIT
mkdir "$root"
tar --extract --file="$tar" --directory="$root" --numeric-owner --xattrs --xattrs-include='*'
# A container's mark, and the files that Docker puts its own over.
rm -f "$root/.dockerenv"
echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf"
echo '127.0.0.1 localhost' >"$root/etc/hosts"
cp "$root"/boot/vmlinuz-* "$folder/kernel"
cp "$root"/boot/initrd.img-* "$folder/initrd"
mke2fs -q -t ext4 -d "$root" "$folder/disk" "$size"
chown --reference="$folder" "$folder/kernel" "$folder/initrd" "$folder/disk"
