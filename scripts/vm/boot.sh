#!/bin/busybox sh
# The first program of scripts/vmtest.sh's machine: finds the disk and starts
# what is on it.
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </order
while [ ! -b /dev/vda ]; do sleep 0.1; done
mount -t ext4 /dev/vda /disk
mount --move /dev /disk/dev
exec switch_root /disk /sbin/init
